// The same program, as C++.
#include "preload_region.c"
