#!/bin/sh
# Keeps the layers one-way: shim -> core -> transport -> base, server -> transport -> base, never back.
# Reads every #include line of our sources; prints file:line of each that goes the wrong way, and fails then.
#
#   folder          may include, besides itself
#   include/far     nothing of ours outside include/far
#   base            -
#   transport       base
#   transport/tcp   base only: the TCP engine knows no other transport
#   transport/dpdk  base, transport; alone may include DPDK's rte_*
#   server          base, transport
#   core            base, transport, include/far (whose interface it implements)
#   shim            base, transport, core, include/far, and server/embed.h (the in-process node)
# tools, tests and bench may include anything of ours.
# A quoted name is a path from the root of the project: it says which folder it belongs to.
#
# layers.sh --self-test: proves on made-up lines that wrong ones are found and right ones are not.
set -u
root=${1:-$(dirname "$0")/..}

# stdin: lines "path:line:#include ..."; stdout: the wrong ones, each with the reason.
check() {
    awk -F: '
    function wrong(why) { printf "%s:%s: %s: %s\n", file, line, name, why }
    # Whether path a lies in folder b.
    function in_folder(a, b) { return index(a, b "/") == 1 }
    {
        file = $1; line = $2; name = substr($0, length($1) + length($2) + 3)
        if (!match(name, /[<"][^>"]+[>"]/)) next
        quoted = substr(name, RSTART, 1) == "\""
        name = substr(name, RSTART + 1, RLENGTH - 2)

        if (name ~ /^(rte_|.*\/rte_)/) {
            if (!in_folder(file, "transport/dpdk") && !in_folder(file, "bench")) wrong("rte_* lives in transport/dpdk alone")
            next
        }
        if (in_folder(file, "include/far")) {
            if (name !~ /^far\// && (quoted || name ~ /^(base|transport|server|core|shim|tools|tests|bench)\//))
                wrong("installed headers include installed headers only")
            next
        }
        if (name ~ /^far\//) layer = "include"
        else if (name ~ /^(base|transport|server|core|shim|include|tools|tests|bench)\//) { layer = name; sub(/\/.*/, "", layer) }
        else if (!quoted) next
        else if (name !~ /\//) { wrong("write the path from the root of the project"); next }
        else next

        from = file; sub(/\/.*/, "", from)
        if (in_folder(file, "transport/tcp"))
            ok = layer == "base" || in_folder(name, "transport/tcp")
        else if (from == "base") ok = layer == "base"
        else if (from == "transport") ok = layer ~ /^(base|transport)$/
        else if (from == "server") ok = layer ~ /^(base|transport|server)$/
        else if (from == "core") ok = layer ~ /^(base|transport|core|include)$/
        else if (from == "shim") ok = layer ~ /^(base|transport|core|shim|include)$/ || name == "server/embed.h"
        else ok = 1
        if (!ok) wrong(from " must not know " layer)
    }'
}

# label, expected number of wrong lines, lines
expect() {
    found=$(printf '%s\n' "$3" | check | grep -c .)
    if [ "$found" -ne "$2" ]; then
        echo "self-test: $1: $found wrong lines found instead of $2" >&2
        exit 1
    fi
}

if [ "$root" = --self-test ]; then
    expect downwards 0 'shim/a.c:1:#include "core/core.h"
core/page/a.c:1:#include "transport/engine.h"
core/a.c:1:#include "base/os.h"
server/a.c:1:#include "transport/wire.h"
shim/a.c:1:#include "server/embed.h"
shim/a.c:1:#include "far/far.h"
transport/dpdk/a.c:1:#include <rte_eal.h>
transport/a.c:1:#include "transport/tcp/tcp.h"
transport/tcp/a.c:2:#include "transport/tcp/tcp.h"
transport/tcp/a.c:3:#include "base/clock.h"
include/far/list.h:1:#include "far/far.h"
include/far/list.h:1:#include <far/far.h>
include/far/list.h:1:#include <stdint.h>
tests/unit/a.c:1:#include "core/core.h"
base/a.c:1:#include <sys/mman.h>'
    expect upwards 14 'base/a.c:1:#include "transport/wire.h"
base/a.c:1:# include <core/core.h>
base/a.c:1:#include "far/far.h"
transport/a.c:1:#include "core/core.h"
transport/a.c:1:#include "server/embed.h"
transport/tcp/a.c:1:#include "transport/wire.h"
transport/a.c:1:#include <rte_eal.h>
server/a.c:1:#include "core/core.h"
server/a.c:1:#include "shim/shim.h"
core/a.c:1:#include "server/embed.h"
core/a.c:1:#include "shim/shim.h"
shim/a.c:1:#include "server/session.h"
include/far/far.h:1:#include "base/bits.h"
shim/a.c:1:#include "shim.h"'
    echo "layers: self-test passed"
    exit 0
fi

cd "$root" || exit 2
lines=$(find include base transport server core shim -name '*.[chS]' -o -name '*.def' -o -name '*.cpp' |
    xargs grep -n -E '^[[:space:]]*#[[:space:]]*include' /dev/null)
wrong=$(printf '%s\n' "$lines" | check)
if [ -n "$wrong" ]; then
    printf '%s\n' "$wrong"
    exit 1
fi
echo "layers: $(printf '%s\n' "$lines" | grep -c .) includes, all downwards"
