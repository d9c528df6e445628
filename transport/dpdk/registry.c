#include "transport/dpdk/registry.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include "base/bits.h"
#include "base/format.h"
#include "transport/dpdk/eal.h"

static struct far_dpdk_slot slots[FAR_DPDK_DEVICES];
static struct far_mutex find_lock; /* guards the choice of a slot */
static struct far_mutex open_lock; /* EAL and its devices start one at a time */
static void (*host_say)(const char *line);
static int (*host_spawn)(void *(*run)(void *arg), void *arg);

void far_dpdk_registry_host(void (*say)(const char *line), int (*spawn)(void *(*run)(void *arg), void *arg))
{
    host_say = say;
    host_spawn = spawn;
}

void far_dpdk_say(const char *fmt, ...)
{
    char line[400];
    va_list args;
    if (!host_say)
        return;
    va_start(args, fmt);
    far_vformat(line, sizeof line, fmt, args);
    va_end(args);
    host_say(line);
}

int far_dpdk_registry_start(char *err, size_t errlen)
{
    far_mutex_lock(&open_lock);
    int rc = far_eal_start(err, errlen);
    far_mutex_unlock(&open_lock);
    return rc;
}

static void *open_slot(void *arg)
{
    struct far_dpdk_slot *slot = arg;
    char err[300] = "";
    far_mutex_lock(&open_lock);
    slot->error = far_dpdk_device_open(&slot->device, &slot->address, NULL, err, sizeof err);
    far_mutex_unlock(&open_lock);
    if (slot->error)
        far_dpdk_say("%s", err);
    far_atomic_store_release(&slot->state,
                             (uint32_t)(slot->error ? FAR_DPDK_SLOT_FAILED : FAR_DPDK_SLOT_READY));
    return NULL;
}

/* No signal of the program may be handled on our thread. */
static int spawn_ourselves(void *(*run)(void *arg), void *arg)
{
    sigset_t all, before;
    pthread_t thread;
    sigfillset(&all);
    int rc = pthread_sigmask(SIG_SETMASK, &all, &before);
    if (rc)
        return -rc;
    rc = pthread_create(&thread, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!rc)
        pthread_detach(thread);
    return -rc;
}

static int begin(struct far_dpdk_slot *slot, const struct far_dpdk_address *address)
{
    slot->address = *address;
    memset(&slot->device, 0, sizeof slot->device);
    far_atomic_store_release(&slot->state, (uint32_t)FAR_DPDK_SLOT_OPENING);
    int rc = (host_spawn ? host_spawn : spawn_ourselves)(open_slot, slot);
    if (rc) {
        far_dpdk_say("dpdk: no thread to start %s in (error %d)", address->name, -rc);
        far_atomic_store_release(&slot->state, (uint32_t)FAR_DPDK_SLOT_FREE);
    }
    return rc;
}

static bool same_settings(const struct far_dpdk_address *a, const struct far_dpdk_address *b)
{
    return !strcmp(a->dev, b->dev) && a->mtu == b->mtu && a->congestion == b->congestion && a->ecn == b->ecn;
}

static int find_locked(const struct far_dpdk_address *address, struct far_dpdk_slot **out)
{
    struct far_dpdk_slot *unused = NULL;
    for (unsigned i = 0; i < FAR_DPDK_DEVICES; i++) {
        struct far_dpdk_slot *slot = &slots[i];
        uint32_t state = far_atomic_load_acquire(&slot->state);
        if (state == FAR_DPDK_SLOT_FREE ||
            (state == FAR_DPDK_SLOT_FAILED && !strcmp(slot->address.name, address->name))) {
            if (!unused || state == FAR_DPDK_SLOT_FAILED)
                unused = slot;
        } else if (!strcmp(slot->address.name, address->name)) {
            *out = slot;
            if (same_settings(&slot->address, address))
                return 0;
            far_dpdk_say("dpdk: device %s is in use with other settings (%s, mtu %u): name it the same way, "
                         "or give this "
                         "one another name",
                         address->name, slot->address.dev, slot->address.mtu);
            return -EEXIST;
        }
    }
    *out = unused;
    if (!unused) {
        far_dpdk_say("dpdk: no more than %d devices in one process", FAR_DPDK_DEVICES);
        return -ENOSPC;
    }
    return begin(unused, address);
}

int far_dpdk_registry_find(const struct far_dpdk_address *address, struct far_dpdk_slot **slot)
{
    far_mutex_lock(&find_lock);
    int rc = find_locked(address, slot);
    far_mutex_unlock(&find_lock);
    return rc;
}

int far_dpdk_slot_ready(struct far_dpdk_slot *slot)
{
    switch (far_atomic_load_acquire(&slot->state)) {
    case FAR_DPDK_SLOT_READY:
        return 1;
    case FAR_DPDK_SLOT_FAILED:
        return slot->error;
    default:
        return 0;
    }
}
