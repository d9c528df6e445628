/* handlers.h - the program's signal handlers are entered through ours: see handlers.c. */
#ifndef FAR_SHIM_HANDLERS_H
#define FAR_SHIM_HANDLERS_H

#pragma GCC visibility push(hidden)

/* From the constructor, when handlers can be set through us only. */
void far_handlers_init(void);
void far_handlers_reset_in_child(void);

#pragma GCC visibility pop
#endif
