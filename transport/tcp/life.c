#include "transport/tcp/life.h"

#include <errno.h>
#include "transport/tcp/emit.h"
#include "transport/tcp/sock.h"
#include "transport/tcp/timers.h"

void far_tcp_life_time_wait(struct far_tcp_sock *s, uint64_t now)
{
    s->state = FAR_TCP_TIME_WAIT;
    s->repair = REPAIR_NONE;
    s->deadline[DEADLINE_REPAIR] = FAR_TCP_NEVER;
    far_list_remove(&s->age_link);
    far_list_push_back(&s->stack->time_wait, &s->age_link);
    far_tcp_deadline_set(s, DEADLINE_LIFE, now + s->stack->config.time_wait_ns);
}

void far_tcp_life_arm(struct far_tcp_sock *s, uint64_t now)
{
    if (s->state == FAR_TCP_FIN_WAIT_2 && !s->held)
        far_tcp_deadline_set(s, DEADLINE_LIFE, now + s->stack->config.fin_wait_ns);
}

/* RFC 9293 section 3.8.4: one byte back, so that the peer must answer. */
static void keepalive(struct far_tcp_sock *s, uint64_t now)
{
    const struct far_tcp_config *c = &s->stack->config;
    if (!c->keepalive_ns)
        return;
    uint64_t silence = now - s->heard_ns;
    if (silence < c->keepalive_ns || s->snd_nxt != s->snd_una) {
        s->keepalive_out = 0;
        far_tcp_deadline_set(s, DEADLINE_LIFE,
                             far_max(s->heard_ns + c->keepalive_ns, now + c->keepalive_gap_ns));
        return;
    }
    if (s->keepalive_out >= c->keepalive_probes) {
        far_tcp_emit_reset(s);
        far_tcp_sock_abort(s, -ETIMEDOUT);
        return;
    }
    s->keepalive_out++;
    s->stack->counters.keepalives++;
    far_tcp_emit(s, &(struct far_tcp_out){.seq = s->snd_nxt - 1}, now);
    far_tcp_deadline_set(s, DEADLINE_LIFE, now + c->keepalive_gap_ns);
}

void far_tcp_life_fire(struct far_tcp_sock *s, uint64_t now)
{
    if (s->state == FAR_TCP_TIME_WAIT) {
        far_tcp_sock_abort(s, 0);
    } else if (s->state == FAR_TCP_FIN_WAIT_2 && !s->held) {
        far_tcp_sock_free(s);
    } else if (far_tcp_synchronized(s)) {
        keepalive(s, now);
    }
}
