"""What far/object.h, array.h and list.h let through, and what not.

refuses.py INCLUDE COMPILER...   Each case is a line that must compile without a warning, and the same with a mistake in it, which
must not compile: so that it fails because of the mistake. C compilers compile as C11, others (with ++ in their name) as C++17;
what is right also without the GNU extensions of the program's own.

All the right lines of a group are compiled at once, each in a function of its own, and so are all the wrong ones, where every case
must be named by an error. One that is not named is looked at by itself: an error before it may have hidden it.

And programs that are right must compile without a warning where the compiler optimizes, as it finds others then.
"""
import re
import subprocess
import sys


class Group:
    """Cases that share what stands before them, and the function that they are put into ({n}: its number)."""

    def __init__(self, before, signature, begin, end, cases):
        self.before, self.signature, self.begin, self.end = before, signature, begin, end
        self.cases = cases

    def place(self, n, case):
        text, file_scope = case if isinstance(case, tuple) else (case, False)
        named = '\n#line 1 "case%d;"\n%s\n#line 1 "frame"\n' % (n, text)
        if file_scope:
            return named
        function = self.signature.format(n=n)
        return "%s;\n%s\n{\n%s%s%s\n}\n" % (function, function, self.begin, named, self.end)

    def program(self, which, numbers):
        return self.before + "".join(self.place(n, self.cases[n][which]) for n in numbers)


def at_file_scope(text):
    return (text, True)


HANDLES = Group("""
#include <far/object.h>
typedef struct node node;
typedef struct leaf leaf;
FAR_DECLARE(node);
struct leaf { long key; };
FAR_PLAIN(leaf);
struct node { long key; FAR(node) next; FAR(leaf) leaves[4]; char name[8]; };
FAR_TYPE(node, next, leaves);
void take(FAR(node) n, FAR(leaf) l);
FAR(node) first(void);
""", "FAR(node) use{n}(FAR(node) n, FAR(node) m, FAR(leaf) l, node *p)",
    "    FAR_SCOPED;\n    (void)n; (void)m; (void)l; (void)p;\n", "    return n;", [
    ("p->key = FAR_R(n)->key;", "p->key = n->key;"),
    ("p->key = FAR_W(n)->key;", "p->key = (*n).key;"),
    ("FAR_W(n)->next = m;", "FAR_W(n)->next = l;"),
    ("FAR(leaf) k = l; (void)k;", "FAR(leaf) k = n; (void)k;"),
    ("n = m;", "n = p;"),
    ("FAR_AUTO(leaf) k = l;", "FAR_AUTO(leaf) k = n;"),
    ("p = FAR_W(n);", "p = n;"),
    ("take(n, l);", "take(l, l);"),
    ("take(n, l);", "take(p, l);"),
    ("return m;", "return l;"),
    ("if (FAR_IS_SAME(n, m)) return m;", "if (n == m) return m;"),
    ("if (FAR_IS_SAME(n, m)) return m;", "if (FAR_IS_SAME(n, l)) return m;"),
    ("const FAR(node) k = m; if (FAR_IS_SAME(n, k)) return m;", "const FAR(leaf) k = l; if (FAR_IS_SAME(n, k)) return m;"),
    ("if (!FAR_IS_NULL(n)) return m;", "if (n) return m;"),
    ("FAR_W(n)->key = 1;", "FAR_R(n)->key = 1;"),
    ("FAR_W_NT(n)->key = 1;", "FAR_R_NT(n)->key = 1;"),
    ("FAR_W(n)->name[1] = 1;", "FAR_R(n)->name[1] = 1;"),
    ("*FAR_W(l) = *FAR_R(l);", "*FAR_R(l) = *FAR_R(l);"),
    ("(void)FAR_NEW(n, node);", "(void)FAR_NEW(n, leaf);"),
    ("(void)FAR_NEW_N(l, leaf, 3);", "(void)FAR_NEW_N(l, node, 3);"),
    ("(void)FAR_NEW(n, node);", "(void)FAR_NEW(p, node);"),
    ("(void)FAR_NEW(l, leaf);", "(void)FAR_NEW(l, short);"),
    ("FAR(int) k = {NULL}; (void)k;", "FAR(short) k = {NULL}; (void)k;"),
    ("FAR_FREE(n);", "FAR_FREE(p);"),
    ("FAR_PREFETCH(first()); if (FAR_FETCH(first()) < 0) FAR_FREE(first());", "FAR_PREFETCH(first);"),
    ("FAR_AUTO(node, a); n = FAR_RELEASE(a);", "FAR_AUTO(leaf, a); n = FAR_RELEASE(a);"),
    ("FAR_AUTO(node) a = {NULL}; n = FAR_RELEASE(a);", "FAR_AUTO(leaf) a = {NULL}; n = FAR_RELEASE(a);"),
])

