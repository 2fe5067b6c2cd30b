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

typedef svfloat32_t f32_vec;

SHMRT_INLINE size_t f32_lanes(void)
{
    return svcntw();
}

/* Lanes of elements @i on, of those before @count. */
SHMRT_INLINE svbool_t f32_until(size_t i, size_t count)
{
    return svwhilelt_b32_u64(i, count);
}

SHMRT_INLINE f32_vec f32_combine(enum shmrt_op op, f32_vec x, f32_vec y)
{
    switch (op) {
    case SHMRT_MIN:
        return svmin_f32_x(svptrue_b32(), x, y);
    case SHMRT_MAX:
        return svmax_f32_x(svptrue_b32(), x, y);
    case SHMRT_PROD:
        return svmul_f32_x(svptrue_b32(), x, y);
    default:
        return svadd_f32_x(svptrue_b32(), x, y);
    }
}

SHMRT_INLINE f32_vec f32_divide(f32_vec x, int ranks)
{
    if (shmrt_is_power_of_two(ranks))
        return svmul_n_f32_x(svptrue_b32(), x, 1.0f / (float)ranks);
    return svdiv_n_f32_x(svptrue_b32(), x, (float)ranks);
}

SHMRT_INLINE f32_vec f32_canonical(f32_vec x)
{
    f32_vec nan = svreinterpret_f32_u32(svdup_n_u32(0x7fc00000));
    return svsel_f32(svcmpuo_f32(svptrue_b32(), x, x), nan, x);
}

SHMRT_INLINE int f32_any_nan(f32_vec a, f32_vec b, f32_vec c, f32_vec d)
{
    svbool_t all = svptrue_b32();
    return svptest_any(all, svorr_b_z(all, svcmpuo_f32(all, a, b), svcmpuo_f32(all, c, d)));
}

/* NaNs are rare: one branch is taken for four registers. */
SHMRT_INLINE void f32_finish(enum shmrt_op op, f32_vec *a, f32_vec *b, f32_vec *c, f32_vec *d,
                             int ranks)
{
    if (op == SHMRT_AVG) {
        *a = f32_divide(*a, ranks);
        *b = f32_divide(*b, ranks);
        *c = f32_divide(*c, ranks);
        *d = f32_divide(*d, ranks);
    }
    if (__builtin_expect(f32_any_nan(*a, *b, *c, *d), 0)) {
        *a = f32_canonical(*a);
        *b = f32_canonical(*b);
        *c = f32_canonical(*c);
        *d = f32_canonical(*d);
    }
}

SHMRT_INLINE f32_vec f32_load(svbool_t lanes, const void *in, size_t i, int k)
{
    return svld1_vnum_f32(lanes, (const float *)in + i, k);
}

SHMRT_INLINE void f32_store(svbool_t in_a, svbool_t in_b, void *out, size_t i, f32_vec a, f32_vec b)
{
    svst1_vnum_f32(in_a, (float *)out + i, 0, a);
    svst1_vnum_f32(in_b, (float *)out + i, 1, b);
}

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
