/* rig.c - see rig.h */
#include "tests/object/rig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/options.h"
#include "core/core.h"
#include "core/object/abi.h"
#include "base/signals.h"
#include "server/embed.h"

static void option(struct far_options *o, const char *name, const char *value)
{
    char err[FAR_OPTION_ERROR];

    if (value && *value && far_options_set(o, name, value, err, sizeof(err)) < 0) {
        fprintf(stderr, "%s\n", err);
        exit(2);
    }
}

static int active(void)
{
    return 1;
}

void rig_start(const struct rig_options *r)
{
    static struct far_abi abi = {.version = FAR_ABI, .bytes = sizeof(abi), .active = active, .object = &far_core_object_abi};
    static struct far_options o;
    char err[FAR_OPTION_ERROR] = "";
    int ret;

    far_log_open(2, FAR_LOG_WARN);
    far_signals_set_asking(r->bench);
    far_options_init(&o, FAR_WHERE_SHIM);
    option(&o, "local", r->local);
    option(&o, "nodes", r->node && strcmp(r->node, "private") ? r->node : "");
    option(&o, "features_mask", r->mask);
    option(&o, "base", r->base);
    option(&o, "window", r->window);
    option(&o, "overshoot", r->overshoot);
    option(&o, "readahead", r->readahead);
    option(&o, "evict_start", r->evict_start);
    option(&o, "evict_stop", r->evict_stop);
    option(&o, "evict_wait", r->evict_wait);
    if (far_embed_register(r->inside_bytes + (64u << 20), r->bench ? FAR_MEMORY_AUTO : FAR_MEMORY_SMALL) < 0) {
        fprintf(stderr, "no memory for the node inside\n");
        exit(1);
    }
    ret = far_core_start(&o, err, sizeof(err));
    if (ret < 0) {
        fprintf(stderr, "%s\n", err);
        exit(ret == -EPERM || ret == -ENOSYS ? 77 : 1);
    }
    far_abi_ = &abi;
}

pid_t rig_fork(void)
{
    int ret = far_core_fork_prepare();
    pid_t pid = ret < 0 ? -1 : fork();

    if (pid) {
        far_core_fork_parent();
        errno = ret < 0 ? -ret : errno;
    } else {
        far_core_fork_child_early();
        far_core_fork_child_late();
    }
    return pid;
}
