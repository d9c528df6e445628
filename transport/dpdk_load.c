#include "transport/dpdk_load.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>
#include "base/format.h"
#include "transport/transport.h"

static const struct far_dpdk_plugin *loaded;

bool far_dpdk_is_url(const char *url)
{
    return url && !strncmp(url, "dpdk:", 5);
}

const struct far_dpdk_plugin *far_dpdk_loaded(void)
{
    return loaded;
}

/* Where the object with this code lies, with `below` in place of its file name; false if that is no file. */
static bool beside_us(char *out, size_t len, const char *below)
{
    Dl_info info;
    if (!dladdr((void *)far_dpdk_load, &info) || !info.dli_fname)
        return false;
    const char *name = info.dli_fname;
    char self[PATH_MAX];
    if (name[0] != '/') { /* of a program, it is what it was called by */
        ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
        if (n <= 0)
            return false;
        self[n] = '\0';
        name = self;
    }
    const char *slash = strrchr(name, '/');
    return far_format(out, len, "%.*s/%s%s", (int)(slash - name), name, below, FAR_DPDK_OBJECT) < len &&
           access(out, R_OK) == 0;
}

static void *open_object(const char *path, char *err, size_t errlen)
{
    char found[PATH_MAX + 64];
    if (!path)
        path = beside_us(found, sizeof found, "") || beside_us(found, sizeof found, "../lib/")
                   ? found
                   : FAR_DPDK_OBJECT;
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!object)
        far_format(err, errlen, "dpdk:// needs the plug-in %s: %s", FAR_DPDK_OBJECT, dlerror());
    return object;
}

int far_dpdk_load(const char *path, const struct far_dpdk_host *host, char *err, size_t errlen)
{
    if (loaded)
        return 0;
    void *object = open_object(path, err, errlen);
    if (!object)
        return -ENOENT;
    const struct far_dpdk_plugin *(*entry)(const struct far_dpdk_host *);
    *(void **)&entry = dlsym(object, FAR_DPDK_ENTRY);
    const struct far_dpdk_plugin *plugin = entry ? entry(host) : NULL;
    if (!plugin || plugin->size < sizeof *plugin) {
        far_format(err, errlen, "%s is of another version than this program", FAR_DPDK_OBJECT);
        return -EPROTO;
    }
    int rc = far_transport_register(plugin->ops);
    if (rc) {
        far_format(err, errlen, "dpdk:// cannot be added to the transports (error %d)", -rc);
        return rc;
    }
    loaded = plugin;
    return 0;
}
