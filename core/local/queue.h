/*
 * queue.h - which page goes next: two first-in-first-out queues, after 2Q and S3-FIFO, for kernels that do not tell
 * which pages were used.
 *
 *   young  pages that came in for the first time in a while. A scan flows through here.
 *   main   pages that came back soon after they had been evicted (from the victim cache, or from a node
 *          within one budget's worth of evictions): the working set, which a scan cannot push out.
 *
 * The evacuator takes from young while that holds more than a quarter of the resident pages, else from main.
 * T. Johnson, D. Shasha, "2Q", VLDB 1994, section 3.2 (A1in, Am; the victim cache stands for A1out);
 * J. Yang et al., "FIFO queues are all you need", SOSP 2023.
 *
 * Invariant: a page is named by at most one entry (its word's F_QUEUED). An entry may outlive its page's stay; who pops
 * it looks at the word. So a queue holds no more entries than the program ever touched pages; its ring doubles.
 *
 * Synchronization: one lock inside; any thread may push, the evacuator pops.
 */
#ifndef FAR_CORE_LOCAL_QUEUE_H
#define FAR_CORE_LOCAL_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

enum far_queue { FAR_QUEUE_YOUNG, FAR_QUEUE_MAIN };

/* 0 or -ENOMEM. Forgets what was queued. */
int far_queue_init(void);
/* Ends the process with a message if the ring must grow and there is no memory: the page could never be evicted. */
void far_queue_push(enum far_queue q, uint32_t page);
/* Up to max pages, oldest first, all of one queue (*q): how many. */
unsigned far_queue_pop(uint32_t *pages, unsigned max, enum far_queue *q);
uint64_t far_queue_length(enum far_queue q);

#endif
