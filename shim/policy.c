#include "shim/policy.h"

#include <errno.h>
#include <gnu/libc-version.h>
#include <link.h>
#include <string.h>
#include <sys/auxv.h>

#include "far/far.h"
#include "base/atomic.h"

uint32_t far_gate;

struct text {
    uintptr_t start, bytes;
};

/* Written by the constructor, before the gate opens. */
static struct {
    size_t min_bytes;           /* outside regions: SIZE_MAX means never */
    struct text loader, libc, ours;
} policy = {.min_bytes = SIZE_MAX};

static bool in_text(const struct text *text, const void *site)
{
    return (uintptr_t)site - text->start < text->bytes;
}

/* One loaded object: the executable segment is compared with an address known to lie in each of the three. */
static int find_text(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct {
        const void *inside;
        struct text *text;
    } wanted[] = {{(const void *)getauxval(AT_BASE), &policy.loader},
                  {(const void *)gnu_get_libc_version, &policy.libc},
                  {(const void *)find_text, &policy.ours}};

    for (unsigned i = 0; i < FAR_ARRAY_LEN(wanted); i++) {
        uintptr_t low = UINTPTR_MAX, high = 0;

        for (unsigned k = 0; k < info->dlpi_phnum; k++) {
            const ElfW(Phdr) *ph = &info->dlpi_phdr[k];

            if (ph->p_type != PT_LOAD)
                continue;
            low = far_min(low, info->dlpi_addr + ph->p_vaddr);
            high = far_max(high, info->dlpi_addr + ph->p_vaddr + ph->p_memsz);
        }
        if ((uintptr_t)wanted[i].inside - low < high - low)
            *wanted[i].text = (struct text){low, high - low};
    }
    return 0;
}

static int parse(const char *text, size_t *min_bytes)
{
    uint64_t bytes;

    if (!strcmp(text, "annotated"))
        *min_bytes = SIZE_MAX;
    else if (!strcmp(text, "all"))
        *min_bytes = 0;
    else if (!strncmp(text, "size>=", 6) && far_parse_size(text + 6, &bytes) == 0)
        *min_bytes = bytes;
    else
        return -EINVAL;
    return 0;
}

int far_policy_init(const char *text)
{
    if (parse(text, &policy.min_bytes) < 0)
        return -EINVAL;
    dl_iterate_phdr(find_text, NULL);
    if (policy.min_bytes != SIZE_MAX)
        far_atomic_or_relaxed(&far_gate, FAR_GATE_POLICY);
    return 0;
}

bool far_policy_is_ours(const void *code)
{
    return in_text(&policy.ours, code);
}

static bool never_far(const void *site)
{
    return far_thread.busy || in_text(&policy.libc, site) || in_text(&policy.loader, site) ||
           in_text(&policy.ours, site) || far_core_is_service_thread();
}

bool far_policy_decide(const void *site, size_t bytes)
{
    if (far_thread.region)
        return !never_far(site);
    return bytes >= policy.min_bytes && !never_far(site);
}

bool far_policy_decide_map(const void *site, size_t bytes)
{
    return bytes >= FAR_POLICY_MAP_BYTES && bytes >= policy.min_bytes && !never_far(site);
}

bool far_policy_outgrown(size_t bytes)
{
    return policy.min_bytes && bytes >= policy.min_bytes;
}

void far_policy_enter(struct far_region *region, const char *name)
{
    region->name = name;
    region->outer = far_thread.region;
    far_thread.region = region;
    if (far_atomic_load_relaxed(&far_gate) & FAR_GATE_REGION)
        return;
    far_shim_init();
    if (far_shim_options.who)
        far_atomic_or_relaxed(&far_gate, FAR_GATE_REGION);
}

void far_policy_leave(struct far_region *region)
{
    far_thread.region = region->outer;
}
