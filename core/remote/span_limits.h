/* span_limits.h - how large the spans are that a client asks for, in bytes; powers of two (transport/wire.h limits). */
#ifndef FAR_CORE_REMOTE_SPAN_LIMITS_H
#define FAR_CORE_REMOTE_SPAN_LIMITS_H

#include <stdint.h>

#define FAR_SPAN_SMALLEST_BYTES (UINT64_C(1) << 20)
#define FAR_SPAN_LARGEST_BYTES  (UINT64_C(64) << 20)

#endif
