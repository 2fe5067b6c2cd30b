/* SPDX-License-Identifier: Apache-2.0 */
/* norm_sse2.c - the norms with SSE2: 4 elements at a time, ends through a buffer. */
#include "../buffered_ends.h"
#include "../norm.h"
#include "fp16_sse2.h"

#include <string.h>

enum { LANES = 4 };

typedef __m128 f32_vec;

SHMRT_INLINE f32_vec splat(float x)
{
    return _mm_set1_ps(x);
}

SHMRT_INLINE f32_vec zero_past(f32_vec x, size_t n)
{
    __m128i lane = _mm_setr_epi32(0, 1, 2, 3);
    __m128i kept = _mm_cmpgt_epi32(_mm_set1_epi32((int)n), lane);
    return _mm_and_ps(x, _mm_castsi128_ps(kept));
}

SHMRT_INLINE void spill(float *to, f32_vec x)
{
    _mm_storeu_ps(to, x);
}

SHMRT_INLINE f32_vec canonical(f32_vec x)
{
    f32_vec unordered = _mm_cmpunord_ps(x, x);
    f32_vec nan = _mm_castsi128_ps(_mm_set1_epi32(0x7fc00000));
    return _mm_or_ps(_mm_and_ps(unordered, nan), _mm_andnot_ps(unordered, x));
}

SHMRT_INLINE f32_vec f32_rounded(f32_vec x)
{
    return x;
}

SHMRT_INLINE f32_vec f32_load(const char *at)
{
    return _mm_loadu_ps((const float *)(const void *)at);
}

SHMRT_INLINE void f32_store(char *at, f32_vec x)
{
    _mm_storeu_ps((float *)(void *)at, canonical(x));
}

SHMRT_INLINE __m128i load_halves(const char *at)
{
    return _mm_loadl_epi64((const __m128i_u *)at);
}

SHMRT_INLINE void store_halves(char *at, __m128i halves)
{
    _mm_storel_epi64((__m128i_u *)at, halves);
}

SHMRT_INLINE f32_vec bf16_load(const char *at)
{
    return _mm_castsi128_ps(_mm_unpacklo_epi16(_mm_setzero_si128(), load_halves(at)));
}

/* To nearest even in integer arithmetic, in the upper halves of the lanes. */
SHMRT_INLINE __m128i bf16_round(f32_vec x)
{
    __m128i bits = _mm_castps_si128(canonical(x));
    __m128i odd = _mm_and_si128(_mm_srli_epi32(bits, 16), _mm_set1_epi32(1));
    return _mm_add_epi32(_mm_add_epi32(bits, _mm_set1_epi32(0x7fff)), odd);
}

SHMRT_INLINE f32_vec bf16_rounded(f32_vec x)
{
    __m128i upper = _mm_set1_epi32((int)0xffff0000);
    return _mm_castsi128_ps(_mm_and_si128(bf16_round(x), upper));
}

/* The shift copies the sign, so that the saturating pack changes nothing. */
SHMRT_INLINE void bf16_store(char *at, f32_vec x)
{
    __m128i halves = _mm_srai_epi32(bf16_round(x), 16);
    store_halves(at, _mm_packs_epi32(halves, halves));
}

SHMRT_INLINE f32_vec fp16_load(const char *at)
{
    return fp16_widen_eight(load_halves(at)).a;
}

SHMRT_INLINE __m128i fp16_pack(f32_vec x)
{
    f32_vec one_nan = canonical(x);
    return fp16_round_eight((struct f32_pair){one_nan, one_nan});
}

SHMRT_INLINE f32_vec fp16_rounded(f32_vec x)
{
    return fp16_widen_eight(fp16_pack(x)).a;
}

SHMRT_INLINE void fp16_store(char *at, f32_vec x)
{
    store_halves(at, fp16_pack(x));
}

SHMRT_BUFFERED_NORM(f32, 4)
SHMRT_BUFFERED_NORM(bf16, 2)
SHMRT_BUFFERED_NORM(fp16, 2)

#include "../norm_rung.h"

const shmrt_norm_fn shmrt_norms_sse2[SHMRT_DTYPE_COUNT] = SHMRT_ALL_NORMS;
