/* SPDX-License-Identifier: Apache-2.0 */
/* neon.c - the rung for NEON, which every aarch64 CPU has: 16 bytes at a time. */
#include "neon.h"

/*
 * To nearest even, both halves of the pair at once: the upper 16 bits are kept, and one is added
 * where the lower 16 are more than one half, or one half and the last bit kept is set. Less one
 * where that bit is clear, but not below 0, they then show it in their own top bit.
 */
SHMRT_INLINE raw bf16_pack(struct f32_pair x)
{
    uint16x8_t a = vreinterpretq_u16_f32(x.a), b = vreinterpretq_u16_f32(x.b);
    uint16x8_t kept = vuzp2q_u16(a, b), lower = vuzp1q_u16(a, b);
    uint16x8_t even = vbicq_u16(vdupq_n_u16(1), kept);
    return vreinterpretq_u8_u16(vsraq_n_u16(kept, vqsubq_u16(lower, even), 15));
}

#include "../vector_rung.h"

const struct shmrt_kernels shmrt_kernels_neon = {.name = "neon", SHMRT_ALL_ROWS};
