/* SPDX-License-Identifier: Apache-2.0 */
/*
 * avx512.c - the rung for AVX-512 F, BW, VL and DQ: 64 bytes at a time, ends under a byte mask.
 *
 * bf16 is rounded in integer arithmetic. VCVTNE2PS2BF16 flushes subnormals, which the reference
 * keeps, and even where that is not mended it is slower (docs/performance.md, Rungs of kernels).
 */
#include "../rungs.h"

#include <immintrin.h>
#include <string.h>

enum { RAW_BYTES = 64 };

typedef __m512i raw;
typedef __m512 f32_vec;
typedef __m512d f64_vec;

SHMRT_INLINE raw raw_load(const char *at)
{
    return _mm512_loadu_si512(at);
}

SHMRT_INLINE void raw_store(char *at, raw x)
{
    _mm512_storeu_si512(at, x);
}

/* 0 < bytes < RAW_BYTES; lanes that are masked out are not accessed and cannot fault. */
SHMRT_INLINE __mmask64 first_bytes(size_t bytes)
{
    return (__mmask64)-1 >> (RAW_BYTES - bytes);
}

SHMRT_INLINE raw raw_load_part(const char *at, size_t bytes)
{
    return _mm512_maskz_loadu_epi8(first_bytes(bytes), at);
}

SHMRT_INLINE void raw_store_part(char *at, raw x, size_t bytes)
{
    _mm512_mask_storeu_epi8(at, first_bytes(bytes), x);
}

/* min and max: as in avx2.c. */
SHMRT_INLINE f32_vec f32_combine(enum shmrt_op op, f32_vec x, f32_vec y)
{
    switch (op) {
    case SHMRT_MIN:
        return _mm512_or_ps(_mm512_min_ps(x, y), _mm512_min_ps(y, x));
    case SHMRT_MAX:
        return _mm512_mask_or_ps(_mm512_and_ps(_mm512_max_ps(x, y), _mm512_max_ps(y, x)),
                                 _mm512_cmp_ps_mask(x, y, _CMP_UNORD_Q), x, y);
    case SHMRT_PROD:
        return _mm512_mul_ps(x, y);
    default:
        return _mm512_add_ps(x, y);
    }
}

SHMRT_INLINE f32_vec f32_divide(f32_vec x, int n)
{
    if (shmrt_is_power_of_two(n))
        return _mm512_mul_ps(x, _mm512_set1_ps(1.0f / (float)n));
    return _mm512_div_ps(x, _mm512_set1_ps((float)n));
}

SHMRT_INLINE f32_vec f32_canonical(f32_vec x)
{
    f32_vec nan = _mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000));
    return _mm512_mask_mov_ps(x, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), nan);
}

SHMRT_INLINE f32_vec f32_unpack(raw x)
{
    return _mm512_castsi512_ps(x);
}

SHMRT_INLINE raw f32_pack(f32_vec x)
{
    return _mm512_castps_si512(x);
}

SHMRT_INLINE f64_vec f64_combine(enum shmrt_op op, f64_vec x, f64_vec y)
{
    switch (op) {
    case SHMRT_MIN:
        return _mm512_or_pd(_mm512_min_pd(x, y), _mm512_min_pd(y, x));
    case SHMRT_MAX:
        return _mm512_mask_or_pd(_mm512_and_pd(_mm512_max_pd(x, y), _mm512_max_pd(y, x)),
                                 _mm512_cmp_pd_mask(x, y, _CMP_UNORD_Q), x, y);
    case SHMRT_PROD:
        return _mm512_mul_pd(x, y);
    default:
        return _mm512_add_pd(x, y);
    }
}

SHMRT_INLINE f64_vec f64_divide(f64_vec x, int n)
{
    if (shmrt_is_power_of_two(n))
        return _mm512_mul_pd(x, _mm512_set1_pd(1.0 / n));
    return _mm512_div_pd(x, _mm512_set1_pd(n));
}

SHMRT_INLINE f64_vec f64_canonical(f64_vec x)
{
    f64_vec nan = _mm512_castsi512_pd(_mm512_set1_epi64(0x7ff8000000000000));
    return _mm512_mask_mov_pd(x, _mm512_cmp_pd_mask(x, x, _CMP_UNORD_Q), nan);
}

SHMRT_INLINE f64_vec f64_unpack(raw x)
{
    return _mm512_castsi512_pd(x);
}

SHMRT_INLINE raw f64_pack(f64_vec x)
{
    return _mm512_castpd_si512(x);
}

/* bf16: even and odd elements, so that nothing moves between lanes. fp16: first and second half. */
struct f32_pair {
    f32_vec a, b;
};

SHMRT_INLINE int pair_any_nan(struct f32_pair x)
{
    return _mm512_cmp_ps_mask(x.a, x.b, _CMP_UNORD_Q) != 0;
}

