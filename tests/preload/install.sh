#!/bin/sh
# install.sh CMAKE BUILD CC SOURCE: what `cmake --install` puts down is enough to build a program by pkg-config and run it, and
# what tools/quickstart builds is enough to install.
set -eu
cmake=$1 build=$2 cc=$3 source=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$cmake" --install "$build" --prefix "$work/usr" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
PKG_CONFIG_PATH=$(dirname "$(find "$work/usr" -name farshim.pc)")
export PKG_CONFIG_PATH
pkg-config --exists --print-errors farshim
cat >"$work/program.c" <<'E'
#include <far/far.h>
#include <stdio.h>
#include <stdlib.h>
int main(void)
{
    void *volatile p = NULL;

    FAR_REGION("installed")
        p = malloc(1000);
    puts(far_contains(p) ? "far" : "local");
    free(p);
    return 0;
}
E
"$cc" -Wall -Wextra -Werror $(pkg-config --cflags farshim) -o "$work/program" "$work/program.c" $(pkg-config --libs farshim)
[ "$("$work/program")" = local ]
[ "$(LD_PRELOAD=$(pkg-config --variable=preload farshim) "$work/program")" = far ]

# A build tree of which nothing is there but that.
targets=$(sed -n 's/^build_preset release --targets \([a-z ]*\).*/\1/p' "$source/tools/quickstart")
[ -n "$targets" ]
mkdir "$work/build"
(cd "$build" && find . -name cmake_install.cmake -o -name farshim.pc | tar -cf - -T -) | tar -xf - -C "$work/build"
find "$work/build" -name cmake_install.cmake -exec sed -i "s#$build#$work/build#g" {} +
for t in $targets; do
    (cd "$build" && find bin lib -name "$t" -o -name "lib$t.so*" | tar -cf - -T -) | tar -xf - -C "$work/build"
done
"$cmake" --install "$work/build" --prefix "$work/quick" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
for t in $targets; do
    [ -n "$(find "$work/quick" -name "$t" -o -name "lib$t.so")" ] || { echo "$t is not installed"; exit 1; }
done
