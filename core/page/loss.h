/*
 * loss.h - what a user is told when memory is lost with its node: once a process, on descriptor 2, whatever the log is set
 * to. The counter poisoned_pages says how many pages it was.
 */
#ifndef FAR_CORE_PAGE_LOSS_H
#define FAR_CORE_PAGE_LOSS_H

#include <stdint.h>

struct far_node;

/* A page that somebody touched cannot be had. Returns when that was told, or after 200 ms: the thread that waits for the page may
 * be writing it into the pipe that the message is to go to. Ends the process where the kernel cannot poison pages (before
 * 6.6): the thread would read zeros. */
void far_loss_report(uint64_t page, const struct far_node *node, uint64_t span, const char *why);

#endif
