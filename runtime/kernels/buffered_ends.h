/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buffered_ends.h - the ends of vectors, for instruction sets whose masked moves know no bytes, or
 * that have none: they go through a buffer of a whole register (L1)
 */
#ifndef SHMRT_BUFFERED_ENDS_H
#define SHMRT_BUFFERED_ENDS_H

#include <string.h>

/* raw_load_part and raw_store_part of vector_reduce.h, from raw_load, raw_store and RAW_BYTES. */
#define SHMRT_BUFFERED_RAW                                                                         \
    SHMRT_INLINE raw raw_load_part(const char *at, size_t bytes)                                   \
    {                                                                                              \
        char buffer[RAW_BYTES] = {0};                                                              \
        memcpy(buffer, at, bytes);                                                                 \
        return raw_load(buffer);                                                                   \
    }                                                                                              \
    SHMRT_INLINE void raw_store_part(char *at, raw x, size_t bytes)                                \
    {                                                                                              \
        char buffer[RAW_BYTES];                                                                    \
        raw_store(buffer, x);                                                                      \
        memcpy(at, buffer, bytes);                                                                 \
    }

/* TYPE_load_part and TYPE_store_part of norm_rows.h, from TYPE_load, TYPE_store and LANES. */
#define SHMRT_BUFFERED_NORM(type, bytes)                                                           \
    SHMRT_INLINE f32_vec type##_load_part(const char *at, size_t n)                                \
    {                                                                                              \
        char buffer[LANES * (bytes)] = {0};                                                        \
        memcpy(buffer, at, n *(bytes));                                                            \
        return type##_load(buffer);                                                                \
    }                                                                                              \
    SHMRT_INLINE void type##_store_part(char *at, f32_vec x, size_t n)                             \
    {                                                                                              \
        char buffer[LANES * (bytes)];                                                              \
        type##_store(buffer, x);                                                                   \
        memcpy(at, buffer, n *(bytes));                                                            \
    }

#endif
