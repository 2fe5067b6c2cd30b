/* SPDX-License-Identifier: Apache-2.0 */
/*
 * avx2.c - the rung for AVX2 with F16C: 32 bytes at a time.
 *
 * The ends of vectors go through a buffer, since AVX2's masked moves know no bytes.
 */
#include "../buffered_ends.h"
#include "../rungs.h"

#include <immintrin.h>
#include <string.h>

enum { RAW_BYTES = 32 };

typedef __m256i raw;
typedef __m256 f32_vec;
typedef __m256d f64_vec;

SHMRT_INLINE raw raw_load(const char *at)
{
    return _mm256_loadu_si256((const __m256i_u *)at);
}

SHMRT_INLINE void raw_store(char *at, raw x)
{
    _mm256_storeu_si256((__m256i_u *)at, x);
}

SHMRT_BUFFERED_RAW

/*
 * MINPS and MAXPS give their second operand when one is NaN or both are zeros. Asked in both
 * orders, the answers differ only there: OR keeps the sign of -0 and leaves a NaN a NaN; AND drops
 * it, and could end in a number, so the unordered lanes are set to ones, which is a NaN.
 */
SHMRT_INLINE f32_vec f32_combine(enum shmrt_op op, f32_vec x, f32_vec y)
{
    switch (op) {
    case SHMRT_MIN:
        return _mm256_or_ps(_mm256_min_ps(x, y), _mm256_min_ps(y, x));
    case SHMRT_MAX:
        return _mm256_or_ps(_mm256_and_ps(_mm256_max_ps(x, y), _mm256_max_ps(y, x)),
                            _mm256_cmp_ps(x, y, _CMP_UNORD_Q));
    case SHMRT_PROD:
        return _mm256_mul_ps(x, y);
    default:
        return _mm256_add_ps(x, y);
    }
}

SHMRT_INLINE f32_vec f32_divide(f32_vec x, int n)
{
    if (shmrt_is_power_of_two(n))
        return _mm256_mul_ps(x, _mm256_set1_ps(1.0f / (float)n));
    return _mm256_div_ps(x, _mm256_set1_ps((float)n));
}

SHMRT_INLINE f32_vec f32_canonical(f32_vec x)
{
    f32_vec nan = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000));
    return _mm256_blendv_ps(x, nan, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}

SHMRT_INLINE f32_vec f32_unpack(raw x)
{
    return _mm256_castsi256_ps(x);
}

SHMRT_INLINE raw f32_pack(f32_vec x)
{
    return _mm256_castps_si256(x);
}

SHMRT_INLINE f64_vec f64_combine(enum shmrt_op op, f64_vec x, f64_vec y)
{
    switch (op) {
    case SHMRT_MIN:
        return _mm256_or_pd(_mm256_min_pd(x, y), _mm256_min_pd(y, x));
    case SHMRT_MAX:
        return _mm256_or_pd(_mm256_and_pd(_mm256_max_pd(x, y), _mm256_max_pd(y, x)),
                            _mm256_cmp_pd(x, y, _CMP_UNORD_Q));
    case SHMRT_PROD:
        return _mm256_mul_pd(x, y);
    default:
        return _mm256_add_pd(x, y);
    }
}

SHMRT_INLINE f64_vec f64_divide(f64_vec x, int n)
{
    if (shmrt_is_power_of_two(n))
        return _mm256_mul_pd(x, _mm256_set1_pd(1.0 / n));
    return _mm256_div_pd(x, _mm256_set1_pd(n));
}

SHMRT_INLINE f64_vec f64_canonical(f64_vec x)
{
    f64_vec nan = _mm256_castsi256_pd(_mm256_set1_epi64x(0x7ff8000000000000));
    return _mm256_blendv_pd(x, nan, _mm256_cmp_pd(x, x, _CMP_UNORD_Q));
}

SHMRT_INLINE f64_vec f64_unpack(raw x)
{
    return _mm256_castsi256_pd(x);
}

SHMRT_INLINE raw f64_pack(f64_vec x)
{
    return _mm256_castpd_si256(x);
}

/* bf16: even and odd elements, so that nothing moves between lanes. fp16: first and second half. */
struct f32_pair {
    f32_vec a, b;
};

SHMRT_INLINE int pair_any_nan(struct f32_pair x)
{
    return _mm256_movemask_ps(_mm256_cmp_ps(x.a, x.b, _CMP_UNORD_Q)) != 0;
}

