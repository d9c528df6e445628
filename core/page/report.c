/* report.c - see report.h */
#include "core/page/report.h"

#include <fcntl.h>

#include "base/counters.h"
#include "core/local/budget.h"
#include "core/page/pager.h"
#include "core/page/victim.h"
#include "core/page/window.h"

/* What the nodes' links counted. */
static void report_links(void)
{
    struct far_node_stats sum = {0}, one;

    for (unsigned i = 0; i < far_pager.n_nodes; i++) {
        far_node_stats(far_pager.nodes[i], &one);
        sum.reconnects += one.reconnects;
        sum.crc_errors += one.crc_errors;
        sum.stale_errors += one.stale_errors;
    }
    far_counter_set(FAR_C_reconnects, sum.reconnects);
    far_counter_set(FAR_C_crc_errors, sum.crc_errors);
    far_counter_set(FAR_C_stale_errors, sum.stale_errors);
}

void far_report_levels(void)
{
    uint64_t resident = far_atomic_load_relaxed(&far_budget.resident_pages) << FAR_PAGE_SHIFT;
    struct far_engine *objects = far_atomic_load_acquire(&far_pager.object_engine); /* pairs with far_nodes_object_engine */

    far_counter_set(FAR_C_resident_bytes, resident);
    far_counter_set(FAR_C_meta_bytes, far_atomic_load_relaxed(&far_budget.meta_bytes));
    far_counter_set(FAR_C_peak_resident_bytes, far_atomic_load_relaxed(&far_budget.peak_bytes));
    far_counter_set(FAR_C_victim_bytes, (far_atomic_load_relaxed(&far_victims.head) -
                                         far_atomic_load_relaxed(&far_victims.tail))
                                            << FAR_PAGE_SHIFT);
    far_counter_set(FAR_C_far_bytes, far_window_taken() << FAR_PAGE_SHIFT);
    far_counter_set(FAR_C_requests_inflight, far_engine_outstanding(far_pager.fetch_engine) +
                                                 far_engine_outstanding(far_pager.write_engine) +
                                                 (objects ? far_engine_outstanding(objects) : 0));
    report_links();
}

/* Second number of /proc/self/statm: the resident set in pages (proc(5)). */
static uint64_t resident_set_pages(void)
{
    char text[128];
    int fd = far_os_open("/proc/self/statm", O_RDONLY | O_CLOEXEC, 0);
    long n = fd < 0 ? fd : far_os_read(fd, text, sizeof(text) - 1);
    uint64_t pages = 0;
    const char *p = text;

    if (fd >= 0)
        far_os_close(fd);
    if (n <= 0)
        return 0;
    text[n] = 0;
    while (*p && *p != ' ')
        p++;
    for (p += *p == ' '; *p >= '0' && *p <= '9'; p++)
        pages = pages * 10 + (uint64_t)(*p - '0');
    return pages;
}

void far_report_outside(void)
{
    uint64_t all = resident_set_pages() << FAR_PAGE_SHIFT, ours = far_budget_used_bytes();

    far_counter_set(FAR_C_outside_bytes, all > ours ? all - ours : 0);
}
