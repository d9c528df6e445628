/* loss.h - what is said when a far object is lost with its node. */
#ifndef FAR_CORE_OBJECT_LOSS_H
#define FAR_CORE_OBJECT_LOSS_H

#include <stdint.h>

struct far_word;
struct far_node;

/* The object cannot be had (status: why). Names node and span, once a process. */
void far_loss_object(const struct far_word *w, const struct far_node *node, uint64_t span, int status);
/* A thread touches an object that is lost: SIGBUS; the process ends with it even if that is ignored. */
_Noreturn void far_loss_touched(const struct far_word *w);

#endif
