/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sve.h - what the rungs for SVE share: accumulators of fp32, and bf16 and fp16 in memory (L1)
 *
 * Nothing here knows the length of a register: 128 to 2048 bits give the same bits. With 128,
 * NEON's length, it still saves the ends' detour through a buffer and most of the search for NaNs.
 * Halves are loaded one to a lane of 32 bits, so that accumulators have the order of the elements
 * and one predicate serves a lane from its load to its store. FMIN and FMAX are the reference's min
 * and max. Only emulators ran these files: what they choose rests on counts of instructions, and on
 * what the Neoverse V1's optimization guide says of them.
 */
#ifndef SHMRT_SVE_H
#define SHMRT_SVE_H

#include "../rungs.h"

#include <arm_sve.h>

/* Everything that floating-point types have in common. */
#define DEFINE_REAL(type, bits, width, nan_bits)                                                   \
    typedef svfloat##bits##_t type##_vec;                                                          \
    SHMRT_INLINE size_t type##_lanes(void)                                                         \
    {                                                                                              \
        return svcnt##width();                                                                     \
    }                                                                                              \
    SHMRT_INLINE svbool_t type##_until(size_t i, size_t count)                                     \
    {                                                                                              \
        return svwhilelt_b##bits##_u64(i, count);                                                  \
    }                                                                                              \
    SHMRT_INLINE type##_vec type##_combine(enum shmrt_op op, type##_vec x, type##_vec y)           \
    {                                                                                              \
        switch (op) {                                                                              \
        case SHMRT_MIN:                                                                            \
            return svmin_f##bits##_x(svptrue_b##bits(), x, y);                                     \
        case SHMRT_MAX:                                                                            \
            return svmax_f##bits##_x(svptrue_b##bits(), x, y);                                     \
        case SHMRT_PROD:                                                                           \
            return svmul_f##bits##_x(svptrue_b##bits(), x, y);                                     \
        default:                                                                                   \
            return svadd_f##bits##_x(svptrue_b##bits(), x, y);                                     \
        }                                                                                          \
    }                                                                                              \
    SHMRT_INLINE type##_vec type##_canonical(type##_vec x)                                         \
    {                                                                                              \
        type##_vec nan = svreinterpret_f##bits##_u##bits(svdup_n_u##bits(nan_bits));               \
        return svsel_f##bits(svcmpuo_f##bits(svptrue_b##bits(), x, x), nan, x);                    \
    }                                                                                              \
    SHMRT_INLINE int type##_any_nan(type##_vec a, type##_vec b, type##_vec c, type##_vec d)        \
    {                                                                                              \
        svbool_t all = svptrue_b##bits();                                                          \
        return svptest_any(                                                                        \
            all, svorr_b_z(all, svcmpuo_f##bits(all, a, b), svcmpuo_f##bits(all, c, d)));          \
    }                                                                                              \
    /* NaNs are rare: one branch is taken for four registers. */                                   \
    SHMRT_INLINE void type##_canonical_four(type##_vec *a, type##_vec *b, type##_vec *c,           \
                                            type##_vec *d)                                         \
    {                                                                                              \
        if (__builtin_expect(type##_any_nan(*a, *b, *c, *d), 0)) {                                 \
            *a = type##_canonical(*a);                                                             \
            *b = type##_canonical(*b);                                                             \
            *c = type##_canonical(*c);                                                             \
            *d = type##_canonical(*d);                                                             \
        }                                                                                          \
    }

#define DEFINE_FINISH(type, bits, real)                                                            \
    SHMRT_INLINE type##_vec type##_divide(type##_vec x, int ranks)                                 \
    {                                                                                              \
        if (shmrt_is_power_of_two(ranks))                                                          \
            return svmul_n_f##bits##_x(svptrue_b##bits(), x, (real)1 / (real)ranks);               \
        return svdiv_n_f##bits##_x(svptrue_b##bits(), x, (real)ranks);                             \
    }                                                                                              \
    SHMRT_INLINE void type##_finish(enum shmrt_op op, type##_vec *a, type##_vec *b, type##_vec *c, \
                                    type##_vec *d, int ranks)                                      \
    {                                                                                              \
        if (op == SHMRT_AVG) {                                                                     \
            *a = type##_divide(*a, ranks);                                                         \
            *b = type##_divide(*b, ranks);                                                         \
            *c = type##_divide(*c, ranks);                                                         \
            *d = type##_divide(*d, ranks);                                                         \
        }                                                                                          \
        type##_canonical_four(a, b, c, d);                                                         \
    }

DEFINE_REAL(f32, 32, w, 0x7fc00000)
DEFINE_FINISH(f32, 32, float)

#define DEFINE_MOVES(type, element, suffix)                                                        \
    SHMRT_INLINE type##_vec type##_load(svbool_t lanes, const void *in, size_t i, int k)           \
    {                                                                                              \
        return svld1_vnum_##suffix(lanes, (const element *)in + i, k);                             \
    }                                                                                              \
    SHMRT_INLINE void type##_store(svbool_t in_a, svbool_t in_b, void *out, size_t i,              \
                                   type##_vec a, type##_vec b)                                     \
    {                                                                                              \
        svst1_vnum_##suffix(in_a, (element *)out + i, 0, a);                                       \
        svst1_vnum_##suffix(in_b, (element *)out + i, 1, b);                                       \
    }

DEFINE_MOVES(f32, float, f32)

SHMRT_INLINE f32_vec bf16_load(svbool_t lanes, const void *in, size_t i, int k)
{
    svuint32_t halves = svld1uh_vnum_u32(lanes, (const uint16_t *)in + i, k);
    return svreinterpret_f32_u32(svlsl_n_u32_x(svptrue_b32(), halves, 16));
}

SHMRT_INLINE f32_vec fp16_load(svbool_t lanes, const void *in, size_t i, int k)
{
    svuint32_t halves = svld1uh_vnum_u32(lanes, (const uint16_t *)in + i, k);
    return svcvt_f32_f16_x(svptrue_b32(), svreinterpret_f16_u32(halves));
}

/* The halves of two registers of lanes, in one register. */
SHMRT_INLINE void halves_store(svbool_t in_a, svbool_t in_b, void *out, size_t i, svuint16_t halves)
{
    svst1_u16(svuzp1_b16(in_a, in_b), (uint16_t *)out + i, halves);
}

#endif
