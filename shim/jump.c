/* jump.c - longjmp: scopes that it leaves are closed, or the evacuator would wait for them for ever.
 *
 * The stack pointer that the jump goes to stands in the buffer, mangled (glibc, sysdeps/unix/sysv/linux/x86_64, PTR_DEMANGLE:
 * rotated, and xored with a secret of the thread's at %fs:0x30). A scope that began further down that stack is gone after the
 * jump. A jump from a signal stack leaves that stack: what began there is gone, what began on the other is compared. */
#include <setjmp.h>
#include <signal.h>

#include "shim/shim.h" /* hidden visibility first */
#include "base/os.h"
#include "core/object/epoch.h"
#include "core/object/object.h"
#include "core/page/pager.h"
#include "shim/next.h"

#define JB_RSP 6 /* index in struct __jmp_buf_tag.__jmpbuf, glibc's jmpbuf-offsets.h */

static uintptr_t target_sp(const struct __jmp_buf_tag *env)
{
    uintptr_t sp = (uintptr_t)env->__jmpbuf[JB_RSP];

    __asm__("ror $0x11, %0\n\txor %%fs:0x30, %0" : "+r"(sp));
    return sp;
}

static void unwind(const struct __jmp_buf_tag *env)
{
    uintptr_t sp = target_sp(env), left = 0, left_end = 0;
    stack_t alt = {0};

    if (!far_objects_started())
        return;
    far_signals_block();
    if (far_syscall2(SYS_sigaltstack, NULL, &alt) == 0 && (alt.ss_flags & SS_ONSTACK) &&
        sp - (uintptr_t)alt.ss_sp >= alt.ss_size) {
        left = (uintptr_t)alt.ss_sp;
        left_end = left + alt.ss_size;
    }
    far_epoch_unwound(far_object_thread(), sp, left, left_end);
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
