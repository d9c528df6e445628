/* abi.h - the table behind include/far/object.h, for the shim and for programs that link the core. The core must have been
 * started. create sets errno. */
#ifndef FAR_CORE_OBJECT_ABI_H
#define FAR_CORE_OBJECT_ABI_H

#include "far/object_abi.h"

extern const struct far_object_abi far_core_object_abi;

#endif
