#!/bin/sh
# install.sh CMAKE BUILD CC: what `cmake --install` puts down is enough to build a program by pkg-config and run it.
set -eu
cmake=$1 build=$2 cc=$3
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
