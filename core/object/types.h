/* types.h - what the library knows of the types of objects: where their owned fields are. Types that own nothing are
 * all number 0; descriptors with equal fields, size and name share a number. Nothing is ever forgotten. */
#ifndef FAR_CORE_OBJECT_TYPES_H
#define FAR_CORE_OBJECT_TYPES_H

#include <stdint.h>

struct far_type;
struct far_field;

/* The number of a type, or -ENOMEM: more than 8191, or more than 64 Ki fields, in one process. */
int far_types_number(struct far_type *type);
/* Its owned fields, how many; and the size of one of that type, of which an object may hold several. */
uint32_t far_types_fields(uint32_t number, const struct far_field **fields, uint32_t *bytes);
/* Its name, what fits of it; once there is no number left, that of another type with such fields. Not for 0. */
const char *far_types_name(uint32_t number);
void far_types_lock(void);
void far_types_unlock(void);

#endif
