/*
 * embed.h - a memory node inside this process: the one face of the server that others may use.
 *
 * It backs the `inproc:` transport: same protocol, same checks, same store as farmemd, without a socket or a
 * thread: the client's engine runs it when it polls its stream. It saves no memory; it is for tests, for
 * benchmarks and as the fastest wire. In small pages the resident set shows what it holds, and no more.
 */
#ifndef FAR_SERVER_EMBED_H
#define FAR_SERVER_EMBED_H

#include <stdint.h>

#include "server/memory.h"

/* Registers `inproc:` with the transports, with a store of at most `memory` bytes. Once per process; 0 or -errno. */
int far_embed_register(uint64_t memory, enum far_memory_want pages);
/* Bytes that the store holds now (the "remote" memory that is really local). */
uint64_t far_embed_bytes(void);

#endif
