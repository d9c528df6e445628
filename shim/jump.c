/* jump.c - longjmp: scopes that it leaves are closed, or the evacuator would wait for them for ever.
 *
 * The stack pointer that the jump goes to stands in the buffer, mangled (glibc, sysdeps/unix/sysv/linux/x86_64, PTR_DEMANGLE:
 * rotated, and xored with a secret of the thread's at %fs:0x30). A scope that began further down the same stack is gone after the
 * jump; on another stack only if that is the signal stack and the jump leaves it. Stacks that are known are the thread's own and
 * its signal stack: a program may have others, and switch between them by jumps that leave nothing.
 *
 * A scope that began in the very frame that the jump goes to may have begun before setjmp was called or after it. So each thread
 * notes of the buffers that it filled last whether it was in no scope then: if so, it is gone. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>

#include "shim/shim.h" /* hidden visibility first */
#include "base/atomic.h"
#include "base/os.h"
#include "core/object/epoch.h"
#include "core/object/object.h"
#include "core/page/pager.h"
#include "shim/next.h"

#define JB_RSP 6 /* indices in struct __jmp_buf_tag.__jmpbuf, glibc's jmpbuf-offsets.h */
#define JB_PC  7
#define NOTES  8u

static uintptr_t target(const struct __jmp_buf_tag *env, unsigned index)
{
    uintptr_t p = (uintptr_t)env->__jmpbuf[index];

    __asm__("ror $0x11, %0\n\txor %%fs:0x30, %0" : "+r"(p));
    return p;
}

/* --- what setjmp was called in */

/* sp and pc: who knows the buffer by another way than our setjmp has others. */
static __thread struct {
    struct note {
        const void *env; /* written last: handlers use these too, and what they come between is nobody's */
        uintptr_t sp, pc;
        bool outside;
    } of[NOTES];
    unsigned next;
} notes __attribute__((tls_model("initial-exec")));

static struct note *note_of(const void *env)
{
    for (unsigned i = 0; i < NOTES; i++)
        if (notes.of[i].env == env)
            return &notes.of[i];
    return NULL;
}

void far_jump_note(const void *env, uintptr_t sp, uintptr_t pc); /* setjmp.S */
void far_jump_note(const void *env, uintptr_t sp, uintptr_t pc)
{
    struct note *n = note_of(env);

    if (far_unlikely(!far_next._setjmp)) /* a constructor that ran before ours */
        far_next_init();
    if (!n)
        n = &notes.of[notes.next++ % NOTES];
    far_atomic_store_relaxed(&n->env, (const void *)NULL);
    far_compiler_barrier();
    n->sp = sp;
    n->pc = pc;
    n->outside = !far_objects_started() || !far_epoch_may_be_inside();
    far_compiler_barrier();
    far_atomic_store_relaxed(&n->env, env);
}

static bool was_outside(const struct __jmp_buf_tag *env)
{
    const struct note *n = note_of(env);

    return n && n->outside && n->sp == target(env, JB_RSP) && n->pc == target(env, JB_PC);
}

/* --- the thread's own stack */

struct range {
    uintptr_t from, to;
};

static bool has(const struct range *r, uintptr_t p)
{
    return p - r->from < r->to - r->from;
}

/* The main thread, and somewhere on its stack. */
static struct {
    uintptr_t thread, stack;
} main_thread;

static uintptr_t thread_pointer(void)
{
    uintptr_t p;

    __asm__("mov %%fs:0x10, %0" : "=r"(p)); /* glibc's tcbhead_t.self */
    return p;
}

__attribute__((constructor)) static void note_main_thread(void)
{
    main_thread.thread = thread_pointer();
    main_thread.stack = (uintptr_t)__builtin_frame_address(0);
}

/* A line of /proc/self/maps, as far as it was read: "from-to ...\n". */
struct line {
    struct range r;
    unsigned part; /* 0: from, 1: to, 2: the rest */
    uintptr_t before; /* where the mapping before it ends */
};

