#!/bin/sh
# exports.sh LIBRARY MAP: the library shows exactly the names that the version script lists, all without a version,
# needs nothing but libc, and calls none of its own exported names but those that programs may replace.
set -eu
library=$1 map=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

sed -n '/^global:/,/^local:/p' "$map" | sed 's|/\*.*\*/||' | grep -o '[A-Za-z_][A-Za-z0-9_]*;' | tr -d ';' | sort >"$work/wanted"
nm -D --defined-only "$library" | awk '{print $3}' | sort >"$work/shown"
diff "$work/wanted" "$work/shown" || { echo "exported names differ (<: not exported, >: not in the map)"; exit 1; }

if readelf -V "$library" | grep -q "Version definition"; then
    echo "exported names carry a version"; exit 1
fi

needed=$(readelf -d "$library" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort | tr '\n' ' ')
[ "$needed" = "libc.so.6 " ] || { echo "needs $needed"; exit 1; }

# Relocations against own names: calls that the program could catch. (__register_atfork: of libc's static pthread_atfork, which
# comes along with its name and which nobody calls. malloc: of strings.c, where it is the program's own.)
readelf -rW "$library" | awk '{print $5}' | sed 's/@.*//' | sort -u >"$work/relocated"
caught=$(comm -12 "$work/shown" "$work/relocated" | grep -v '^_Z' | tr '\n' ' ')
[ "$caught" = "__register_atfork malloc malloc_conf malloc_message " ] || { echo "calls its own exported names: $caught"; exit 1; }

tls=$(readelf -lW "$library" | awk '$1 == "TLS" {print $6}')
[ $((tls)) -le 4096 ] || { echo "needs $tls bytes of static TLS"; exit 1; }
