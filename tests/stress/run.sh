#!/bin/bash
# run.sh - a program with a memory node of its own: starts farmemd at an address that nobody else has, runs the program,
# stops farmemd.
#
#   run.sh FARMEMD TRANSPORT PROGRAM ARGS...       TRANSPORT: inproc, unix, tcp or private
#
# The word @NODE@ in the arguments, and in the values of FAR_NODES, becomes the node's address; NODE_PID is its process, where it
# is another. Exit status: the program's, or 1 when farmemd did not start or did not stop.
set -u
farmemd=$1 transport=$2
shift 2

pid=
log=
cleanup() {
    [ -n "$pid" ] && kill -KILL "$pid" 2>/dev/null
    [ -n "$log" ] && rm -f "$log"
}
trap cleanup EXIT

# Waits until farmemd says that it listens, or has ended: a port may be taken.
listening() {
    local i
    for i in $(seq 200); do
        grep -q 'serving\|listening' "$log" && return 0
        kill -0 "$pid" 2>/dev/null || return 1
        sleep 0.05
    done
    return 1
}

start() {
    local i
    log=$(mktemp /tmp/far-test-XXXXXX) || exit 1
    for i in 1 2 3 4 5 6 7 8; do
        case $transport in
            unix) node=unix:@far-stress-$$-$RANDOM ;;
            tcp) node=tcp://127.0.0.1:$((20000 + (RANDOM * 32768 + RANDOM) % 12000)) ;;
        esac
        env -i FAR_CONFIG=/dev/null "$farmemd" --listen "$node" --memory "${STRESS_MEMORY:-1G}" >"$log" 2>&1 &
        pid=$!
        listening && return 0
        wait "$pid"
    done
    echo "run.sh: farmemd does not start:" >&2
    cat "$log" >&2
    exit 1
}

# Twice TERM: drain, then at once.
stop() {
    local i
    kill -TERM "$pid" 2>/dev/null
    for i in $(seq 100); do
        [ "$i" = 20 ] && kill -TERM "$pid" 2>/dev/null
        kill -0 "$pid" 2>/dev/null || { pid=; return 0; }
        sleep 0.05
    done
    echo "run.sh: farmemd does not stop:" >&2
    cat "$log" >&2
    return 1
}

node=$transport:
case $transport in
    inproc | private) node=$transport; [ $transport = inproc ] && node=inproc: ;;
    unix | tcp) start ;;
    *) echo "run.sh: no transport $transport" >&2; exit 2 ;;
esac
args=()
for a in "$@"; do
    args+=("${a//@NODE@/$node}")
done
[ -n "${FAR_NODES:-}" ] && export FAR_NODES=${FAR_NODES//@NODE@/$node}
NODE_PID=$pid "${args[@]}"
status=$?
if [ -n "$pid" ]; then
    stop || status=1
fi
exit $status
