#!/bin/sh
# refusals.sh LIBRARY DIRECT_IO WITHOUT_USERFAULTFD: what is said, and with which status, when the options are wrong; and that nothing is said or
# started when there is no reason.
set -eu
library=$1 direct_io=$2 sandbox=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset FAR_POLICY FAR_LOCAL FAR_LOG FAR_NODES FAR_FALLBACK || true
FAR_CONFIG=/dev/null
export FAR_CONFIG

failed=0
# refuses NAME=VALUE PATTERN
refuses() {
    status=0
    env LD_PRELOAD="$library" "$1" /bin/echo ran >"$work/out" 2>"$work/err" || status=$?
    if [ $status != 125 ] || [ -s "$work/out" ] || ! grep -q "^farshim: .*$2" "$work/err"; then
        echo "$1: status $status: $(cat "$work/out" "$work/err")"
        failed=1
    fi
}

refuses FAR_POLCY=all 'FAR_POLICY'
refuses FAR_POLICY=everything 'annotated|all|size>=SIZE'
refuses 'FAR_POLICY=size>=many' 'size>=SIZE'
refuses FAR_LOCAL=lots 'FAR_LOCAL'
printf 'local = 1Q\n' >"$work/conf"
refuses FAR_CONFIG="$work/conf" "$work/conf:1"

# refuses_when_needed NAME=VALUE PATTERN: it shows only when far memory is used.
refuses_when_needed() {
    status=0
    env LD_PRELOAD="$library" FAR_POLICY=all "$1" /bin/sh -c 'echo ran' >"$work/out" 2>"$work/err" || status=$?
    if [ $status = 0 ] || ! grep -q "^farshim.*$2" "$work/err"; then
        echo "$1: status $status: $(cat "$work/out" "$work/err")"
        failed=1
    fi
}
refuses_when_needed FAR_FEATURES_MASK=move,wings 'move,wings.*those are poison,move$'
refuses_when_needed FAR_FEATURES_MASK=wp 'those are poison,move$'
refuses_when_needed FAR_NODES=unix:@one,unix:@two,unix:@one 'FAR_NODES names unix:@one twice'
refuses_when_needed FAR_WINDOW=64T '67108864 MiB (FAR_WINDOW).*smaller window'
refuses_when_needed FAR_LOCAL=1M '1024 KiB.*4096 KiB'

# A node that is not there costs a program that can do without it half a second, not five.
start=$(date +%s%N)
[ "$(FAR_POLICY=all FAR_FALLBACK=local FAR_NODES=unix://$work/none LD_PRELOAD=$library sh -c 'echo ran' 2>/dev/null)" = ran ] ||
    { echo "no fallback"; failed=1; }
took=$((($(date +%s%N) - start) / 1000000))
[ $took -lt 4000 ] || { echo "the fallback took $took ms"; failed=1; }

# What a program of the run starts in a sandbox stays local and says so; a run that is in one from the start, as in a container, is
# refused.
if "$sandbox" true 2>/dev/null; then
    status=0
    FAR_POLICY=all LD_PRELOAD=$library sh -c '"$1" sh -c "echo ran"; :' sh "$sandbox" >"$work/out" 2>"$work/err" || status=$?
    [ $status = 0 ] && [ "$(cat "$work/out")" = ran ] && grep -q '^farshim: .*local memory only: a seccomp filter' "$work/err" &&
        [ "$(wc -l <"$work/err")" = 1 ] || { echo "in a sandbox: status $status: $(cat "$work/out" "$work/err")"; failed=1; }
    status=0
    "$sandbox" env FAR_POLICY=all LD_PRELOAD="$library" sh -c 'echo ran' >"$work/out" 2>"$work/err" || status=$?
    [ $status = 125 ] && [ ! -s "$work/out" ] && grep -q '^farshim: .*cannot start: a seccomp filter' "$work/err" ||
        { echo "a run in a sandbox: status $status: $(cat "$work/out" "$work/err")"; failed=1; }
fi

