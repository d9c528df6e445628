/* transport.c - the table of the kinds of byte streams. */
#include "transport/transport.h"

#include <errno.h>
#include <string.h>
#include "base/atomic.h"
#include "base/format.h"

#define MAX_KINDS 8

/* Filled from the front and never emptied; a reader sees an entry whole or not at all (release, acquire). */
static const struct far_stream_ops *added[MAX_KINDS];

static const struct far_stream_ops *find(const char *scheme)
{
    static const struct far_stream_ops *const built_in[] = {&far_sock_unix_ops, &far_sock_tcp_ops};
    for (unsigned i = 0; i < sizeof built_in / sizeof *built_in; i++)
        if (strcmp(built_in[i]->scheme, scheme) == 0)
            return built_in[i];
    for (unsigned i = 0; i < MAX_KINDS; i++) {
        const struct far_stream_ops *ops = far_atomic_load_acquire(&added[i]);
        if (ops && strcmp(ops->scheme, scheme) == 0)
            return ops;
    }
    return NULL;
}

int far_transport_register(const struct far_stream_ops *ops)
{
    if (ops->stream_bytes > FAR_STREAM_BYTES_MAX)
        return -EINVAL;
    if (find(ops->scheme))
        return -EEXIST;
    for (unsigned i = 0; i < MAX_KINDS; i++) {
        const struct far_stream_ops *none = NULL;
        if (far_atomic_cas_acq_rel(&added[i], &none, ops))
            return 0;
        if (strcmp(none->scheme, ops->scheme) == 0)
            return -EEXIST;
    }
    return -ENOSPC;
}

const struct far_stream_ops *far_transport_find_plain(const struct far_url *url, char *err, size_t errlen)
{
    const struct far_stream_ops *ops = find(url->scheme);
    if (ops)
        return ops;
    if (strcmp(url->scheme, "inproc") == 0)
        far_format(err, errlen, "node address '%s': no node is embedded in this process", url->text);
    else
        far_format(err, errlen, "node address '%s': the transport '%s' is not available", url->text,
                   url->scheme);
    return NULL;
}

const struct far_stream_ops *far_transport_find(const struct far_url *url, char *err, size_t errlen)
{
    const struct far_stream_ops *ops = far_transport_find_plain(url, err, errlen);
    return ops && url->rtt_us ? &far_delay_ops : ops;
}