SHMRT_INLINE int pairs_any_nan(struct f32_pair a, struct f32_pair b, struct f32_pair c,
                               struct f32_pair d)
{
    f32_vec ab =
        _mm256_or_ps(_mm256_cmp_ps(a.a, a.b, _CMP_UNORD_Q), _mm256_cmp_ps(b.a, b.b, _CMP_UNORD_Q));
    f32_vec cd =
        _mm256_or_ps(_mm256_cmp_ps(c.a, c.b, _CMP_UNORD_Q), _mm256_cmp_ps(d.a, d.b, _CMP_UNORD_Q));
    return _mm256_movemask_ps(_mm256_or_ps(ab, cd)) != 0;
}

SHMRT_INLINE struct f32_pair bf16_unpack(raw x)
{
    return (struct f32_pair){
        _mm256_castsi256_ps(_mm256_slli_epi32(x, 16)),
        _mm256_castsi256_ps(_mm256_and_si256(x, _mm256_set1_epi32((int)0xffff0000))),
    };
}

/*
 * To nearest even, both halves of the register at once: the upper 16 bits are kept, and one is
 * added where the lower 16 are more than one half, or one half and the last bit kept is set. Less
 * one where that bit is clear, but not below 0, they then show it in their own top bit.
 */
SHMRT_INLINE raw bf16_pack(struct f32_pair x)
{
    raw a = _mm256_castps_si256(x.a), b = _mm256_castps_si256(x.b);
    raw kept = _mm256_blend_epi16(_mm256_srli_epi32(a, 16), b, 0xaa);
    raw lower = _mm256_blend_epi16(a, _mm256_slli_epi32(b, 16), 0xaa);
    raw even = _mm256_andnot_si256(kept, _mm256_set1_epi16(1));
    return _mm256_add_epi16(kept, _mm256_srli_epi16(_mm256_subs_epu16(lower, even), 15));
}

SHMRT_INLINE struct f32_pair fp16_unpack(raw x)
{
    return (struct f32_pair){
        _mm256_cvtph_ps(_mm256_castsi256_si128(x)),
        _mm256_cvtph_ps(_mm256_extracti128_si256(x, 1)),
    };
}

SHMRT_INLINE raw fp16_pack(struct f32_pair x)
{
    return _mm256_set_m128i(_mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT),
                            _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
}

/* From and to memory, a conversion needs no shuffle. */
SHMRT_INLINE struct f32_pair fp16_load(const char *at)
{
    return (struct f32_pair){
        _mm256_cvtph_ps(_mm_loadu_si128((const __m128i_u *)at)),
        _mm256_cvtph_ps(_mm_loadu_si128((const __m128i_u *)(at + RAW_BYTES / 2))),
    };
}

SHMRT_INLINE void fp16_store(char *at, struct f32_pair x)
{
    _mm_storeu_si128((__m128i_u *)at, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128((__m128i_u *)(at + RAW_BYTES / 2),
                     _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT));
}

SHMRT_INLINE struct f32_pair fp16_load_wide(const char *at)
{
    return (struct f32_pair){_mm256_loadu_ps((const float *)at),
                             _mm256_loadu_ps((const float *)(at + RAW_BYTES))};
}

SHMRT_INLINE void fp16_store_wide(char *at, struct f32_pair x)
{
    _mm256_storeu_ps((float *)at, x.a);
    _mm256_storeu_ps((float *)(at + RAW_BYTES), x.b);
}

SHMRT_INLINE struct f32_pair bf16_load_wide(const char *at)
{
    struct f32_pair x = fp16_load_wide(at);
    f32_vec low = _mm256_permute2f128_ps(x.a, x.b, 0x20);
    f32_vec high = _mm256_permute2f128_ps(x.a, x.b, 0x31);
    return (struct f32_pair){_mm256_shuffle_ps(low, high, 0x88),
                             _mm256_shuffle_ps(low, high, 0xdd)};
}

SHMRT_INLINE void bf16_store_wide(char *at, struct f32_pair x)
{
    f32_vec low = _mm256_unpacklo_ps(x.a, x.b);
    f32_vec high = _mm256_unpackhi_ps(x.a, x.b);
    fp16_store_wide(at, (struct f32_pair){_mm256_permute2f128_ps(low, high, 0x20),
                                          _mm256_permute2f128_ps(low, high, 0x31)});
}

#include "../vector_rung.h"

const struct shmrt_kernels shmrt_kernels_avx2 = {.name = "avx2", SHMRT_ALL_ROWS};
