/* SPDX-License-Identifier: Apache-2.0 */
/*
 * halves.h - bf16 and fp16 to fp32 and back, in integer arithmetic (L1)
 *
 * Widening is exact and keeps a NaN's bits; rounding is to nearest, ties to even, in one step, and
 * makes every NaN the canonical one. Neither reads the floating-point environment.
 */
#ifndef SHMRT_HALVES_H
#define SHMRT_HALVES_H

#include <stdint.h>
#include <string.h>

enum { SHMRT_BF16_NAN = 0x7fc0, SHMRT_FP16_NAN = 0x7e00 };

static inline uint32_t shmrt_f32_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float shmrt_f32_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float shmrt_bf16_widen(uint16_t half)
{
    return shmrt_f32_from_bits((uint32_t)half << 16);
}

static inline uint16_t shmrt_bf16_round(float value)
{
    uint32_t bits = shmrt_f32_bits(value);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return SHMRT_BF16_NAN;
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline float shmrt_fp16_widen(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t exponent = half >> 10 & 0x1f;
    uint32_t fraction = half & 0x3ff;
    if (exponent == 0x1f)
        return shmrt_f32_from_bits(sign | 0x7f800000 | fraction << 13);
    if (exponent == 0) /* a multiple of 2^-24, which is a normal number in fp32 */
        return shmrt_f32_from_bits(sign | shmrt_f32_bits((float)fraction * 0x1p-24f));
    return shmrt_f32_from_bits(sign | (exponent + 127 - 15) << 23 | fraction << 13);
}

/* @magnitude: bits of an fp32 number below 2^-14; the result counts units of 2^-24. */
static inline uint32_t shmrt_fp16_round_subnormal(uint32_t magnitude)
{
    uint32_t exponent = magnitude >> 23;
    if (exponent < 127 - 25) /* less than half a unit */
        return 0;
    uint32_t fraction = (magnitude & 0x7fffff) | 0x800000;
    uint32_t shift = 127 - 1 - exponent;
    uint32_t below_half = (UINT32_C(1) << (shift - 1)) - 1;
    return (fraction + below_half + (fraction >> shift & 1)) >> shift;
}

static inline uint16_t shmrt_fp16_round(float value)
{
    uint32_t bits = shmrt_f32_bits(value);
    uint32_t sign = bits >> 16 & 0x8000;
    uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000)
        return SHMRT_FP16_NAN;
    if (magnitude >= 0x477ff000) /* 65520: half a unit above the largest number */
        return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x38800000) /* 2^-14 */
        return (uint16_t)(sign | shmrt_fp16_round_subnormal(magnitude));
    magnitude -= (uint32_t)(127 - 15) << 23;
    return (uint16_t)(sign | (magnitude + 0xfff + (magnitude >> 13 & 1)) >> 13);
}

#endif
