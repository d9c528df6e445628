/* object.h - far objects for the program (object.c), and longjmp out of their scopes (jump.c). */
#ifndef FAR_SHIM_OBJECT_H
#define FAR_SHIM_OBJECT_H

#include "shim/shim.h"

#pragma GCC visibility push(hidden)

struct far_object_abi;
extern const struct far_object_abi far_shim_objects;

#pragma GCC visibility pop
#endif
