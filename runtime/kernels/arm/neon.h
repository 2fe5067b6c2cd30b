/* SPDX-License-Identifier: Apache-2.0 */
/*
 * neon.h - what the rungs for NEON share: registers, fp32, fp64, and pairs of fp32 for halves (L1)
 *
 * FMIN and FMAX are the reference's min and max: they propagate NaNs and take -0 for less than +0.
 * Pairs lie in the order of the elements, the first half of them in a, the second in b. Only
 * emulators ran these files: what they choose rests on counts of instructions, and on what the
 * Neoverse N1's and V1's optimization guides say of them.
 */
#ifndef SHMRT_NEON_H
#define SHMRT_NEON_H

#include "../buffered_ends.h"
#include "../rungs.h"

#include <arm_neon.h>
#include <string.h>

enum { RAW_BYTES = 16 };

typedef uint8x16_t raw;
typedef float32x4_t f32_vec;
typedef float64x2_t f64_vec;

SHMRT_INLINE raw raw_load(const char *at)
{
    return vld1q_u8((const uint8_t *)at);
}

SHMRT_INLINE void raw_store(char *at, raw x)
{
    vst1q_u8((uint8_t *)at, x);
}

SHMRT_BUFFERED_RAW

SHMRT_INLINE f32_vec f32_combine(enum shmrt_op op, f32_vec x, f32_vec y)
{
    switch (op) {
    case SHMRT_MIN:
        return vminq_f32(x, y);
    case SHMRT_MAX:
        return vmaxq_f32(x, y);
    case SHMRT_PROD:
        return vmulq_f32(x, y);
    default:
        return vaddq_f32(x, y);
    }
}

SHMRT_INLINE f32_vec f32_divide(f32_vec x, int n)
{
    if (shmrt_is_power_of_two(n))
        return vmulq_n_f32(x, 1.0f / (float)n);
    return vdivq_f32(x, vdupq_n_f32((float)n));
}

SHMRT_INLINE f32_vec f32_canonical(f32_vec x)
{
    f32_vec nan = vreinterpretq_f32_u32(vdupq_n_u32(0x7fc00000));
    return vbslq_f32(vceqq_f32(x, x), x, nan);
}

SHMRT_INLINE f32_vec f32_unpack(raw x)
{
    return vreinterpretq_f32_u8(x);
}

SHMRT_INLINE raw f32_pack(f32_vec x)
{
    return vreinterpretq_u8_f32(x);
}

SHMRT_INLINE f64_vec f64_combine(enum shmrt_op op, f64_vec x, f64_vec y)
{
    switch (op) {
    case SHMRT_MIN:
        return vminq_f64(x, y);
    case SHMRT_MAX:
        return vmaxq_f64(x, y);
    case SHMRT_PROD:
        return vmulq_f64(x, y);
    default:
        return vaddq_f64(x, y);
    }
}

SHMRT_INLINE f64_vec f64_divide(f64_vec x, int n)
{
    if (shmrt_is_power_of_two(n))
        return vmulq_n_f64(x, 1.0 / n);
    return vdivq_f64(x, vdupq_n_f64(n));
}

SHMRT_INLINE f64_vec f64_canonical(f64_vec x)
{
    f64_vec nan = vreinterpretq_f64_u64(vdupq_n_u64(0x7ff8000000000000));
    return vbslq_f64(vceqq_f64(x, x), x, nan);
}

SHMRT_INLINE f64_vec f64_unpack(raw x)
{
    return vreinterpretq_f64_u8(x);
}

SHMRT_INLINE raw f64_pack(f64_vec x)
{
    return vreinterpretq_u8_f64(x);
}

struct f32_pair {
    f32_vec a, b;
};

/* NEON compares for no NaN, but the greatest of several is one where any of them is. */
SHMRT_INLINE f32_vec pair_max(struct f32_pair x)
{
    return vmaxq_f32(x.a, x.b);
}

SHMRT_INLINE int any_nan(f32_vec x)
{
    return __builtin_isnan(vmaxvq_f32(x));
}

SHMRT_INLINE int pair_any_nan(struct f32_pair x)
{
    return any_nan(pair_max(x));
}

SHMRT_INLINE int pairs_any_nan(struct f32_pair a, struct f32_pair b, struct f32_pair c,
                               struct f32_pair d)
{
    return any_nan(
        vmaxq_f32(vmaxq_f32(pair_max(a), pair_max(b)), vmaxq_f32(pair_max(c), pair_max(d))));
}

/* Interleaved with zeros, which any of the vector pipes does; shifts are for some of them only. */
SHMRT_INLINE struct f32_pair bf16_unpack(raw x)
{
    uint16x8_t halves = vreinterpretq_u16_u8(x), zero = vdupq_n_u16(0);
    return (struct f32_pair){
        vreinterpretq_f32_u16(vzip1q_u16(zero, halves)),
        vreinterpretq_f32_u16(vzip2q_u16(zero, halves)),
    };
}

SHMRT_INLINE struct f32_pair fp16_unpack(raw x)
{
    float16x8_t halves = vreinterpretq_f16_u8(x);
    return (struct f32_pair){vcvt_f32_f16(vget_low_f16(halves)), vcvt_high_f32_f16(halves)};
}

SHMRT_INLINE raw fp16_pack(struct f32_pair x)
{
    return vreinterpretq_u8_f16(vcvt_high_f16_f32(vcvt_f16_f32(x.a), x.b));
}

SHMRT_INLINE struct f32_pair fp16_load(const char *at)
{
    return fp16_unpack(raw_load(at));
}

SHMRT_INLINE void fp16_store(char *at, struct f32_pair x)
{
    raw_store(at, fp16_pack(x));
}

/* Partial results. */
SHMRT_INLINE struct f32_pair pair_load_wide(const char *at)
{
    return (struct f32_pair){f32_unpack(raw_load(at)), f32_unpack(raw_load(at + RAW_BYTES))};
}

SHMRT_INLINE void pair_store_wide(char *at, struct f32_pair x)
{
    raw_store(at, f32_pack(x.a));
    raw_store(at + RAW_BYTES, f32_pack(x.b));
}

#define bf16_load_wide  pair_load_wide
#define bf16_store_wide pair_store_wide
#define fp16_load_wide  pair_load_wide
#define fp16_store_wide pair_store_wide

#endif