TYPES = Group("""
#include <far/object.h>
typedef struct leaf { long key; } leaf;
FAR_PLAIN(leaf);
#define NODE(T) typedef struct T T; FAR_DECLARE(T); struct T { long key; T *plain; FAR(T) next; \\
    FAR(leaf) leaves[4], table[2][3]; union { long l; void *p; } other; FAR(leaf) *array; }
NODE(a1); NODE(a2); NODE(a3); NODE(a4); NODE(a5); NODE(a6); NODE(a7); NODE(a8);
""", "", "", "", [
    tuple(at_file_scope(text) for text in pair) for pair in (
        ("FAR_TYPE(a1, next, leaves);", "FAR_TYPE(a1, next, trips);"),
        ("typedef struct big { char c[65528]; FAR(leaf) l; } big; FAR_DECLARE(big); FAR_TYPE(big, l);",
         "typedef struct big { char c[65537]; FAR(leaf) l; } big; FAR_DECLARE(big); FAR_TYPE(big, l);"),
        ("FAR_TYPE(a3, next); void f(void); void f(void) { FAR_SCOPED; FAR_SCOPE_CHECKPOINT(); }",
         "FAR_TYPE(a3, next); void f(void); void f(void) { FAR_SCOPE_CHECKPOINT(); }"),
        ("FAR_TYPE(a5, next, leaves, table);", "FAR_TYPE(a5, next, key);"),
        ("FAR_TYPE(a6, table, next);", "FAR_TYPE(a6, plain, next);"),
        ("FAR_TYPE(a7, table);", "FAR_TYPE(a7, other);"),
        ("FAR_TYPE(a8, leaves);", "FAR_TYPE(a8, array);"),
        ("FAR_TYPE(a4, %s);" % ", ".join(["next"] * 16), "FAR_TYPE(a4, %s);" % ", ".join(["next"] * 17)),
    )
])