/* The next character. Whether this is the end of the line that has p. */
static bool line_take(struct line *l, char c, uintptr_t p)
{
    uintptr_t *number = l->part ? &l->r.to : &l->r.from;

    if (c == '\n') {
        if (has(&l->r, p))
            return true;
        *l = (struct line){.before = l->r.to};
    } else if (c == '-' || c == ' ') {
        l->part++;
    } else if (l->part < 2) {
        *number = *number << 4 | (uintptr_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return false;
}

/* The mapping that has p. */
static bool find_mapping(uintptr_t p, struct line *l)
{
    int fd = far_os_open("/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);
    bool found = false;
    char text[1024];
    long n;

    *l = (struct line){0};
    while (fd >= 0 && !found && ((n = far_os_read(fd, text, sizeof(text))) > 0 || n == -EINTR))
        for (long i = 0; i < n && !found; i++)
            found = line_take(l, text[i], p);
    if (fd >= 0)
        far_os_close(fd);
    return found;
}

/* glibc keeps a thread's data at the upper end of its stack, on which something else may border. The main thread's grows. */
static struct range own_stack(void)
{
    static __thread struct range own __attribute__((tls_model("initial-exec")));
    uintptr_t self = thread_pointer();
    bool is_main = self == main_thread.thread;
    struct line l;

    if (!own.to && find_mapping(is_main ? main_thread.stack : self, &l))
        own = is_main ? (struct range){l.before, l.r.to} : (struct range){l.r.from, self};
    return own;
}

/* --- jumps */

static void unwind_to(uintptr_t sp)
{
    const void *thread = far_object_thread();
    struct range alt = {0, 0}, own;
    stack_t s = {0};

    if (!far_epoch_is_inside(thread))
        return;
    if (far_syscall2(SYS_sigaltstack, NULL, &s) == 0 && (s.ss_flags & SS_ONSTACK))
        alt = (struct range){(uintptr_t)s.ss_sp, (uintptr_t)s.ss_sp + s.ss_size};
    if (has(&alt, sp)) {
        far_epoch_unwound(thread, alt.from, sp);
        return;
    }
    far_epoch_unwound(thread, alt.from, alt.to);
    own = own_stack();
    if (!own.to) /* nobody tells: what lies between here and there is left wherever both are on one stack */
        own = (struct range){(uintptr_t)__builtin_frame_address(0), UINTPTR_MAX};
    if (has(&own, sp))
        far_epoch_unwound(thread, own.from, sp);
}

static void unwind(const struct __jmp_buf_tag *env)
{
    if (!far_objects_started())
        return;
    far_signals_block();
    if (was_outside(env))
        far_epoch_unwound(far_object_thread(), target(env, JB_RSP), target(env, JB_RSP) + 1);
    unwind_to(target(env, JB_RSP));
    far_signals_restore();
}

FAR_EXPORT _Noreturn void longjmp(struct __jmp_buf_tag env[1], int value)
{
    unwind(env);
    far_next.longjmp(env, value);
    __builtin_unreachable();
}

FAR_EXPORT _Noreturn void siglongjmp(struct __jmp_buf_tag env[1], int value)
{
    unwind(env);
    far_next.siglongjmp(env, value);
    __builtin_unreachable();
}

FAR_EXPORT _Noreturn void _longjmp(struct __jmp_buf_tag env[1], int value)
{
    unwind(env);
    far_next._longjmp(env, value);
    __builtin_unreachable();
}

FAR_EXPORT _Noreturn void __longjmp_chk(struct __jmp_buf_tag env[1], int value);
FAR_EXPORT _Noreturn void __longjmp_chk(struct __jmp_buf_tag env[1], int value)
{
    unwind(env);
    far_next.__longjmp_chk(env, value);
    __builtin_unreachable();
}
