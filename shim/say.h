/* say.h - the few words of the shim itself, and where the runtime's go. */
#ifndef FAR_SHIM_SAY_H
#define FAR_SHIM_SAY_H

#include <stdbool.h>

#pragma GCC visibility push(hidden)

/* Exit status for what the user has to mend: bad options, far memory that cannot work. As timeout(1) and env(1). */
#define FAR_EXIT_REFUSED 125

/* Ends the process with a message on descriptor 2 and FAR_EXIT_REFUSED: for what the user has to mend. */
_Noreturn void far_shim_refuse(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* One line on descriptor 2, if that is standard error still (far_log_keep_stderr), whatever the log is set to. */
void far_shim_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* What whoever started a run should know about it: a line of the runtime's log, FAR_LOG_WARN in a process that was started
 * by one without this library, FAR_LOG_INFO in those that such a process starts. A shell's commands do not repeat it. */
void far_shim_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Whether this process was started by one with this library. */
bool far_shim_is_started_by_ours(void);
/* Opens the runtime's log (base/log.h): level as FAR_LOG_LEVEL's choices are numbered. */
void far_shim_log_to(int fd, int level);

#pragma GCC visibility pop
#endif