# Types may bear any name: also one that means something in the headers.
CONTAINERS = Group("""
#include "far/array.h"
#include "far/hash.h"
#include "far/list.h"
#define EVERYTHING(T) typedef struct { int x; } T; FAR_PLAIN(T); FAR_ARRAY_DECLARE(T); FAR_LIST_DECLARE(T)
EVERYTHING(node); EVERYTHING(iter); EVERYTHING(list); EVERYTHING(array); EVERYTHING(hash); EVERYTHING(type); EVERYTHING(of);
EVERYTHING(word); EVERYTHING(words); EVERYTHING(extent); EVERYTHING(x); EVERYTHING(x_1); EVERYTHING(type_x); EVERYTHING(iter_x);
EVERYTHING(of_x); EVERYTHING(iter_of_x); EVERYTHING(type_of_x); EVERYTHING(item_of_x); EVERYTHING(type_of_x_1);
#include <stdbool.h>
#define EVERYTHING_OF(T) FAR_PLAIN(T); FAR_ARRAY_DECLARE(T); FAR_LIST_DECLARE(T);
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
EVERYTHING_OF(bool)
""", "int use{n}(FAR_LIST_ITER(item) it, const item *from, item *to, const other *from_other, other *to_other, size_t n)",
    "    FAR_SCOPED;\n    (void)it, (void)from, (void)to, (void)from_other, (void)to_other, (void)n;\n", "    return 0;", [
    ("FAR_ARRAY(item) c = a; return FAR_AT(c, 1)->x;", "a = b;"),
    ("FAR_ARRAY(item) c = a; return FAR_AT(c, 1)->x;", "a = m;"),
    ("FAR_AT_W(a, 1)->x = 1;", "FAR_AT(a, 1)->x = 1;"),
    ("FAR_AT_W(a, 1)->x = 1;", "FAR_AT_NT(a, 1)->x = 1;"),
    ("FAR_AT_W(a, 1)->x = 1;", "FAR_RUN(a, 1, &n)->x = 1;"),
    ("return FAR_AT(m, 1, 2)->x;", "return FAR_AT(m, 1)->x;"),
    ("return FAR_AT(m, 1, 2)->x;", "return FAR_AT(a, 1, 2)->x;"),
    ("return FAR_AT(m, 1, 2)->x;", "return FAR_AT(m, 1, 2, 3)->x;"),
    ("return FAR_AT(m, 1, 2)->x;", "return (int)FAR_INDEX(m, 1);"),
    ("return FAR_AT(a, 1)->x;", "return FAR_AT(l, 1)->x;"),
    ("return FAR_AT(a, 1)->x;", "return a->x;"),
    ("to = FAR_AT_W(a, 1);", "to_other = FAR_AT_W(a, 1);"),
    ("if (!FAR_ARRAY_NEW(m, item, 1, 2)) return 1;", "if (!FAR_ARRAY_NEW(m, item, 1)) return 1;"),
    ("if (!FAR_ARRAY_NEW(m, item, 1, 2)) return 1;", "if (!FAR_ARRAY_NEW(m, other, 1, 2)) return 1;"),
    ("FAR_ARRAY_FREE(a, item);", "FAR_ARRAY_FREE(a, other);"),
    ("return FAR_ARRAY_READ(a, 1, 2, to);", "return FAR_ARRAY_READ(a, 1, 2, from);"),
    ("return FAR_ARRAY_READ(a, 1, 2, to);", "return FAR_ARRAY_READ(a, 1, 2, to_other);"),
    ("return FAR_ARRAY_WRITE(a, 1, 2, from);", "return FAR_ARRAY_WRITE(a, 1, 2, from_other);"),
    ("FAR_ARRAY_PREFETCH(a, 1, 2, 3);", "FAR_ARRAY_PREFETCH(l, 1, 2, 3);"),
    ("FAR_LIST_INIT(l, item);", "FAR_LIST_INIT(l, other);"),
    ("FAR_LIST_INIT(l, item);", "l = k;"),
    ("return FAR_LIST_PUSH_BACK(l, *from);", "return FAR_LIST_PUSH_BACK(l, *from_other);"),
    ("return FAR_LIST_POP_BACK(l, to);", "return FAR_LIST_POP_BACK(l, to_other);"),
    ("it = FAR_LIST_BEGIN(l);", "it = FAR_LIST_BEGIN(k);"),
    ("FAR_LIST_ITEM_W(it)->x = 1;", "FAR_LIST_ITEM(it)->x = 1;"),
    ("FAR_LIST_ITEM_W(it)->x = 1;", "FAR_LIST_FRONT(l)->x = 1;"),
    ("const FAR_LIST(item) *c = &l; it = FAR_LIST_BEGIN(*c); it = FAR_LIST_LAST(*c); it = FAR_LIST_END(*c); "
     "return FAR_LIST_FRONT(*c)->x + FAR_LIST_BACK(*c)->x + !FAR_LIST_COUNT(*c);",
     "const FAR_LIST(item) *c = &l; return FAR_LIST_FRONT_W(*c)->x;"),
    ("return FAR_LIST_FRONT_W(l)->x;", "const FAR_LIST(item) *c = &l; return FAR_LIST_BACK_W(*c)->x;"),
    ("return FAR_LIST_SPLIT(it, l) + FAR_LIST_SPLICE(it, l) + FAR_LIST_MERGE(l, l);", "return FAR_LIST_SPLIT(it, k);"),
    ("return FAR_LIST_SPLICE(it, l);", "return FAR_LIST_SPLICE(it, k);"),
    ("return FAR_LIST_MERGE(l, l);", "return FAR_LIST_MERGE(l, k);"),
    ("FAR_ARRAY(bool) s; FAR_LIST(bool) t; FAR_LIST_ITER(bool) u; FAR(bool) f; FAR_AUTO(bool, g); FAR_LIST_INIT(t, bool); "
     "u = FAR_LIST_BEGIN(t); return FAR_NEW(f, bool) && FAR_NEW(g, bool) && FAR_ARRAY_NEW(s, bool, 3) && *FAR_R(f) && *FAR_AT(s, 1) "
     "&& *FAR_LIST_ITEM(u) && (FAR_ARRAY_FREE(s, bool), 1);", "FAR(bool) f; return FAR_NEW(f, int);"),
    ("FAR_EACH_W(p, l) p->x = 1;", "FAR_EACH(p, l) p->x = 1;"),
    ("FAR_EACH_W(p, l) p->x = 1;", "FAR_EACH_REVERSE_NT(p, l) p->x = 1;"),
    (at_file_scope("FAR_ARRAY_DECLARE(fits); FAR_LIST_DECLARE(fits);"), at_file_scope("FAR_ARRAY_DECLARE(huge);")),
    (at_file_scope(""), at_file_scope("FAR_LIST_DECLARE(huge);")),
    (at_file_scope(""), at_file_scope("FAR_ARRAY_DECLARE_CHUNKED(fits, 65537);")),
])

