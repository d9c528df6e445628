// C++'s operators over the preloaded malloc: every form, failure with and without a handler, and the containers. Built
// three times: plainly; with replaced operators (CXX_REPLACED), which must stay the program's for every form; and with
// libjemalloc.so, which brings operators of its own.
#include <cassert>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cstdint>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "far/far.h"

#define CHECK(cond)                                                                                          \
    do {                                                                                                     \
        if (!(cond)) {                                                                                       \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                                  \
            std::exit(1);                                                                                    \
        }                                                                                                    \
    } while (0)

template <typename T> static T opaque(T v)
{
    __asm__ __volatile__("" : "+r"(v));
    return v;
}

#ifdef CXX_REPLACED
// Blocks with a header: freeing one by another way than ours would crash.
static int live;
void *operator new(std::size_t bytes)
{
    char *p = static_cast<char *>(std::malloc(bytes + 64));

    if (!p)
        throw std::bad_alloc();
    std::memcpy(p, "replaced", 8);
    live++;
    return p + 64;
}
void operator delete(void *p) noexcept
{
    if (p) {
        CHECK(!std::memcmp(static_cast<char *>(p) - 64, "replaced", 8));
        live--;
        std::free(static_cast<char *>(p) - 64);
    }
}
#endif

struct alignas(256) wide {
    char bytes[512];
};

struct with_destructor {
    int n = 7;
    ~with_destructor() { n = 0; }
};

static void forms()
{
    int *one = opaque(new int(5));
    int *many = opaque(new int[100]);
    wide *w = opaque(new wide), *ws = opaque(new wide[3]);
    with_destructor *ds = opaque(new with_destructor[10]);
    char *quiet = opaque(new (std::nothrow) char[1000]);

    CHECK(*one == 5 && reinterpret_cast<std::uintptr_t>(w) % 256 == 0 && reinterpret_cast<std::uintptr_t>(ws) % 256 == 0);
    delete one;
    delete[] many;
    delete w;
    delete[] ws;
    delete[] ds;
    delete[] quiet;
    ::operator delete(opaque(::operator new(77)));
    ::operator delete(opaque(::operator new(77)), static_cast<std::size_t>(77));
    ::operator delete[](opaque(::operator new[](77)), static_cast<std::size_t>(77));
    ::operator delete(opaque(::operator new(77, std::align_val_t(64))), std::align_val_t(64));
    ::operator delete(opaque(::operator new(77, std::align_val_t(64))), 77, std::align_val_t(64));
    ::operator delete[](opaque(::operator new[](77, std::align_val_t(64))), 77, std::align_val_t(64));
    ::operator delete(opaque(::operator new(77, std::nothrow)), std::nothrow);
}

static int handled;
[[maybe_unused]] static void give_up()
{
    if (++handled == 3)
        std::set_new_handler(nullptr);
}

static void failures()
{
    std::size_t absurd = opaque(SIZE_MAX / 4);
    bool thrown = false;

    try {
        opaque(::operator new(absurd));
    } catch (const std::bad_alloc &) {
        thrown = true;
    }
    CHECK(thrown);
    CHECK(!opaque(::operator new(absurd, std::nothrow)));
    CHECK(!opaque(::operator new[](absurd, std::nothrow)));
#ifndef CXX_REPLACED
    thrown = false;
    std::set_new_handler(give_up);
    try {
        opaque(::operator new(absurd));
    } catch (const std::bad_alloc &) {
        thrown = true;
    }
    CHECK(thrown && handled == 3);
#endif
}

static void containers()
{
    std::map<std::string, std::vector<int>> m;

    for (int i = 0; i < 3000; i++)
        m["key number " + std::to_string(i % 500)].push_back(i);
    for (auto &kv : m)
        CHECK(kv.second.size() == 6);
    auto shared = std::make_shared<std::string>(5000, 'x');
    std::thread([shared] { CHECK(shared->size() == 5000); }).join();
}

static void regions()
{
    void *inside = nullptr;

    try {
        FAR_REGION("thrown out") {
            inside = std::malloc(100);
            throw 5;
        }
    } catch (int) {
    }
    void *after = std::malloc(100);
    const char *policy = std::getenv("FAR_POLICY");
    bool all = policy && !std::strcmp(policy, "all");

    CHECK(far_contains(inside) == (far_abi_version() > 0));
    CHECK(far_contains(after) == (far_abi_version() > 0 && all));
    std::free(inside);
    std::free(after);
}

int main()
{
    forms();
    failures();
    containers();
    regions();
#ifdef CXX_REPLACED
    CHECK(live >= 0);
#endif
    std::puts("ok");
    return 0;
}
