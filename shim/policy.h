/* policy.h - which allocations are far.
 *
 *   annotated   those made inside FAR_REGION("name") { ... } (include/far/far.h)
 *   all         those, and every other that the program and its libraries make
 *   size>=N     those, and every other of N bytes and more; also when it was local and grows to that
 *
 * Always local: what the loader and this library allocate, what the runtime's own threads allocate, what libc allocates, and
 * everything before far_shim_init has run. libc's are streams and their buffers, tables of name services, thread
 * descriptors: little, hot, used under libc's locks, and touched in the child of a fork before far memory is there. What libc
 * allocates for its caller (strdup, asprintf, getline) is the caller's: see strings.c.
 *
 * Guarantee: far_policy_decide reads memory that never changes after far_shim_init; it takes no lock, calls
 * nothing and may run in any state of the program.
 */
#ifndef FAR_SHIM_POLICY_H
#define FAR_SHIM_POLICY_H

#include "shim/shim.h"

#pragma GCC visibility push(hidden)

/* Anonymous mappings count as allocations from this size. */
#define FAR_POLICY_MAP_BYTES (256 * 1024)

/* From far_shim_init: reads FAR_POLICY's text, finds the code of libc, ld.so and ourselves, opens the gate.
 * 0, or -EINVAL if the text is not of the form that options.def states. */
int far_policy_init(const char *policy);

/* Whether that code is this library's. */
bool far_policy_is_ours(const void *code);

/* Whether an allocation of `bytes` asked for at `site` is far. The place where rules by call site will hook in:
 * every allocation that can be far comes through here with its site. Only called with the gate open. */
bool far_policy_decide(const void *site, size_t bytes);
/* The same for an anonymous mapping: regions do not count, sizes below FAR_POLICY_MAP_BYTES are local. */
bool far_policy_decide_map(const void *site, size_t bytes);

/* Whether a local block that is to have so many bytes goes far by its size, if far_policy_decide agrees: size>=N alone. */
bool far_policy_outgrown(size_t bytes);

/* Regions: see include/far/far.h. The record lies in the caller's frame; leave restores what enter found, so
 * that a region left by longjmp closes with the one around it. */
struct far_region;
void far_policy_enter(struct far_region *region, const char *name);
void far_policy_leave(struct far_region *region);

#pragma GCC visibility pop
#endif
