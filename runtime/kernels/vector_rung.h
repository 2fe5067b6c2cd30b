/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vector_rung.h - what vector rungs share beside the loops: the functions of all types (L1)
 *
 * Included once, last, by the file of a rung, which has defined what vector_reduce.h asks for but:
 *   bf16 and fp16  only load, store, pack and unpack, with struct f32_pair, two registers of fp32,
 *                  and what vector_wide.h asks for
 *   integers       nothing: they are made here from the compiler's own vectors
 * Types other than fp16 are moved as raw and then unpacked.
 */
#include <stdint.h>

#include "vector_pair.h"

SHMRT_INLINE f32_vec f32_finish(enum shmrt_op op, f32_vec x, int ranks)
{
    return f32_canonical(op == SHMRT_AVG ? f32_divide(x, ranks) : x);
}

SHMRT_INLINE f64_vec f64_finish(enum shmrt_op op, f64_vec x, int ranks)
{
    return f64_canonical(op == SHMRT_AVG ? f64_divide(x, ranks) : x);
}

/* Unsigned, so that sums and products wrap; compared as what the elements are. */
#define DEFINE_INTEGER(type, arithmetic, comparison)                                               \
    typedef arithmetic type##_vec __attribute__((vector_size(RAW_BYTES)));                         \
    typedef comparison type##_compared __attribute__((vector_size(RAW_BYTES)));                    \
    SHMRT_INLINE type##_vec type##_unpack(raw x)                                                   \
    {                                                                                              \
        return (type##_vec)x;                                                                      \
    }                                                                                              \
    SHMRT_INLINE raw type##_pack(type##_vec x)                                                     \
    {                                                                                              \
        return (raw)x;                                                                             \
    }                                                                                              \
    SHMRT_INLINE type##_vec type##_combine(enum shmrt_op op, type##_vec x, type##_vec y)           \
    {                                                                                              \
        type##_vec less = (type##_vec)((type##_compared)x < (type##_compared)y);                   \
        switch (op) {                                                                              \
        case SHMRT_MIN:                                                                            \
            return (x & less) | (y & ~less);                                                       \
        case SHMRT_MAX:                                                                            \
            return (y & less) | (x & ~less);                                                       \
        case SHMRT_PROD:                                                                           \
            return x * y;                                                                          \
        default:                                                                                   \
            return x + y;                                                                          \
        }                                                                                          \
    }                                                                                              \
    SHMRT_INLINE type##_vec type##_finish(enum shmrt_op op, type##_vec x, int ranks)               \
    {                                                                                              \
        (void)op;                                                                                  \
        (void)ranks;                                                                               \
        return x;                                                                                  \
    }

DEFINE_INTEGER(i8, uint8_t, int8_t)
DEFINE_INTEGER(u8, uint8_t, uint8_t)
DEFINE_INTEGER(i16, uint16_t, int16_t)
DEFINE_INTEGER(i32, uint32_t, int32_t)
DEFINE_INTEGER(i64, uint64_t, int64_t)

#define DEFINE_FINISH_FOUR(type)                                                                   \
    SHMRT_INLINE void type##_finish_four(enum shmrt_op op, type##_vec *a, type##_vec *b,           \
                                         type##_vec *c, type##_vec *d, int ranks)                  \
    {                                                                                              \
        *a = type##_finish(op, *a, ranks);                                                         \
        *b = type##_finish(op, *b, ranks);                                                         \
        *c = type##_finish(op, *c, ranks);                                                         \
        *d = type##_finish(op, *d, ranks);                                                         \
    }

DEFINE_FINISH_FOUR(f32)
DEFINE_FINISH_FOUR(f64)
DEFINE_FINISH_FOUR(i8)
DEFINE_FINISH_FOUR(u8)
DEFINE_FINISH_FOUR(i16)
DEFINE_FINISH_FOUR(i32)
DEFINE_FINISH_FOUR(i64)

#define DEFINE_MOVES(type)                                                                         \
    SHMRT_INLINE type##_vec type##_load(const char *at)                                            \
    {                                                                                              \
        return type##_unpack(raw_load(at));                                                        \
    }                                                                                              \
    SHMRT_INLINE void type##_store(char *at, type##_vec x)                                         \
    {                                                                                              \
        raw_store(at, type##_pack(x));                                                             \
    }

DEFINE_MOVES(f32)
DEFINE_MOVES(f64)
DEFINE_MOVES(bf16)
DEFINE_MOVES(i8)
DEFINE_MOVES(u8)
DEFINE_MOVES(i16)
DEFINE_MOVES(i32)
DEFINE_MOVES(i64)

#define TYPE       f32
#define TYPE_BYTES 4
#include "vector_reduce.h"
SHMRT_FLOAT_ENTRIES(f32)

#define TYPE       f64
#define TYPE_BYTES 8
#include "vector_reduce.h"
SHMRT_FLOAT_ENTRIES(f64)

#define TYPE       bf16
#define TYPE_BYTES 2
#include "vector_reduce.h"
SHMRT_FLOAT_ENTRIES(bf16)

#define TYPE bf16
#include "vector_wide.h"
SHMRT_WIDE_ENTRIES(bf16)

#define TYPE       fp16
#define TYPE_BYTES 2
#include "vector_reduce.h"
SHMRT_FLOAT_ENTRIES(fp16)

#define TYPE fp16
#include "vector_wide.h"
SHMRT_WIDE_ENTRIES(fp16)

#define TYPE       i8
#define TYPE_BYTES 1
#include "vector_reduce.h"
SHMRT_INTEGER_ENTRIES(i8)

#define TYPE       u8
#define TYPE_BYTES 1
#include "vector_reduce.h"
SHMRT_INTEGER_ENTRIES(u8)

#define TYPE       i16
#define TYPE_BYTES 2
#include "vector_reduce.h"
SHMRT_INTEGER_ENTRIES(i16)

#define TYPE       i32
#define TYPE_BYTES 4
#include "vector_reduce.h"
SHMRT_INTEGER_ENTRIES(i32)

#define TYPE       i64
#define TYPE_BYTES 8
#include "vector_reduce.h"
SHMRT_INTEGER_ENTRIES(i64)
