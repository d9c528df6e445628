/*
 * nodes.h - the memory nodes of this process: created from FAR_NODES (or a private farmemd), and what the slab asks of
 * them.
 */
#ifndef FAR_CORE_REMOTE_NODES_H
#define FAR_CORE_REMOTE_NODES_H

#include <stdbool.h>
#include <stddef.h>

struct far_options;

/* Creates the nodes and the two engines in far_pager and opens their connections, so that what is refused is refused at
 * once. 0 or -errno with a message. */
int far_nodes_start(const struct far_options *o, char *err, size_t errlen);
/* Takes back what far_nodes_start did, also where it failed halfway. */
void far_nodes_stop(void);
/* The engine of objects, far_pager.object_engine, and its connections. 0 or -errno, and why is told. */
int far_nodes_object_engine(void);
/* The process is about to exit: asks the nodes to end its sessions when its connections close, and waits for their answers
 * for a moment (100 ms at most). Until then everything works: other threads may still touch far memory. */
void far_nodes_leave(void);
/* It does not after all: takes that back, as far_nodes_leave asks. */
void far_nodes_stay(void);
/* fork, in the parent: has every node clone our session; the child's sessions are kept for far_nodes_in_child. *shared: the
 * spans are held by both from now on. 0 or -errno. */
int far_nodes_clone(bool *shared);
/* fork, in the child: forgets the parent's connections, and will attach to the clones. 0 or -errno. */
int far_nodes_in_child(void);
/* Attaches to them, if nobody needed a node yet: a clone is kept for its lease only, and a daemon may touch nothing for
 * longer. The housekeeper's. */
void far_nodes_attach(void);

#endif
