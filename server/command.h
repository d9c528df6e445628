/* command.h - farmemd's command line: options of the common table (base/options.h), and a few words of its
 * own. */
#ifndef FAR_SERVER_COMMAND_H
#define FAR_SERVER_COMMAND_H

#include <stddef.h>
#include "base/options.h"

enum far_command {
    FAR_COMMAND_RUN,
    FAR_COMMAND_HELP,
    FAR_COMMAND_VERSION,
};

/* Reads configuration file, environment and command line, in this order of rising weight. --listen may be
 * given several times; --private needs no value. Also understood: "--name value", -h, -V. Result: what to do,
 * or -EINVAL or the -errno of the file with a message. */
int far_command_read(struct far_options *options, int argc, char **argv, char *const *envp, char *err,
                     size_t errlen);

#endif
