/* SPDX-License-Identifier: Apache-2.0 */
/* norm_neonbf16.c - the norms of bf16, rounded by NEON's BF16 instructions. */
#include "norm_neon.h"

SHMRT_INLINE uint16x4_t bf16_pack(f32_vec x)
{
    return vreinterpret_u16_bf16(vcvt_bf16_f32(canonical(x)));
}

SHMRT_INLINE f32_vec bf16_rounded(f32_vec x)
{
    return bf16_widen(bf16_pack(x));
}

SHMRT_INLINE void bf16_store(char *at, f32_vec x)
{
    store_halves(at, bf16_pack(x));
}

SHMRT_BUFFERED_NORM(bf16, 2)

#define TYPE       bf16
#define TYPE_BYTES 2
#include "../norm_rows.h"

const shmrt_norm_fn shmrt_norms_neonbf16[SHMRT_DTYPE_COUNT] = {[SHMRT_BFLOAT16] = bf16_norm};