# Of C++ alone: what is not just bytes.
NOT_BYTES = Group("""
#include <atomic>
#include <utility>
#include "far/array.h"
#include "far/list.h"
struct bytes { int x; };
struct dies { int x; ~dies() {} };
struct acts { int x; virtual int act() { return x; } };
struct base { int x; };
struct shares : virtual base { int y; };
struct copies { int x; copies(const copies &o) : x(o.x + 1) {} };
struct derived : base { FAR(int) h; derived() : h() { x = 7; } };
typedef std::pair<int, long> two;
typedef std::atomic<int> one;
FAR_PLAIN(bytes);
FAR_PLAIN(dies);
FAR_PLAIN(acts);
FAR_PLAIN(shares);
FAR_PLAIN(copies);
FAR_PLAIN(derived);
FAR_PLAIN(two);
FAR_PLAIN(one);
""", "void use{n}(FAR(bytes) b, FAR(dies) d)", "    (void)b; (void)d;\n", "", [
    ("FAR(derived) h; (void)FAR_NEW(h, derived);", "FAR(acts) h; (void)FAR_NEW(h, acts);"),
    ("FAR(two) h; (void)FAR_NEW(h, two);", "FAR(shares) h; (void)FAR_NEW(h, shares);"),
    ("FAR(one) h; (void)FAR_NEW(h, one);", "FAR(copies) h; (void)FAR_NEW(h, copies);"),
    (at_file_scope("FAR_LIST_DECLARE(two);"), at_file_scope("FAR_LIST_DECLARE(copies);")),
    (at_file_scope("FAR_ARRAY_DECLARE(one);"), at_file_scope("FAR_ARRAY_DECLARE(acts);")),
    ("(void)FAR_NEW(b, bytes);", "(void)FAR_NEW(d, dies);"),
    ("(void)FAR_NEW_N(b, bytes, 2);", "(void)FAR_NEW_N(d, dies, 2);"),
    (at_file_scope("FAR_LIST_DECLARE(bytes);"), at_file_scope("FAR_LIST_DECLARE(dies);")),
    (at_file_scope("FAR_ARRAY_DECLARE(bytes);"), at_file_scope("FAR_ARRAY_DECLARE(dies);")),
])


OPTIMIZED = """
#include <far/hash.h>
int main(void)
{
    struct far_hash *h = far_hash_new(NULL);
    int id = 5;
    char name[64];

    if (!h || far_hash_put(h, &id, sizeof(id), "Ada", 3, 0) < 0)
        return 1;
    far_hash_remove(h, &id, sizeof(id), 0);
    return (int)far_hash_get(h, &id, sizeof(id), name, sizeof(name), 0);
}
"""


STRICT_C = ["-std=c11", "-pedantic-errors", "-Werror=implicit-function-declaration"]
STRICT_CXX = ["-std=c++17", "-Wold-style-cast"]


def compile_program(compiler, include, program, *flags, what="-fsyntax-only"):
    language = ["-x", "c++", "-std=gnu++17"] if "++" in compiler else ["-x", "c", "-std=gnu11"]
    limit = "-ferror-limit=0" if "clang" in compiler else "-fmax-errors=0"
    return subprocess.run([compiler, *language, what, limit, *flags, "-I", include, "-"], input=program,
                          capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"})


def check(compiler, include, group):
    everything = range(len(group.cases))
    wrong = []
    for more in ([], STRICT_CXX if "++" in compiler else STRICT_C):
        right = compile_program(compiler, include, group.program(0, everything), "-Wall", "-Wextra", "-Wshadow", "-Werror", *more)
        if right.returncode:
            wrong.append("what is right does not compile %s:\n%s" % (more, right.stderr))
    named = set(map(int, re.findall(r"\bcase(\d+);", compile_program(compiler, include, group.program(1, everything), "-Werror").stderr)))
    for n in everything:
        if n in named:
            continue
        alone = compile_program(compiler, include, group.program(1, [n]), "-Werror")
        if alone.returncode == 0:
            wrong.append("compiles, and should not: %s" % (group.cases[n][1],))
        elif "error" not in alone.stderr:
            wrong.append("no error of the compiler's for %s:\n%s" % (group.cases[n][1], alone.stderr))
    return wrong


def check_optimized(compiler, include):
    wrong = []
    for flags in ("-O1", "-O3"):
        done = compile_program(compiler, include, OPTIMIZED, "-Wall", "-Werror", "-o", "/dev/null", flags, what="-S")
        if done.returncode:
            wrong.append("%s: what is right does not compile:\n%s" % (flags, done.stderr))
    return wrong


def main():
    include, compilers = sys.argv[1], sys.argv[2:]
    tried, failed = 0, False
    for compiler in compilers:
        for group in (HANDLES, TYPES, CONTAINERS) + ((NOT_BYTES,) if "++" in compiler else ()):
            tried += len(group.cases)
            for sentence in check(compiler, include, group):
                print("%s: %s" % (compiler, sentence))
                failed = True
        if "clang" not in compiler: # which warns of nothing that it finds by optimizing
            for sentence in check_optimized(compiler, include):
                print("%s: %s" % (compiler, sentence))
                failed = True
    print("%d cases tried" % tried)
    sys.exit(failed or tried < 60)


main()