# A fallback leaves nothing open and nothing running: if a node cannot be used, and if only some of the threads can be made
# (limited for a user of their own, where root may do that). In a shell that starts nothing itself.
cat >"$work/left.sh" <<'E'
descriptors=0 # that are no devices
for fd in /proc/$$/fd/*; do
    [ -c $fd ] || descriptors=$((descriptors + 1))
done
counters=
[ ! -e /dev/shm/farshim.$$ ] || counters=counters
looks=0 # threads take a moment to end
while set -- /proc/$$/task/*; [ $# -gt 1 ] && [ $looks -lt 10000 ] && [ -z "$counters" ]; do
    looks=$((looks + 1))
done
echo "$descriptors $# $counters"
E
chmod 755 "$work"
nothing=$(sh "$work/left.sh" 2>"$work/err")
left=$(FAR_POLICY=all FAR_FALLBACK=local FAR_NODES=unix://$work/none LD_PRELOAD=$library sh "$work/left.sh" 2>"$work/err")
[ "$left" = "$nothing" ] || { echo "a node that is not there leaves: $left, not $nothing"; failed=1; }
as_other() { setpriv --reuid 61234 --clear-groups --inh-caps +sys_ptrace --ambient-caps +sys_ptrace "$@"; }
if as_other cat "$library" "$work/left.sh" >/dev/null 2>&1; then
    halfway=0 n=0 left=
    while [ $n -lt 40 ] && [ "${left%counters}" = "$left" ]; do
        n=$((n + 1))
        left=$(FAR_POLICY=all FAR_FALLBACK=local as_other prlimit --nproc=$n env LD_PRELOAD="$library" sh "$work/left.sh" 2>"$work/err") ||
            left="status $?"
        grep -q 'threads cannot be started' "$work/err" || continue
        halfway=1
        [ "$left" = "$nothing" ] || { echo "threads that cannot be made leave: $left, not $nothing"; failed=1; }
    done
    [ $halfway = 1 ] || { echo "the threads were never refused: $left $(cat "$work/err")"; failed=1; }
fi

# Without a reason: no word, no thread, no socket, no window.
cat >"$work/look.sh" <<'E'
ls /proc/self/task | wc -l
ls -l /proc/self/fd | grep -c -E 'socket|userfaultfd' || true
grep -c '^2000000' /proc/self/maps || true
E
LD_PRELOAD=$library sh "$work/look.sh" >"$work/out" 2>&1
[ "$(tr '\n' ' ' <"$work/out")" = "1 0 0 " ] || { echo "an idle process shows: $(cat "$work/out")"; failed=1; }

# I/O that pins pages is noticed where the kernel could not tell (no UFFDIO_MOVE). Not every file system has O_DIRECT.
if dd if="$library" of=/dev/null iflag=direct bs=4k count=1 2>/dev/null; then
    FAR_LOG="$work/log" FAR_FEATURES_MASK=move FAR_POLICY=all LD_PRELOAD=$library \
        dd if="$library" of=/dev/null iflag=direct bs=4k count=1 2>"$work/err"
    # Not on stderr: dd closes that before it ends.
    grep -q 'O_DIRECT is used' "$work/log" || { echo "O_DIRECT was not noticed: $(cat "$work/err")"; failed=1; }
    nm -D "$direct_io" | grep -q ' __open' || { echo "$direct_io does not call a fortified open"; failed=1; }
    FAR_LOG="$work/log2" FAR_FEATURES_MASK=move FAR_POLICY=all LD_PRELOAD=$library "$direct_io" "$library"
    grep -q 'O_DIRECT is used' "$work/log2" || { echo "O_DIRECT in a fortified open was not noticed"; failed=1; }
fi

# A program that may write no file has no counters, and hears nothing of it.
status=0
ran=$( (ulimit -f 0; FAR_POLICY=all LD_PRELOAD=$library exec /bin/sh -c 'echo ran') 2>&1) || status=$?
[ "$status $ran" = "0 ran" ] || { echo "with ulimit -f 0: status $status: $ran"; failed=1; }

# Too few descriptors, whoever needs the next one: it is said what there is too little of.
for n in 5 8 10 12; do
    said=$( (ulimit -n $n; FAR_POLICY=all LD_PRELOAD=$library exec /bin/sh -c 'echo ran') 2>&1) || true
    case $said in ran | *'ulimit -n'*) ;; *) echo "with ulimit -n $n: $said"; failed=1 ;; esac
done

# A full /dev/shm: there are no counters then, and nothing is left behind. In a mount namespace of its own, where that is allowed.
cat >"$work/full.sh" <<'E'
mount -t tmpfs -o size=4k tmpfs /dev/shm && head -c 4096 /dev/zero >/dev/shm/full || exit 77
FAR_POLICY=all LD_PRELOAD=$1 /bin/sh -c 'echo ran; echo /dev/shm/*'
E
if unshare -m true 2>/dev/null; then
    status=0
    unshare -m sh "$work/full.sh" "$library" >"$work/out" 2>&1 || status=$?
    [ $status = 77 ] || [ "$(tr '\n' ' ' <"$work/out")" = "ran /dev/shm/full " ] || {
        echo "with a full /dev/shm: status $status: $(cat "$work/out")"
        failed=1
    }
fi
exit $failed
