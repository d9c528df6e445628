/* hash_values.h - values of hash tables that show whose they are. */
#ifndef FAR_TESTS_HASH_VALUES_H
#define FAR_TESTS_HASH_VALUES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/bits.h"

/* What belongs to a key: its number and that many bytes that follow from number and salt. */
static inline void make_value(uint64_t number, uint64_t salt, unsigned char *to, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t x = far_mix64(number * 977 + salt * 131 + i);

        memcpy(to + i, &x, bytes - i < 8 ? bytes - i : 8);
    }
}

static inline bool is_value(uint64_t number, uint64_t salt, const unsigned char *value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t x = far_mix64(number * 977 + salt * 131 + i);

        if (memcmp(value + i, &x, bytes - i < 8 ? bytes - i : 8))
            return false;
    }
    return true;
}

#endif
