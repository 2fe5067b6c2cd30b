/* SPDX-License-Identifier: Apache-2.0 */
/* norm_avx2.c - the norms with AVX2 and F16C: 8 elements at a time, ends through a buffer. */
#include "../buffered_ends.h"
#include "../norm.h"

#include <immintrin.h>
#include <string.h>

enum { LANES = 8 };

typedef __m256 f32_vec;

SHMRT_INLINE f32_vec splat(float x)
{
    return _mm256_set1_ps(x);
}

SHMRT_INLINE f32_vec zero_past(f32_vec x, size_t n)
{
    __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i kept = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane);
    return _mm256_and_ps(x, _mm256_castsi256_ps(kept));
}

SHMRT_INLINE void spill(float *to, f32_vec x)
{
    _mm256_storeu_ps(to, x);
}

SHMRT_INLINE f32_vec canonical(f32_vec x)
{
    f32_vec nan = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000));
    return _mm256_blendv_ps(x, nan, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}

SHMRT_INLINE f32_vec f32_rounded(f32_vec x)
{
    return x;
}

SHMRT_INLINE f32_vec f32_load(const char *at)
{
    return _mm256_loadu_ps((const float *)(const void *)at);
}

SHMRT_INLINE void f32_store(char *at, f32_vec x)
{
    _mm256_storeu_ps((float *)(void *)at, canonical(x));
}

SHMRT_INLINE __m128i load_halves(const char *at)
{
    return _mm_loadu_si128((const __m128i_u *)at);
}

SHMRT_INLINE void store_halves(char *at, __m128i halves)
{
    _mm_storeu_si128((__m128i_u *)at, halves);
}

SHMRT_INLINE f32_vec bf16_load(const char *at)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load_halves(at)), 16));
}

/* To nearest even in integer arithmetic, in the upper halves of the lanes. */
SHMRT_INLINE __m256i bf16_round(f32_vec x)
{
    __m256i bits = _mm256_castps_si256(canonical(x));
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    return _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
}

SHMRT_INLINE f32_vec bf16_rounded(f32_vec x)
{
    __m256i upper = _mm256_set1_epi32((int)0xffff0000);
    return _mm256_castsi256_ps(_mm256_and_si256(bf16_round(x), upper));
}

SHMRT_INLINE void bf16_store(char *at, f32_vec x)
{
    __m256i halves = _mm256_srli_epi32(bf16_round(x), 16);
    store_halves(
        at, _mm_packus_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1)));
}

SHMRT_INLINE f32_vec fp16_load(const char *at)
{
    return _mm256_cvtph_ps(load_halves(at));
}

SHMRT_INLINE __m128i fp16_pack(f32_vec x)
{
    return _mm256_cvtps_ph(canonical(x), _MM_FROUND_TO_NEAREST_INT);
}

SHMRT_INLINE f32_vec fp16_rounded(f32_vec x)
{
    return _mm256_cvtph_ps(fp16_pack(x));
}

SHMRT_INLINE void fp16_store(char *at, f32_vec x)
{
    store_halves(at, fp16_pack(x));
}

SHMRT_BUFFERED_NORM(f32, 4)
SHMRT_BUFFERED_NORM(bf16, 2)
SHMRT_BUFFERED_NORM(fp16, 2)

#include "../norm_rung.h"

const shmrt_norm_fn shmrt_norms_avx2[SHMRT_DTYPE_COUNT] = SHMRT_ALL_NORMS;
