/* log.h - messages for people: one line, one write, from any context.
 *
 * Silent until far_log_open names a descriptor. Formatting is far_format's, so far_log may be called from
 * signal handlers, from inside malloc and under any lock. Lines look like `farshim[1234]: text` (errors,
 * warnings and debug lines say so in front of the text); one that is longer than FAR_LOG_LINE is cut and ends
 * in "...".
 *
 * Direct and deferred. At first the calling thread writes. That is wrong for threads that serve faults: a
 * program that writes far memory to a pipe holds the pipe's lock while it faults, and if the pipe is our log
 * as well, the server of the fault would wait for it for ever. So after far_log_defer() lines go into a
 * bounded ring, and one thread that nobody waits for calls far_log_wait and far_log_drain in a loop. When the
 * ring is full lines are dropped and counted, and the drain says how many.
 */
#ifndef FAR_BASE_LOG_H
#define FAR_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum far_log_level { FAR_LOG_ERROR, FAR_LOG_WARN, FAR_LOG_INFO, FAR_LOG_DEBUG };

#define FAR_LOG_LINE 512 /* longest line in bytes, prefix and newline included */

/* Lines of `level` and more urgent go to fd; -1 is silence. The descriptor stays the caller's. */
void far_log_open(int fd, enum far_log_level level);
/* Remembers what descriptor 2 is now: at the start, and when the program made something its standard error (dup2). What a program
 * opens in its place otherwise is its own data: no line goes there, not even the last one. First called before the first thread.
 * Without this call descriptor 2 is used whatever it is. */
void far_log_keep_stderr(void);
/* Whether descriptor 2 is still that. */
bool far_log_stderr_is_kept(void);
/* What stands in front of [pid]: "farshim" at first. Kept by reference: a string that lives for ever. */
void far_log_set_name(const char *name);
bool far_log_is_on(enum far_log_level level);

void far_log(enum far_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define far_log_error(...) far_log(FAR_LOG_ERROR, __VA_ARGS__)
#define far_log_warn(...)  far_log(FAR_LOG_WARN, __VA_ARGS__)
#define far_log_info(...)  far_log(FAR_LOG_INFO, __VA_ARGS__)
/* The arguments of a debug line are not evaluated while the level is off. */
#define far_log_debug(...)                                                                                   \
    do {                                                                                                     \
        if (far_log_is_on(FAR_LOG_DEBUG))                                                                    \
            far_log(FAR_LOG_DEBUG, __VA_ARGS__);                                                             \
    } while (0)

/* What a user must hear: goes to the log, and to descriptor 2 (far_log_keep_stderr) whatever the log is set to. In deferred mode the
 * drain thread writes it, given 200 ms to do so: when this returns, it was written unless that was stuck. */
void far_log_tell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The end: told as by far_log_tell, and the process dies of SIGABRT, even if the program catches, ignores or
 * blocks it. */
_Noreturn void far_die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* From now on lines wait in the ring for the drain thread, which exists. */
void far_log_defer(void);
/* For the drain thread: sleeps until a line waits or timeout_ns passed; true if a line waits. */
bool far_log_wait(uint64_t timeout_ns);
/* Writes every waiting line; returns how many. One thread at a time. */
unsigned far_log_drain(void);
/* At the end of the process, in any mode: returns when every line that waits now was written, or after 200 ms. */
void far_log_flush(void);
/* In the child of a fork: forgets waiting lines (the parent writes them) and goes back to direct mode. */
void far_log_reset_in_child(void);

#endif
