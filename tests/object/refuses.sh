#!/bin/sh
# refuses.sh COMPILER INCLUDE: misuse of containers that must not compile; the same lines used rightly do.
set -u
compiler=$1 include=$2
case $compiler in *++*) language="-x c++ -std=c++17" ;; *) language="-x c -std=gnu11" ;; esac
failed=0

# program LINE [DECLARATION]: do they compile in the middle of this?
program() {
    $compiler $language -fsyntax-only -Wall -Wextra -Werror -I "$include" - 2>/dev/null <<E
#include "far/array.h"
#include "far/list.h"
typedef struct { int x; } item;
typedef struct { int x; } other;
FAR_PLAIN(item);
FAR_ARRAY_DECLARE(item);
FAR_LIST_DECLARE(item);
FAR_PLAIN(other);
FAR_ARRAY_DECLARE(other);
FAR_LIST_DECLARE(other);
typedef struct { char bytes[65537]; } huge;
typedef struct { char bytes[65536]; } fits;
extern FAR_ARRAY(item) a;
extern FAR_ARRAY(item, 2) m;
extern FAR_ARRAY(other) b;
extern FAR_LIST(item) l;
extern FAR_LIST(other) k;
${2-}
int use(FAR_LIST_ITER(item) it, const item *from, item *to, const other *from_other, other *to_other, size_t n);
int use(FAR_LIST_ITER(item) it, const item *from, item *to, const other *from_other, other *to_other, size_t n)
{
    FAR_SCOPED;
    (void)it, (void)from, (void)to, (void)from_other, (void)to_other, (void)n;
    $1
    return 0;
}
E
}

right() {
    program "$@" || { echo "should compile: $*"; failed=1; }
}

wrong() {
    program "$@" && { echo "should not compile: $*"; failed=1; }
}

right ';'
right 'FAR_ARRAY(item) c = a; return FAR_AT(c, 1)->x;'
wrong 'a = b;'
wrong 'a = m;'
right 'FAR_AT_W(a, 1)->x = 1;'
wrong 'FAR_AT(a, 1)->x = 1;'
wrong 'FAR_AT_NT(a, 1)->x = 1;'
wrong 'FAR_RUN(a, 1, &n)->x = 1;'
right 'return FAR_AT(m, 1, 2)->x;'
wrong 'return FAR_AT(m, 1)->x;'
wrong 'return FAR_AT(a, 1, 2)->x;'
wrong 'return FAR_AT(m, 1, 2, 3)->x;'
wrong 'return (int)FAR_INDEX(m, 1);'
wrong 'return FAR_AT(l, 1)->x;'
wrong 'return a->x;'
wrong 'to_other = FAR_AT_W(a, 1);'
right 'to = FAR_AT_W(a, 1);'
right 'if (!FAR_ARRAY_NEW(m, item, 1, 2)) return 1;'
wrong 'if (!FAR_ARRAY_NEW(m, item, 1)) return 1;'
wrong 'if (!FAR_ARRAY_NEW(m, other, 1, 2)) return 1;'
right 'FAR_ARRAY_FREE(a, item);'
wrong 'FAR_ARRAY_FREE(a, other);'
right 'return FAR_ARRAY_READ(a, 1, 2, to);'
wrong 'return FAR_ARRAY_READ(a, 1, 2, from);'
wrong 'return FAR_ARRAY_READ(a, 1, 2, to_other);'
right 'return FAR_ARRAY_WRITE(a, 1, 2, from);'
wrong 'return FAR_ARRAY_WRITE(a, 1, 2, from_other);'
wrong 'FAR_ARRAY_PREFETCH(l, 1, 2, 3);'
right 'FAR_LIST_INIT(l, item);'
wrong 'FAR_LIST_INIT(l, other);'
wrong 'l = k;'
right 'return FAR_LIST_PUSH_BACK(l, *from);'
wrong 'return FAR_LIST_PUSH_BACK(l, *from_other);'
right 'return FAR_LIST_POP_BACK(l, to);'
wrong 'return FAR_LIST_POP_BACK(l, to_other);'
right 'it = FAR_LIST_BEGIN(l);'
wrong 'it = FAR_LIST_BEGIN(k);'
right 'FAR_LIST_ITEM_W(it)->x = 1;'
wrong 'FAR_LIST_ITEM(it)->x = 1;'
wrong 'FAR_LIST_FRONT(l)->x = 1;'
right 'return FAR_LIST_SPLIT(it, l) + FAR_LIST_SPLICE(it, l) + FAR_LIST_MERGE(l, l);'
wrong 'return FAR_LIST_SPLIT(it, k);'
wrong 'return FAR_LIST_SPLICE(it, k);'
wrong 'return FAR_LIST_MERGE(l, k);'
right 'FAR_EACH_W(p, l) p->x = 1;'
wrong 'FAR_EACH(p, l) p->x = 1;'
wrong 'FAR_EACH_REVERSE_NT(p, l) p->x = 1;'
right ';' 'FAR_ARRAY_DECLARE(fits); FAR_LIST_DECLARE(fits);'
wrong ';' 'FAR_ARRAY_DECLARE(huge);'
wrong ';' 'FAR_LIST_DECLARE(huge);'
wrong ';' 'FAR_ARRAY_DECLARE_CHUNKED(fits, 65537);'
exit $failed
