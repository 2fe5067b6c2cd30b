/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fp16_sse2.h - fp16 to fp32 and back without F16C (L1)
 *
 * Eight at a time, and where it can be with 16-bit lanes, which do the work of two instructions.
 * No step takes or makes a subnormal fp32 number of a subnormal fp16 one: CPUs of that time leave
 * such to microcode, at a hundred cycles and more each.
 */
#ifndef SHMRT_FP16_SSE2_H
#define SHMRT_FP16_SSE2_H

#include "../rungs.h"

#include <emmintrin.h>

struct f32_pair {
    __m128 a, b;
};

/* fp32 numbers whose upper halves are the lanes of @upper, and whose lower halves are 0. */
SHMRT_INLINE struct f32_pair fp16_from_upper(__m128i upper)
{
    __m128i zero = _mm_setzero_si128();
    return (struct f32_pair){
        _mm_castsi128_ps(_mm_unpacklo_epi16(zero, upper)),
        _mm_castsi128_ps(_mm_unpackhi_epi16(zero, upper)),
    };
}

/*
 * First and second half. Exponent and fraction are moved to their place, and 127 - 15 is added to
 * the exponent. A subnormal, or 0, gets one more than that, which makes it 2^-14 too great, and
 * 2^-14 is subtracted; this is exact. The sign comes last, since 0 keeps it.
 */
SHMRT_INLINE struct f32_pair fp16_widen_eight(__m128i x)
{
    __m128i magnitude = _mm_and_si128(x, _mm_set1_epi16(0x7fff));
    __m128i sign = _mm_xor_si128(x, magnitude);
    __m128i subnormal = _mm_cmpgt_epi16(_mm_set1_epi16(0x0400), magnitude);
    __m128i special = _mm_cmpgt_epi16(magnitude, _mm_set1_epi16(0x7bff));
    __m128i excess = _mm_and_si128(subnormal, _mm_set1_epi16((127 - 14) << 7));
    __m128i bias = _mm_max_epi16(excess, _mm_set1_epi16((127 - 15) << 7));
    __m128i upper = _mm_add_epi16(_mm_srli_epi16(magnitude, 3), bias);
    upper = _mm_or_si128(upper, _mm_and_si128(special, _mm_set1_epi16(0x7f80)));
    __m128i lower = _mm_slli_epi16(x, 13);
    struct f32_pair less = fp16_from_upper(excess), signs = fp16_from_upper(sign);
    __m128 a = _mm_castsi128_ps(_mm_unpacklo_epi16(lower, upper));
    __m128 b = _mm_castsi128_ps(_mm_unpackhi_epi16(lower, upper));
    return (struct f32_pair){_mm_or_ps(_mm_sub_ps(a, less.a), signs.a),
                             _mm_or_ps(_mm_sub_ps(b, less.b), signs.b)};
}

/*
 * The bits of a number of at least 2^-14, rounded to nearest even: 2^16 and more gives infinity, a
 * NaN what does not fit into 16 bits, and less than 2^-14 something smaller than what
 * fp16_round_small gives.
 */
SHMRT_INLINE __m128i fp16_round_normal(__m128 magnitude)
{
    /* MINPS gives its second operand if one is a NaN. */
    __m128i bits = _mm_castps_si128(_mm_min_ps(_mm_set1_ps(0x1p16f), magnitude));
    __m128i odd = _mm_srli_epi32(_mm_slli_epi32(bits, 31 - 13), 31);
    __m128i below_half = _mm_set1_epi32(0xfff - ((127 - 15) << 23));
    return _mm_srai_epi32(_mm_add_epi32(_mm_add_epi32(bits, below_half), odd), 13);
}

/* The bits of a number of at most 2^-14, which count units of 2^-24: the last bit of fp32 at 0.5;
 * those of 2^-14 for all others. */
SHMRT_INLINE __m128i fp16_round_small(__m128 magnitude)
{
    __m128 half = _mm_set1_ps(0.5f);
    __m128 sum = _mm_add_ps(_mm_min_ps(magnitude, _mm_set1_ps(0x1p-14f)), half);
    return _mm_sub_epi32(_mm_castps_si128(sum), _mm_castps_si128(half));
}

/* Needs round-to-nearest; a NaN becomes the canonical one, with the sign that it has. */
SHMRT_INLINE __m128i fp16_round_eight(struct f32_pair x)
{
    __m128 magnitude_bits = _mm_castsi128_ps(_mm_set1_epi32(0x7fffffff));
    __m128 a = _mm_and_ps(x.a, magnitude_bits), b = _mm_and_ps(x.b, magnitude_bits);
    __m128i normal = _mm_packs_epi32(fp16_round_normal(a), fp16_round_normal(b));
    __m128i small = _mm_packs_epi32(fp16_round_small(a), fp16_round_small(b));
    /* Only a NaN's exceeds infinity's 0x7c00, by saturation. */
    __m128i bits = _mm_min_epi16(_mm_max_epi16(normal, small), _mm_set1_epi16(0x7e00));
    __m128i signs = _mm_packs_epi32(_mm_castps_si128(x.a), _mm_castps_si128(x.b));
    return _mm_or_si128(bits, _mm_and_si128(signs, _mm_set1_epi16((short)0x8000)));
}

#endif
