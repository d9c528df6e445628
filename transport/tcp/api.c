/* The calls of a connection's owner: tcp.h says what they do. */
#include <errno.h>
#include "transport/tcp/emit.h"
#include "transport/tcp/handshake.h"
#include "transport/tcp/isn.h"
#include "transport/tcp/life.h"
#include "transport/tcp/listen.h"
#include "transport/tcp/recovery.h"
#include "transport/tcp/repair.h"
#include "transport/tcp/sock.h"
#include "transport/tcp/window.h"

#define FIRST_PORT 49152 /* RFC 6335 section 6 */
#define PORTS      (65536 - FIRST_PORT)

/* --- opening
 * -------------------------------------------------------------------------------------------------- */

static bool port_taken(struct far_tcp_stack *stack, const struct far_tcp_flow *flow)
{
    return far_tcp_sock_find(stack, flow) || far_tcp_half_find(stack, flow);
}

/* RFC 6056 section 3.3.3: a hash of the destination plus a counter. */
static int pick_port(struct far_tcp_stack *stack, struct far_tcp_flow *flow)
{
    uint32_t offset = far_tcp_port_offset(stack, flow);
    for (uint32_t tries = 0; tries < PORTS; tries++) {
        flow->local_port = (uint16_t)(FIRST_PORT + (offset + stack->next_port++) % PORTS);
        if (!port_taken(stack, flow))
            return 0;
    }
    return -EADDRINUSE;
}

int far_tcp_connect(struct far_tcp_stack *stack, const struct far_tcp_flow *wanted, uint64_t now_ns,
                    struct far_tcp_sock **sock)
{
    uint64_t now = far_tcp_advance(stack, now_ns);
    struct far_tcp_flow flow = *wanted;
    if (!flow.remote_port)
        return -EINVAL;
    if (flow.local_port ? port_taken(stack, &flow) : pick_port(stack, &flow) != 0)
        return -EADDRINUSE;
    struct far_tcp_sock *s = far_tcp_sock_alloc(stack, &flow, now);
    if (!s)
        return -ENOBUFS;
    s->held = true;
    far_tcp_handshake_start(s, now);
    *sock = s;
    return 0;
}

static bool same_place(const struct far_tcp_listener *l, const uint8_t *ip, uint16_t port)
{
    return l->used && l->port == port && (ip ? !l->any_ip && !memcmp(l->ip, ip, sizeof l->ip) : l->any_ip);
}

int far_tcp_listen(struct far_tcp_stack *stack, const uint8_t *local_ip, uint16_t port, uint32_t backlog,
                   struct far_tcp_listener **listener)
{
    struct far_tcp_listener *l = NULL;
    if (!port || !backlog)
        return -EINVAL;
    for (uint32_t i = 0; i < stack->config.max_listeners; i++) {
        if (same_place(&stack->listeners[i], local_ip, port))
            return -EADDRINUSE;
        if (!l && !stack->listeners[i].used)
            l = &stack->listeners[i];
    }
    if (!l)
        return -ENOBUFS;
    *l = (struct far_tcp_listener){
        .stack = stack, .any_ip = !local_ip, .used = true, .port = port, .backlog = backlog};
    if (local_ip)
        memcpy(l->ip, local_ip, sizeof l->ip);
    far_list_init(&l->accept_queue);
    *listener = l;
    return 0;
}

struct far_tcp_sock *far_tcp_accept(struct far_tcp_listener *l)
{
    struct far_list *node = far_list_pop_front(&l->accept_queue);
    if (!node)
        return NULL;
    struct far_tcp_sock *s = far_list_entry(node, struct far_tcp_sock, ready_link);
    l->queued--;
    s->waiting_accept = false;
    s->listener = NULL;
    far_tcp_sock_announce(s);
    return s;
}

void far_tcp_unlisten(struct far_tcp_listener *l, uint64_t now_ns)
{
    struct far_tcp_sock *s;
    while ((s = far_tcp_accept(l)))
        far_tcp_abort(s, now_ns);
    l->used = false;
    far_tcp_half_drop_unclaimed(l->stack);
}

/* --- bytes
 * ---------------------------------------------------------------------------------------------------- */

static int sendable(const struct far_tcp_sock *s)
{
    if (s->error)
        return s->error;
    return s->end_queued || s->state == FAR_TCP_CLOSED ? -EPIPE : 0;
}

static void queued(struct far_tcp_sock *s, uint32_t len)
{
    s->send.used += len;
    s->queued_end += len;
    far_tcp_want(s, WANT_SEND);
}

int64_t far_tcp_send(struct far_tcp_sock *s, const void *data, size_t len)
{
    int error = sendable(s);
    if (error)
        return error;
    uint32_t n = (uint32_t)far_min(len, (size_t)ring_free(&s->send));
    s->was_full |= n < len;
    if (!n)
        return 0;
    ring_write(&s->send, s->send.used, data, n);
    queued(s, n);
    return n;
}

size_t far_tcp_send_room(struct far_tcp_sock *s, struct far_tcp_span span[2])
{
    uint32_t room = sendable(s) ? 0 : ring_free(&s->send);
    s->was_full |= !room;
    return ring_spans(&s->send, s->send.used, room, span);
}

int far_tcp_send_filled(struct far_tcp_sock *s, size_t len)
{
    if (sendable(s) || len > ring_free(&s->send))
        return -EINVAL;
    if (len)
        queued(s, (uint32_t)len);
    return 0;
}

