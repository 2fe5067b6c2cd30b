/* SPDX-License-Identifier: Apache-2.0 */
/* norm_neon.c - the norms with NEON. */
#include "norm_neon.h"

SHMRT_INLINE f32_vec f32_rounded(f32_vec x)
{
    return x;
}

SHMRT_INLINE f32_vec f32_load(const char *at)
{
    return vreinterpretq_f32_u8(vld1q_u8((const uint8_t *)at));
}

SHMRT_INLINE void f32_store(char *at, f32_vec x)
{
    vst1q_u8((uint8_t *)at, vreinterpretq_u8_f32(canonical(x)));
}

/* To nearest even in integer arithmetic, in the upper halves of the lanes. */
SHMRT_INLINE uint32x4_t bf16_round(f32_vec x)
{
    uint32x4_t bits = vreinterpretq_u32_f32(canonical(x));
    uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    return vaddq_u32(vaddq_u32(bits, vdupq_n_u32(0x7fff)), odd);
}

SHMRT_INLINE f32_vec bf16_rounded(f32_vec x)
{
    return vreinterpretq_f32_u32(vandq_u32(bf16_round(x), vdupq_n_u32(0xffff0000)));
}

SHMRT_INLINE void bf16_store(char *at, f32_vec x)
{
    store_halves(at, vshrn_n_u32(bf16_round(x), 16));
}

SHMRT_INLINE f32_vec fp16_load(const char *at)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(load_halves(at)));
}

SHMRT_INLINE float16x4_t fp16_pack(f32_vec x)
{
    return vcvt_f16_f32(canonical(x));
}

SHMRT_INLINE f32_vec fp16_rounded(f32_vec x)
{
    return vcvt_f32_f16(fp16_pack(x));
}

SHMRT_INLINE void fp16_store(char *at, f32_vec x)
{
    store_halves(at, vreinterpret_u16_f16(fp16_pack(x)));
}

SHMRT_BUFFERED_NORM(f32, 4)
SHMRT_BUFFERED_NORM(bf16, 2)
SHMRT_BUFFERED_NORM(fp16, 2)

#include "../norm_rung.h"

const shmrt_norm_fn shmrt_norms_neon[SHMRT_DTYPE_COUNT] = SHMRT_ALL_NORMS;
