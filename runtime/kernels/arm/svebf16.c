/* SPDX-License-Identifier: Apache-2.0 */
/*
 * svebf16.c - what SVE's BF16 instructions do with the reference's bits: the rounding of bf16.
 *
 * BFCVT rounds as FPCR says, so to nearest even here, and keeps subnormals; a NaN has been made
 * canonical before, and BFCVT keeps that one's bits.
 */
#include "sve.h"

SHMRT_INLINE void bf16_store(svbool_t in_a, svbool_t in_b, void *out, size_t i, f32_vec a,
                             f32_vec b)
{
    svuint16_t half_a = svreinterpret_u16_bf16(svcvt_bf16_f32_x(svptrue_b32(), a));
    svuint16_t half_b = svreinterpret_u16_bf16(svcvt_bf16_f32_x(svptrue_b32(), b));
    halves_store(in_a, in_b, out, i, svuzp1_u16(half_a, half_b));
}

#define NAME bf16_reduce
#define ACC  f32
#define FROM bf16
#define TO   bf16
#include "sve_reduce.h"

#define NAME bf16_total
#define ACC  f32
#define FROM f32
#define TO   bf16
#include "sve_reduce.h"

/* min and max need no rounding, but take no more instructions this way. */
SHMRT_FLOAT_ENTRIES(bf16)
SHMRT_ENTRY_OF(total, bf16, sum, SHMRT_SUM)
SHMRT_ENTRY_OF(total, bf16, prod, SHMRT_PROD)
SHMRT_ENTRY_OF(total, bf16, avg, SHMRT_AVG)

const struct shmrt_kernels shmrt_kernels_svebf16 = {
    .name = "svebf16",
    .reduce = {[SHMRT_BFLOAT16] = SHMRT_FLOAT_ROW(bf16)},
    .total = {[SHMRT_BFLOAT16] = SHMRT_TOTAL_ROW(bf16)},
};