/* Each comparison under the mask of the one before, so that one test of a mask serves all. */
SHMRT_INLINE int pairs_any_nan(struct f32_pair a, struct f32_pair b, struct f32_pair c,
                               struct f32_pair d)
{
    __mmask16 ordered = _mm512_cmp_ps_mask(a.a, a.b, _CMP_ORD_Q);
    ordered = _mm512_mask_cmp_ps_mask(ordered, b.a, b.b, _CMP_ORD_Q);
    ordered = _mm512_mask_cmp_ps_mask(ordered, c.a, c.b, _CMP_ORD_Q);
    ordered = _mm512_mask_cmp_ps_mask(ordered, d.a, d.b, _CMP_ORD_Q);
    return !_kortestc_mask16_u8(ordered, ordered);
}

SHMRT_INLINE struct f32_pair bf16_unpack(raw x)
{
    return (struct f32_pair){
        _mm512_castsi512_ps(_mm512_slli_epi32(x, 16)),
        _mm512_castsi512_ps(_mm512_and_si512(x, _mm512_set1_epi32((int)0xffff0000))),
    };
}

/*
 * To nearest even, both halves of the register at once: the upper 16 bits are kept, and one is
 * added where the lower 16 are more than one half, or one half and the last bit kept is set: at
 * 0x8001, less that bit.
 */
SHMRT_INLINE raw bf16_pack(struct f32_pair x)
{
    raw a = _mm512_castps_si512(x.a), b = _mm512_castps_si512(x.b);
    raw swapped = _mm512_set4_epi32(0x0d0c0f0e, 0x09080b0a, 0x05040706, 0x01000302);
    raw kept = _mm512_mask_shuffle_epi8(b, 0x3333333333333333, a, swapped);
    raw lower = _mm512_mask_shuffle_epi8(a, 0xcccccccccccccccc, b, swapped);
    raw least = _mm512_ternarylogic_epi32(kept, _mm512_set1_epi16(1),
                                          _mm512_set1_epi16((short)0x8000), 0xae); /* ~k & 1 | c */
    __mmask32 up = _mm512_cmpge_epu16_mask(lower, least);
    return _mm512_mask_sub_epi16(kept, up, kept, _mm512_set1_epi16(-1));
}

SHMRT_INLINE struct f32_pair fp16_unpack(raw x)
{
    return (struct f32_pair){
        _mm512_cvtph_ps(_mm512_castsi512_si256(x)),
        _mm512_cvtph_ps(_mm512_extracti64x4_epi64(x, 1)),
    };
}

SHMRT_INLINE raw fp16_pack(struct f32_pair x)
{
    raw low = _mm512_castsi256_si512(_mm512_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
    return _mm512_inserti64x4(low, _mm512_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT), 1);
}

/* From and to memory, a conversion needs no shuffle. */
SHMRT_INLINE struct f32_pair fp16_load(const char *at)
{
    return (struct f32_pair){
        _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i_u *)at)),
        _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i_u *)(at + RAW_BYTES / 2))),
    };
}

SHMRT_INLINE void fp16_store(char *at, struct f32_pair x)
{
    _mm256_storeu_si256((__m256i_u *)at, _mm512_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
    _mm256_storeu_si256((__m256i_u *)(at + RAW_BYTES / 2),
                        _mm512_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT));
}

SHMRT_INLINE struct f32_pair fp16_load_wide(const char *at)
{
    return (struct f32_pair){_mm512_loadu_ps(at), _mm512_loadu_ps(at + RAW_BYTES)};
}

SHMRT_INLINE void fp16_store_wide(char *at, struct f32_pair x)
{
    _mm512_storeu_ps(at, x.a);
    _mm512_storeu_ps(at + RAW_BYTES, x.b);
}

SHMRT_INLINE struct f32_pair bf16_load_wide(const char *at)
{
    struct f32_pair x = fp16_load_wide(at);
    raw even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    raw odd = _mm512_or_si512(even, _mm512_set1_epi32(1));
    return (struct f32_pair){_mm512_permutex2var_ps(x.a, even, x.b),
                             _mm512_permutex2var_ps(x.a, odd, x.b)};
}

SHMRT_INLINE void bf16_store_wide(char *at, struct f32_pair x)
{
    raw first = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    raw second = _mm512_add_epi32(first, _mm512_set1_epi32(8));
    fp16_store_wide(at, (struct f32_pair){_mm512_permutex2var_ps(x.a, first, x.b),
                                          _mm512_permutex2var_ps(x.a, second, x.b)});
}

#include "../vector_rung.h"

const struct shmrt_kernels shmrt_kernels_avx512 = {.name = "avx512", SHMRT_ALL_ROWS};
