#!/bin/bash
# compile.sh INCLUDE COMPILER... - what object.h lets through, and what not. Each case is a line that must compile without a
# warning, and the same with the mistake in it, which must not compile: so that it fails because of the mistake.
# C compilers compile as C11, others (with ++ in their name) as C++17.
set -u
include=$1
shift
dir=$(mktemp -d /tmp/far-test-XXXXXX) || exit 1
trap 'rm -rf "$dir"' EXIT

cat >"$dir/before" <<'END'
#include <far/object.h>
typedef struct node node;
typedef struct leaf leaf;
FAR_DECLARE(node);
struct leaf { long key; };
FAR_PLAIN(leaf);
struct node { long key; FAR(node) next; FAR(leaf) leaves[4]; char name[8]; };
END
echo 'FAR_TYPE(node, next, leaves);' >"$dir/type"
cat >"$dir/inside" <<'END'
void take(FAR(node) n, FAR(leaf) l);
FAR(node) use(FAR(node) n, FAR(node) m, FAR(leaf) l, node *p);
FAR(node) use(FAR(node) n, FAR(node) m, FAR(leaf) l, node *p)
{
    FAR_SCOPED;
END
printf '    (void)n; (void)m; (void)l; (void)p;\n    return n;\n}\n' >"$dir/after"

# name | right | wrong
cases='
deref with an arrow   | p->key = FAR_R(n)->key;                | p->key = n->key;
deref with a star     | p->key = FAR_W(n)->key;                | p->key = (*n).key;
assign another type   | FAR_W(n)->next = m;                    | FAR_W(n)->next = l;
initialise from other | FAR(leaf) k = l; (void)k;              | FAR(leaf) k = n; (void)k;
assign a pointer      | n = m;                                 | n = p;
assign to a pointer   | p = FAR_W(n);                          | p = n;
pass another type     | take(n, l);                            | take(l, l);
pass a pointer        | take(n, l);                            | take(p, l);
return another type   | return m;                              | return l;
compare               | if (FAR_IS_SAME(n, m)) return m;       | if (n == m) return m;
test                  | if (!FAR_IS_NULL(n)) return m;         | if (n) return m;
write through a read  | FAR_W(n)->key = 1;                     | FAR_R(n)->key = 1;
write through NT read | FAR_W_NT(n)->key = 1;                  | FAR_R_NT(n)->key = 1;
write an element      | FAR_W(n)->name[1] = 1;                 | FAR_R(n)->name[1] = 1;
write a whole object  | *FAR_W(l) = *FAR_R(l);                 | *FAR_R(l) = *FAR_R(l);
new of another type   | (void)FAR_NEW(n, node);                | (void)FAR_NEW(n, leaf);
new_n of another type | (void)FAR_NEW_N(l, leaf, 3);           | (void)FAR_NEW_N(l, node, 3);
new of plain pointer  | (void)FAR_NEW(n, node);                | (void)FAR_NEW(p, node);
new of undeclared     | (void)FAR_NEW(l, leaf);                | (void)FAR_NEW(l, short);
undeclared handle     | FAR(int) k = {NULL}; (void)k;          | FAR(short) k = {NULL}; (void)k;
free a pointer        | FAR_FREE(n);                           | FAR_FREE(p);
release to other type | FAR_AUTO(node) a = {NULL}; n = FAR_RELEASE(a); | FAR_AUTO(leaf) a = {NULL}; n = FAR_RELEASE(a);
'
# FAR_TYPE lines in the place of the right one.
types='
missing field         | FAR_TYPE(node, next, leaves);          | FAR_TYPE(node, next, trips);
too large an owner    | FAR_TYPE(node, next);                  | typedef struct big { char c[65537]; FAR(leaf) l; } big; FAR_DECLARE(big); FAR_TYPE(big, l); FAR_TYPE(node, next);
checkpoint, no scope  | FAR_TYPE(node, next); void f(void); void f(void) { FAR_SCOPED; FAR_SCOPE_CHECKPOINT(); } | FAR_TYPE(node, next); void f(void); void f(void) { FAR_SCOPE_CHECKPOINT(); }
too many fields       | FAR_TYPE(node, next);                  | FAR_TYPE(node, next, next, next, next, next, next, next, next, next, next, next, next, next, next, next, next, next);
'
fails=0 done=0

try() { # compiler, file
    local std=gnu11 language=c
    case $1 in *++*) std=gnu++17 language=c++ ;; esac
    "$1" -x $language -std=$std -fsyntax-only -Wall -Wextra -Wshadow ${3:-} -I"$include" "$2" 2>"$dir/errors"
}

check() { # compiler, name, file with the right, file with the wrong
    if ! try "$1" "$3" -Werror; then
        echo "$1: $2: the right form does not compile:"; cat "$dir/errors"; fails=1
    elif try "$1" "$4"; then
        echo "$1: $2: compiles, and should not"; fails=1
    elif ! grep -q 'error' "$dir/errors"; then
        echo "$1: $2: no error of the compiler's:"; cat "$dir/errors"; fails=1
    fi
    done=$((done + 1))
}

while IFS='|' read -r name right wrong; do
    [ -n "$wrong" ] || continue
    for which in right wrong; do
        { cat "$dir/before" "$dir/type" "$dir/inside"; echo "    ${!which}"; cat "$dir/after"; } >"$dir/$which"
    done
    for c in "$@"; do check "$c" "$name" "$dir/right" "$dir/wrong"; done
done <<<"$cases"
while IFS='|' read -r name right wrong; do
    [ -n "$wrong" ] || continue
    for which in right wrong; do
        { cat "$dir/before"; echo "${!which}"; cat "$dir/inside" "$dir/after"; } >"$dir/$which"
    done
    for c in "$@"; do check "$c" "$name" "$dir/right" "$dir/wrong"; done
done <<<"$types"
echo "$done cases tried"
[ $done -gt 20 ] && exit $fails
exit 1
