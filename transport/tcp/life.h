/* The slow timers of a connection: keep-alive, FIN-WAIT-2 of an orphan, TIME-WAIT (RFC 9293 sections
 * 3.6.1, 3.8.4).
 *
 * Guarantees
 *   TIME-WAIT lasts time_wait_ns from the last segment that needed an answer; resets do not end it (RFC
 *   1337)
 *   an orphan in FIN-WAIT-2 lasts fin_wait_ns;  a keep-alive probe leaves only after keepalive_ns of
 *   silence with nothing
 *   in flight, and keepalive_probes unanswered ones end the connection
 */
#ifndef FAR_TRANSPORT_TCP_LIFE_H
#define FAR_TRANSPORT_TCP_LIFE_H

#include "transport/tcp/stack.h"

void far_tcp_life_fire(struct far_tcp_sock *s, uint64_t now_ns);
void far_tcp_life_time_wait(struct far_tcp_sock *s, uint64_t now_ns);
/* The state or the owner changed: is a limit to set? */
void far_tcp_life_arm(struct far_tcp_sock *s, uint64_t now_ns);

#endif
