/* SPDX-License-Identifier: Apache-2.0 */
/* norm_avx512.c - the norms with AVX-512 F, BW, VL and DQ: 16 elements at a time, ends masked. */
#include "../norm.h"

#include <immintrin.h>

enum { LANES = 16 };

typedef __m512 f32_vec;

SHMRT_INLINE f32_vec splat(float x)
{
    return _mm512_set1_ps(x);
}

/* 0 < n <= LANES; lanes that are masked out are not accessed and cannot fault. */
SHMRT_INLINE __mmask16 first(size_t n)
{
    return (__mmask16)(0xffff >> (LANES - n));
}

SHMRT_INLINE f32_vec zero_past(f32_vec x, size_t n)
{
    return _mm512_maskz_mov_ps(first(n), x);
}

SHMRT_INLINE void spill(float *to, f32_vec x)
{
    _mm512_storeu_ps(to, x);
}

SHMRT_INLINE f32_vec canonical(f32_vec x)
{
    f32_vec nan = _mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000));
    return _mm512_mask_mov_ps(x, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), nan);
}

SHMRT_INLINE f32_vec f32_rounded(f32_vec x)
{
    return x;
}

SHMRT_INLINE f32_vec f32_load(const char *at)
{
    return _mm512_loadu_ps(at);
}

SHMRT_INLINE f32_vec f32_load_part(const char *at, size_t n)
{
    return _mm512_maskz_loadu_ps(first(n), at);
}

SHMRT_INLINE void f32_store(char *at, f32_vec x)
{
    _mm512_storeu_ps(at, canonical(x));
}

SHMRT_INLINE void f32_store_part(char *at, f32_vec x, size_t n)
{
    _mm512_mask_storeu_ps(at, first(n), canonical(x));
}

SHMRT_INLINE f32_vec bf16_widen(__m256i halves)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

/* To nearest even in integer arithmetic, in the upper halves of the lanes: VCVTNEPS2BF16 would
 * flush subnormals. */
SHMRT_INLINE __m512i bf16_round(f32_vec x)
{
    __m512i bits = _mm512_castps_si512(canonical(x));
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    return _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
}

SHMRT_INLINE f32_vec bf16_rounded(f32_vec x)
{
    __m512i upper = _mm512_set1_epi32((int)0xffff0000);
    return _mm512_castsi512_ps(_mm512_and_si512(bf16_round(x), upper));
}

SHMRT_INLINE __m256i bf16_pack(f32_vec x)
{
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(bf16_round(x), 16));
}

SHMRT_INLINE f32_vec fp16_widen(__m256i halves)
{
    return _mm512_cvtph_ps(halves);
}

SHMRT_INLINE __m256i fp16_pack(f32_vec x)
{
    return _mm512_cvtps_ph(canonical(x), _MM_FROUND_TO_NEAREST_INT);
}

SHMRT_INLINE f32_vec fp16_rounded(f32_vec x)
{
    return fp16_widen(fp16_pack(x));
}

#define DEFINE_HALF(type)                                                                          \
    SHMRT_INLINE f32_vec type##_load(const char *at)                                               \
    {                                                                                              \
        return type##_widen(_mm256_loadu_si256((const __m256i_u *)at));                            \
    }                                                                                              \
    SHMRT_INLINE f32_vec type##_load_part(const char *at, size_t n)                                \
    {                                                                                              \
        return type##_widen(_mm256_maskz_loadu_epi16(first(n), at));                               \
    }                                                                                              \
    SHMRT_INLINE void type##_store(char *at, f32_vec x)                                            \
    {                                                                                              \
        _mm256_storeu_si256((__m256i_u *)at, type##_pack(x));                                      \
    }                                                                                              \
    SHMRT_INLINE void type##_store_part(char *at, f32_vec x, size_t n)                             \
    {                                                                                              \
        _mm256_mask_storeu_epi16(at, first(n), type##_pack(x));                                    \
    }

DEFINE_HALF(bf16)
DEFINE_HALF(fp16)

#include "../norm_rung.h"

const shmrt_norm_fn shmrt_norms_avx512[SHMRT_DTYPE_COUNT] = SHMRT_ALL_NORMS;