size_t far_tcp_peek(struct far_tcp_sock *s, struct far_tcp_span span[2])
{
    return ring_spans(&s->receive, 0, s->receive.used, span);
}

int far_tcp_consume(struct far_tcp_sock *s, size_t len)
{
    if (len > s->receive.used)
        return -EINVAL;
    ring_drop(&s->receive, (uint32_t)len, s->reassembly.n > 0);
    if (s->state != FAR_TCP_CLOSED && !s->peer_ended && far_tcp_window_update_due(s))
        far_tcp_want(s, WANT_WINDOW);
    return 0;
}

int64_t far_tcp_recv(struct far_tcp_sock *s, void *data, size_t len)
{
    uint32_t n = (uint32_t)far_min(len, (size_t)s->receive.used);
    if (n) {
        ring_read(&s->receive, 0, data, n);
        far_tcp_consume(s, n);
        return n;
    }
    if (s->peer_ended)
        return 0;
    if (s->error)
        return s->error;
    return s->state == FAR_TCP_CLOSED ? 0 : -EAGAIN;
}

/* --- ending
 * --------------------------------------------------------------------------------------------------- */

int far_tcp_shutdown(struct far_tcp_sock *s)
{
    if (s->error)
        return s->error;
    if (s->end_queued || s->state == FAR_TCP_CLOSED)
        return 0;
    s->end_queued = true;
    if (s->state == FAR_TCP_ESTABLISHED)
        s->state = FAR_TCP_FIN_WAIT_1;
    else if (s->state == FAR_TCP_CLOSE_WAIT)
        s->state = FAR_TCP_LAST_ACK;
    far_tcp_want(s, WANT_SEND);
    return 0;
}

/* No longer the caller's: nothing of it is announced any more. */
static void let_go(struct far_tcp_sock *s)
{
    s->held = s->announced = false;
    far_list_remove(&s->ready_link);
}

void far_tcp_close(struct far_tcp_sock *s, uint64_t now_ns)
{
    uint64_t now = far_tcp_advance(s->stack, now_ns);
    if (s->state == FAR_TCP_CLOSED || s->state == FAR_TCP_SYN_SENT) {
        let_go(s);
        far_tcp_sock_free(s);
        return;
    }
    if (s->state != FAR_TCP_TIME_WAIT && (s->receive.used || s->reassembly.n)) {
        far_tcp_abort(s, now);
        return;
    }
    far_tcp_shutdown(s);
    let_go(s);
    if (s->state != FAR_TCP_TIME_WAIT)
        far_list_push_back(&s->stack->orphans, &s->age_link);
    s->closed_ns = now;
    far_tcp_life_arm(s, now);
}

void far_tcp_abort(struct far_tcp_sock *s, uint64_t now_ns)
{
    far_tcp_advance(s->stack, now_ns);
    let_go(s);
    if (s->state != FAR_TCP_CLOSED && s->state != FAR_TCP_SYN_SENT && s->state != FAR_TCP_TIME_WAIT)
        far_tcp_emit_reset(s);
    far_tcp_sock_free(s);
}

/* --- what became of it
 * ---------------------------------------------------------------------------------------- */

unsigned far_tcp_events(const struct far_tcp_sock *s)
{
    unsigned e = 0;
    if (far_tcp_synchronized(s))
        e |= FAR_TCP_CONNECTED;
    if (s->receive.used)
        e |= FAR_TCP_READABLE;
    if (!sendable(s) && ring_free(&s->send))
        e |= FAR_TCP_WRITABLE;
    if (s->peer_ended)
        e |= FAR_TCP_PEER_END;
    if (s->error || s->state == FAR_TCP_CLOSED)
        e |= FAR_TCP_ERROR;
    return e;
}

int far_tcp_error(const struct far_tcp_sock *s)
{
    return s->error;
}

struct far_tcp_sock *far_tcp_ready(struct far_tcp_stack *stack)
{
    struct far_list *node = far_list_pop_front(&stack->ready);
    if (!node)
        return NULL;
    struct far_tcp_sock *s = far_list_entry(node, struct far_tcp_sock, ready_link);
    s->announced = false;
    return s;
}

void far_tcp_set_user(struct far_tcp_sock *s, uintptr_t user)
{
    s->user = user;
}

uintptr_t far_tcp_user(const struct far_tcp_sock *s)
{
    return s->user;
}

const struct far_tcp_flow *far_tcp_flow(const struct far_tcp_sock *s)
{
    return &s->flow;
}

void far_tcp_get_info(const struct far_tcp_sock *s, struct far_tcp_info *info)
{
    *info = s->stat;
    info->state = (enum far_tcp_state)s->state;
    info->sack = s->sack_ok;
    info->timestamps = s->ts_ok;
    info->window_scale = s->scale_ok;
    info->ecn = s->ecn_ok;
    info->in_recovery = s->rec.phase != PHASE_OPEN;
    info->mss = s->mss;
    info->srtt_ns = s->rtt.srtt_ns;
    info->rttvar_ns = s->rtt.rttvar_ns;
    info->min_rtt_ns = far_tcp_rtt_min(&s->rtt);
    info->rto_ns = far_tcp_rto_backed_off(s);
    info->cwnd_bytes = s->cc.cwnd;
    info->ssthresh_bytes = s->cc.ssthresh;
    info->in_flight_bytes = far_tcp_in_flight(s);
    info->unsent_bytes = s->end_sent ? 0 : s->queued_end - s->snd_nxt;
    info->unread_bytes = s->receive.used;
    info->peer_window_bytes = s->snd_wnd;
}
