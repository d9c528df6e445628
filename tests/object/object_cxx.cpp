// Far objects and containers from C++: everything that the headers offer, compiled and used.
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

#include "far/ahead.h"
#include "far/array.h"
#include "far/far.h"
#include "far/hash.h"
#include "far/list.h"
#include "far/queue.h"
#include "far/stack.h"

struct point {
    float x, y, z;
};
struct rows;
FAR_PLAIN(point);
FAR_ARRAY_DECLARE(point);
FAR_LIST_DECLARE(point);
FAR_DECLARE(rows);
struct rows {
    FAR(point) point;
    long number;
};
FAR_TYPE(rows, point);
FAR_ARRAY_DECLARE(rows);
FAR_LIST_DECLARE(rows);

#define CHECK(ok) ((ok) ? (void)0 : (std::printf("%s:%d: %s\n", __FILE__, __LINE__, #ok), std::exit(1)))

static void arrays()
{
    FAR_ARRAY(point, 2) a;
    FAR_ARRAY(rows) r;
    point some[3] = {};
    const point *constant = some;
    size_t n = 0;

    CHECK(FAR_ARRAY_NEW(a, point, 100, 200) && FAR_ARRAY_NEW(r, rows, 10));
    CHECK(FAR_ARRAY_SIZE(a) == 20000 && a.extent[1] == 200 && !FAR_ARRAY_IS_NULL(a));
    FAR_SCOPE {
        FAR_AT_W(a, 1, 2)->x = 3;
        FAR_AT_W_NT(a, 1, 2)->y = 4;
        CHECK(FAR_AT(a, 1, 2)->x == 3 && FAR_AT_NT(a, 1, 2)->y == 4);
        CHECK(FAR_RUN(a, FAR_INDEX(a, 1, 2), &n)->x == 3 && FAR_RUN_NT(a, 202, &n)->y == 4);
        FAR_RUN_W(a, 0, &n)->z = 5;
        FAR_RUN_W_NT(a, 1, &n)->z = 6;
        CHECK(FAR_NEW(FAR_AT_W(r, 7)->point, point));
    }
    CHECK(FAR_ARRAY_READ(a, 0, 3, some) == 0 && some[0].z == 5 && FAR_ARRAY_READ_NT(a, 1, 1, some) == 0 && some[0].z == 6);
    CHECK(FAR_ARRAY_WRITE(a, 0, 3, constant) == 0 && FAR_ARRAY_WRITE_NT(a, 0, 3, some) == 0);
    FAR_ARRAY_PREFETCH(a, 0, 10, -1);
    FAR_ARRAY_FREE(a, point);
    FAR_ARRAY_FREE(r, rows);
}

static void lists()
{
    FAR_LIST(point) l, m;
    FAR_LIST(rows) r;
    point out = {};
    int count = 0;

    FAR_LIST_INIT(l, point);
    FAR_LIST_INIT(m, point);
    FAR_LIST_INIT(r, rows);
    for (int i = 0; i < 1000; i++)
        CHECK(FAR_LIST_PUSH_BACK(l, point{float(i), 0, 0}) == 0 && FAR_LIST_PUSH_FRONT(r, rows{}) == 0);
    FAR_EACH_W(p, l)
        p->y = p->x;
    FAR_EACH_REVERSE_NT(p, l)
        CHECK(p->y == 999 - count++);
    auto it = FAR_LIST_BEGIN(l);
    FAR_LIST_NEXT(it);
    FAR_SCOPE {
        CHECK(FAR_LIST_ITEM(it)->x == 1 && FAR_LIST_FRONT(l)->x == 0 && FAR_LIST_BACK(l)->x == 999);
        FAR_LIST_ITEM_W(it)->z = 1;
    }
    CHECK(FAR_LIST_INSERT(it, out) == 0 && FAR_LIST_ERASE(it) == 0 && FAR_LIST_SPLIT(it, m) == 0);
    CHECK(FAR_LIST_COUNT(l) == 2 && FAR_LIST_COUNT(m) == 998);
    it = FAR_LIST_BEGIN(l);
    CHECK(FAR_LIST_SPLICE(it, m) == 0 && FAR_LIST_MERGE(m, l) == 0 && !FAR_LIST_IS_END(it));
    CHECK(FAR_LIST_POP_FRONT(m, &out) == 0 && out.x == 2 && FAR_LIST_POP_BACK(m, &out) == 0 && out.x == 0);
    FAR_LIST_FREE(m);
    FAR_LIST_FREE(r);
}

