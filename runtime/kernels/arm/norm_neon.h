/* SPDX-License-Identifier: Apache-2.0 */
/*
 * norm_neon.h - what the norms for NEON share: 4 elements at a time, ends through a buffer (L1)
 *
 * SVE has none of its own: the 64 partial sums, whose number the order of summation fixes, fill
 * registers of known length, not ones whose length is known at run time.
 */
#ifndef SHMRT_NORM_NEON_H
#define SHMRT_NORM_NEON_H

#include "../buffered_ends.h"
#include "../norm.h"

#include <arm_neon.h>
#include <string.h>

enum { LANES = 4 };

typedef float32x4_t f32_vec;

SHMRT_INLINE f32_vec splat(float x)
{
    return vdupq_n_f32(x);
}

SHMRT_INLINE f32_vec zero_past(f32_vec x, size_t n)
{
    const uint32_t lane[LANES] = {0, 1, 2, 3};
    uint32x4_t kept = vcgtq_u32(vdupq_n_u32((uint32_t)n), vld1q_u32(lane));
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(x), kept));
}

SHMRT_INLINE void spill(float *to, f32_vec x)
{
    vst1q_f32(to, x);
}

SHMRT_INLINE f32_vec canonical(f32_vec x)
{
    f32_vec nan = vreinterpretq_f32_u32(vdupq_n_u32(0x7fc00000));
    return vbslq_f32(vceqq_f32(x, x), x, nan);
}

SHMRT_INLINE uint16x4_t load_halves(const char *at)
{
    return vreinterpret_u16_u8(vld1_u8((const uint8_t *)at));
}

SHMRT_INLINE void store_halves(char *at, uint16x4_t halves)
{
    vst1_u8((uint8_t *)at, vreinterpret_u8_u16(halves));
}

SHMRT_INLINE f32_vec bf16_widen(uint16x4_t halves)
{
    return vreinterpretq_f32_u32(vshll_n_u16(halves, 16));
}

SHMRT_INLINE f32_vec bf16_load(const char *at)
{
    return bf16_widen(load_halves(at));
}

#endif
