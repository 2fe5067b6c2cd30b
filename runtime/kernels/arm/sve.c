/* SPDX-License-Identifier: Apache-2.0 */
/* sve.c - the rung for SVE: whole registers of any length, ends under a predicate. */
#include "sve.h"

/*
 * To nearest even, both registers at once: the upper 16 bits are kept, and one is added where the
 * lower 16 are more than one half, or one half and the last bit kept is set. Less one where that
 * bit is clear, but not below 0, they then show it in their own top bit.
 */
SHMRT_INLINE void bf16_store(svbool_t in_a, svbool_t in_b, void *out, size_t i, f32_vec a,
                             f32_vec b)
{
    svbool_t all = svptrue_b16();
    svuint16_t bits_a = svreinterpret_u16_f32(a), bits_b = svreinterpret_u16_f32(b);
    svuint16_t kept = svuzp2_u16(bits_a, bits_b), lower = svuzp1_u16(bits_a, bits_b);
    svuint16_t even = svbic_u16_x(all, svdup_n_u16(1), kept);
    svuint16_t up = svlsr_n_u16_x(all, svqsub_u16(lower, even), 15);
    halves_store(in_a, in_b, out, i, svadd_u16_x(all, kept, up));
}

SHMRT_INLINE void fp16_store(svbool_t in_a, svbool_t in_b, void *out, size_t i, f32_vec a,
                             f32_vec b)
{
    svuint16_t half_a = svreinterpret_u16_f16(svcvt_f16_f32_x(svptrue_b32(), a));
    svuint16_t half_b = svreinterpret_u16_f16(svcvt_f16_f32_x(svptrue_b32(), b));
    halves_store(in_a, in_b, out, i, svuzp1_u16(half_a, half_b));
}

DEFINE_REAL(f64, 64, d, 0x7ff8000000000000)
DEFINE_FINISH(f64, 64, double)
DEFINE_MOVES(f64, double, f64)

/* fp16 as it is, without the way through fp32; no averages. */
DEFINE_REAL(f16, 16, h, 0x7e00)
DEFINE_MOVES(f16, float16_t, f16)

SHMRT_INLINE void f16_finish(enum shmrt_op op, f16_vec *a, f16_vec *b, f16_vec *c, f16_vec *d,
                             int ranks)
{
    (void)op, (void)ranks;
    f16_canonical_four(a, b, c, d);
}

/* Sums and products of these instructions wrap. */
#define DEFINE_INTEGER(type, element, suffix, bits)                                                \
    typedef sv##element type##_vec;                                                                \
    SHMRT_INLINE size_t type##_lanes(void)                                                         \
    {                                                                                              \
        return svcntb() / sizeof(element);                                                         \
    }                                                                                              \
    SHMRT_INLINE svbool_t type##_until(size_t i, size_t count)                                     \
    {                                                                                              \
        return svwhilelt_b##bits##_u64(i, count);                                                  \
    }                                                                                              \
    SHMRT_INLINE type##_vec type##_combine(enum shmrt_op op, type##_vec x, type##_vec y)           \
    {                                                                                              \
        switch (op) {                                                                              \
        case SHMRT_MIN:                                                                            \
            return svmin_##suffix##_x(svptrue_b##bits(), x, y);                                    \
        case SHMRT_MAX:                                                                            \
            return svmax_##suffix##_x(svptrue_b##bits(), x, y);                                    \
        case SHMRT_PROD:                                                                           \
            return svmul_##suffix##_x(svptrue_b##bits(), x, y);                                    \
        default:                                                                                   \
            return svadd_##suffix##_x(svptrue_b##bits(), x, y);                                    \
        }                                                                                          \
    }                                                                                              \
    SHMRT_INLINE void type##_finish(enum shmrt_op op, type##_vec *a, type##_vec *b, type##_vec *c, \
                                    type##_vec *d, int ranks)                                      \
    {                                                                                              \
        (void)op, (void)a, (void)b, (void)c, (void)d, (void)ranks;                                 \
    }                                                                                              \
    DEFINE_MOVES(type, element, suffix)

DEFINE_INTEGER(i8, int8_t, s8, 8)
DEFINE_INTEGER(u8, uint8_t, u8, 8)
DEFINE_INTEGER(i16, int16_t, s16, 16)
DEFINE_INTEGER(i32, int32_t, s32, 32)
DEFINE_INTEGER(i64, int64_t, s64, 64)

#define NAME f32_reduce
#define ACC  f32
#define FROM f32
#define TO   f32
#include "sve_reduce.h"
SHMRT_FLOAT_ENTRIES(f32)

#define NAME f64_reduce
#define ACC  f64
#define FROM f64
#define TO   f64
#include "sve_reduce.h"
SHMRT_FLOAT_ENTRIES(f64)

#define NAME bf16_reduce
#define ACC  f32
#define FROM bf16
#define TO   bf16
#include "sve_reduce.h"

#define NAME bf16_partial
#define ACC  f32
#define FROM bf16
#define TO   f32
#include "sve_reduce.h"

#define NAME bf16_total
#define ACC  f32
#define FROM f32
#define TO   bf16
#include "sve_reduce.h"
SHMRT_FLOAT_ENTRIES(bf16)
SHMRT_WIDE_ENTRIES(bf16)

#define NAME f16_reduce
#define ACC  f16
#define FROM f16
#define TO   f16
#include "sve_reduce.h"

#define NAME fp16_reduce_wide
#define ACC  f32
#define FROM fp16
#define TO   fp16
#include "sve_reduce.h"

/* Where no step but one rounds, fp16's own arithmetic has the same bits: as in neonfp16.c. */
SHMRT_INLINE void fp16_reduce(enum shmrt_op op, void *out, const void *const *in, int n, int ranks,
                              size_t count)
{
    if (op == SHMRT_MIN || op == SHMRT_MAX || (op != SHMRT_AVG && n <= 2))
        f16_reduce(op, out, in, n, ranks, count);
    else
        fp16_reduce_wide(op, out, in, n, ranks, count);
}

#define NAME fp16_partial
#define ACC  f32
#define FROM fp16
#define TO   f32
#include "sve_reduce.h"

#define NAME fp16_total
#define ACC  f32
#define FROM f32
#define TO   fp16
#include "sve_reduce.h"
SHMRT_FLOAT_ENTRIES(fp16)
SHMRT_WIDE_ENTRIES(fp16)

#define NAME i8_reduce
#define ACC  i8
#define FROM i8
#define TO   i8
#include "sve_reduce.h"
SHMRT_INTEGER_ENTRIES(i8)

#define NAME u8_reduce
#define ACC  u8
#define FROM u8
#define TO   u8
#include "sve_reduce.h"
SHMRT_INTEGER_ENTRIES(u8)

#define NAME i16_reduce
#define ACC  i16
#define FROM i16
#define TO   i16
#include "sve_reduce.h"
SHMRT_INTEGER_ENTRIES(i16)

#define NAME i32_reduce
#define ACC  i32
#define FROM i32
#define TO   i32
#include "sve_reduce.h"
SHMRT_INTEGER_ENTRIES(i32)

#define NAME i64_reduce
#define ACC  i64
#define FROM i64
#define TO   i64
#include "sve_reduce.h"
SHMRT_INTEGER_ENTRIES(i64)

const struct shmrt_kernels shmrt_kernels_sve = {.name = "sve", SHMRT_ALL_ROWS};
