/* SPDX-License-Identifier: Apache-2.0 */
/*
 * neonbf16.c - what NEON's BF16 instructions do with the reference's bits: the rounding of bf16.
 *
 * BFCVTN rounds as FPCR says, so to nearest even here, and keeps subnormals; a NaN has been made
 * canonical before, and BFCVTN keeps that one's bits.
 */
#include "neon.h"

SHMRT_INLINE raw bf16_pack(struct f32_pair x)
{
    return vreinterpretq_u8_bf16(vcvtq_high_bf16_f32(vcvtq_low_bf16_f32(x.a), x.b));
}

#include "../vector_pair.h"

SHMRT_INLINE struct f32_pair bf16_load(const char *at)
{
    return bf16_unpack(raw_load(at));
}

SHMRT_INLINE void bf16_store(char *at, struct f32_pair x)
{
    raw_store(at, bf16_pack(x));
}

#define TYPE       bf16
#define TYPE_BYTES 2
#include "../vector_reduce.h"
SHMRT_FLOAT_ENTRIES(bf16)

#define TYPE bf16
#include "../vector_wide.h"
SHMRT_WIDE_ENTRIES(bf16)

const struct shmrt_kernels shmrt_kernels_neonbf16 = {
    .name = "neonbf16",
    .reduce = {[SHMRT_BFLOAT16] = SHMRT_FLOAT_ROW(bf16)},
    .partial = {[SHMRT_BFLOAT16] = SHMRT_PARTIAL_ROW(bf16)},
    .total = {[SHMRT_BFLOAT16] = SHMRT_TOTAL_ROW(bf16)},
};