// An exception leaves the loop's scope.
static void throwing()
{
    FAR_QUEUE(point) q;

    FAR_QUEUE_INIT(q, point);
    CHECK(FAR_QUEUE_PUSH(q, point{1, 2, 3}) == 0);
    try {
        FAR_EACH(p, q)
            throw std::runtime_error("thrown");
    } catch (const std::runtime_error &) {
    }
    CHECK(far_context_.epoch == 0);
    FAR_QUEUE_FREE(q);
}

static void ways()
{
    FAR(point) objects[10], none = {};
    FAR_PACE(pace);

    for (auto &o : objects)
        CHECK(FAR_NEW(o, point));
    for (int i = 0; i < 10; i++) {
        FAR_AHEAD(pace, k, i + k < 10 ? objects[i + k] : none);
        FAR_SCOPE
            CHECK(FAR_R(objects[i])->x == 0);
    }
    for (auto &o : objects)
        FAR_FREE(o);
}

static int visit(const void *key, size_t key_bytes, const void *value, size_t value_bytes, void *arg)
{
    CHECK(key && key_bytes == 3 && value && value_bytes == 2);
    ++*static_cast<int *>(arg);
    return 0;
}

static void tables()
{
    const far_hash_options options = {};
    struct far_hash *h = far_hash_new(&options);
    char value[8], other[8];
    far_hash_query q[2] = {{"one", 3, value, sizeof(value), 0}, {"two", 3, other, sizeof(other), 0}};
    int visited = 0;

    CHECK(h && far_hash_put(h, "one", 3, "1.", 2, 0) == 0 && far_hash_put(h, "one", 3, "1,", 2, FAR_HASH_NT) == 1);
    CHECK(far_hash_get(h, "one", 3, value, sizeof(value), 0) == 2 && value[1] == ',');
    far_hash_get_many(h, q, 2, 0);
    CHECK(q[0].value_bytes == 2 && q[1].value_bytes == -1);
    CHECK(far_hash_each(h, visit, &visited, 0) == 0 && visited == 1 && far_hash_count(h) == 1);
    CHECK(far_hash_remove(h, "one", 3, 0) == 0 && far_hash_count(h) == 0);
    far_hash_free(h);
}

static void objects()
{
    FAR_AUTO(rows) r = {};
    FAR(rows) s;

    FAR_REGION("rows")
        CHECK(FAR_NEW(r, rows));
    FAR_SCOPE {
        FAR_W_NT(r)->number = 1;
        FAR_SCOPE_CHECKPOINT();
        FAR_SCOPE
            CHECK(FAR_R(r)->number + FAR_R_NT(r)->number == 2 && FAR_IS_NULL(FAR_R(r)->point));
    }
    CHECK(FAR_FETCH(r) == 0 && (FAR_FLUSH(r) == 0 || errno == EBUSY) && FAR_PIN(r)->number == 1);
    FAR_UNPIN(r);
    FAR_PREFETCH(r);
    FAR_HOT(r);
    FAR_COLD(r);
    CHECK(FAR_IS_HERE(r) >= 0);
    s = FAR_RELEASE(r);
    CHECK(FAR_IS_NULL(r) && !FAR_IS_SAME(r, s));
    FAR_FREE(s);
    FAR_SET_NULL(s);
}

int main()
{
    objects();
    tables();
    arrays();
    lists();
    ways();
    throwing();
    return 0;
}
