/* types.c - see types.h */
#include "core/object/types.h"

#include <errno.h>
#include <string.h>

#include "base/lock.h"
#include "base/os.h"
#include "core/local/budget.h"
#include "core/object/word.h"

#define FIELDS_MOST (64u << 10)
#define NAME_MOST   40u

static struct {
    struct far_mutex lock;
    struct {
        uint32_t first, count, bytes;
        char name[NAME_MOST];   /* what fits, with its zero */
    } types[FAR_TYPES_MOST];    /* [1, n]; written under the lock before the number is told */
    struct far_field *fields;   /* room for FIELDS_MOST; a descriptor may be unloaded with its library */
    uint32_t n, n_fields;
} ty;

static bool has_fields_of(uint32_t i, const struct far_type *t)
{
    return ty.types[i].count == t->n_fields && ty.types[i].bytes == t->bytes &&
           !memcmp(&ty.fields[ty.types[i].first], t->fields, t->n_fields * sizeof(*t->fields));
}

static bool has_name_of(uint32_t i, const struct far_type *t)
{
    return !strncmp(ty.types[i].name, t->name, NAME_MOST - 1);
}

/* Where its fields are from here on; -ENOMEM. */
static int add_fields_locked(const struct far_type *t)
{
    uint32_t first = ty.n_fields;

    if (!ty.fields)
        ty.fields = far_os_map(FIELDS_MOST * sizeof(*ty.fields));
    if (!ty.fields || t->n_fields > FIELDS_MOST - first)
        return -ENOMEM;
    memcpy(&ty.fields[first], t->fields, t->n_fields * sizeof(*t->fields));
    ty.n_fields += t->n_fields;
    return (int)first;
}

static int add_locked(const struct far_type *t)
{
    uint32_t alike = 0; /* but for the name */
    int first;

    for (uint32_t i = 1; i <= ty.n; i++) {
        if (!has_fields_of(i, t))
            continue;
        if (has_name_of(i, t))
            return (int)i;
        alike = i;
    }
    if (ty.n + 1 == FAR_TYPES_MOST)
        return alike ? (int)alike : -ENOMEM;
    first = alike ? (int)ty.types[alike].first : add_fields_locked(t);
    if (first < 0)
        return first;
    ty.n++;
    ty.types[ty.n].first = (uint32_t)first;
    ty.types[ty.n].count = t->n_fields;
    ty.types[ty.n].bytes = t->bytes;
    memcpy(ty.types[ty.n].name, t->name, strnlen(t->name, NAME_MOST - 1));
    return (int)ty.n;
}

int far_types_number(struct far_type *t)
{
    uint32_t known = far_atomic_load_acquire(&t->id);
    int n;

    if (!t->n_fields)
        return 0;
    if (known)
        return (int)known;
    far_mutex_lock(&ty.lock);
    n = add_locked(t);
    far_mutex_unlock(&ty.lock);
    if (n > 0)
        far_atomic_store_release(&t->id, (uint32_t)n);
    return n;
}

uint32_t far_types_fields(uint32_t number, const struct far_field **fields, uint32_t *bytes)
{
    if (!number)
        return 0;
    *bytes = ty.types[number].bytes;
    *fields = &ty.fields[ty.types[number].first];
    return ty.types[number].count;
}

const char *far_types_name(uint32_t number)
{
    return ty.types[number].name;
}

void far_types_lock(void)
{
    far_mutex_lock(&ty.lock);
}

void far_types_unlock(void)
{
    far_mutex_unlock(&ty.lock);
}
