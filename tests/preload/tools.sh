#!/bin/sh
# tools.sh LIBRARY: shells, build tools and pipelines do the same with and without the library, byte for byte and
# status for status. The environment (FAR_POLICY, ...) is the caller's.
set -eu
library=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

mkdir src
for i in 1 2 3 4 5 6 7 8; do
    printf '#include <stdio.h>\nint f%s(int x) { return x * %s + 1; }\n' $i $i >src/f$i.c
done
{
    printf 'objects = $(patsubst %%.c,%%.o,$(sort $(wildcard src/*.c)))\n'
    printf 'all: $(objects)\n\t@echo built $(words $(objects))\n'
    printf '%%.o: %%.c\n\t@echo CC $<\n\t@${CC} -O2 -c $< -o $@\n'
    printf 'clean:\n\t@rm -f $(objects)\n'
} >Makefile
seq 1 30000 | awk '{print ($1 * 7919) % 30011, "line", $1}' >lines

failed=0
same() {
    what=$1
    shift
    plain=0
    env -u LD_PRELOAD "$@" >plain.out 2>plain.err </dev/null || plain=$?
    far=0
    LD_PRELOAD=$library "$@" >far.out 2>far.err </dev/null || far=$?
    if [ $plain != $far ] || ! cmp -s plain.out far.out || ! cmp -s plain.err far.err; then
        echo "$what: status $plain plainly, $far with the library"
        diff plain.out far.out | head -5
        diff plain.err far.err | head -5
        failed=1
    fi
}

same "true" /bin/true
same "false" /bin/false
same "exit status" sh -c 'exit 42'
same "pipeline" sh -c 'sort -n lines | uniq -c | head -100 | sed s/line/LINE/ | tr a-z A-Z | md5sum'
same "big sort" sh -c 'sort -S 20M lines lines lines | md5sum'
same "xargs" sh -c 'find src -name "*.c" | sort | xargs -n 2 -P 2 cat | sort | md5sum'
same "find -exec" find src -name 'f1.c' -exec wc -l '{}' ';'
same "timeout" timeout 5 echo in time
same "timeout status" timeout 0.1 sleep 5
same "env" env A=b sh -c 'echo $A'
same "make" sh -c 'make -s clean; make -j2 | sort'
same "subshells" sh -c '(echo a; (echo b; exit 3); echo $?) | cat'
same "bash" bash -c 'x=$(for i in {1..200}; do echo $((i*i)); done); echo "${x//1/one}" | md5sum; exec 3<lines; read -u 3 l; echo $l; exec 3<&-; wait; echo ${BASH_VERSINFO[0]}'
same "here document" bash -c 'cat <<E
$(date +%Y >/dev/null; echo text)
E'
same "kill" sh -c 'kill -TERM $$'
same "tar" sh -c 'tar -cf - --mtime=@0 --owner=0 --group=0 src/*.c | tar -tf - | sort'
same "gzip" sh -c 'gzip -nc lines | gunzip | md5sum'
same "grep" grep -c 'line 1' lines
same "awk" awk '{s[$1 % 100] += $3} END {for (i = 0; i < 100; i++) print i, s[i]}' lines
same "dd" sh -c 'dd if=lines bs=1M count=1 2>/dev/null | md5sum'
same "missing program" sh -c 'no-such-program-here; echo $?'
command -v perl >/dev/null && same "perl" perl -e 'my %h; $h{$_ % 1000} .= $_ for 1..100000; print length(join "", map {$h{$_}} sort keys %h), "\n"; system("echo from perl"); print `echo back`;'
[ -x /usr/bin/python3 ] && same "python3" /usr/bin/python3 -c '
import subprocess, os, threading
d = {i: str(i) * 10 for i in range(50000)}
print(sum(len(v) for v in d.values()))
print(subprocess.run(["sh", "-c", "echo sub; exit 3"], stdout=subprocess.PIPE, close_fds=True))
r = []
ts = [threading.Thread(target=lambda: r.append(len(bytearray(5000000)))) for _ in range(4)]
[t.start() for t in ts]; [t.join() for t in ts]; print(r)
pid = os.fork()
if not pid: os._exit(len(d) % 251)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))'
exit $failed
