/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sse2.c - the rung for every x86-64 CPU: 16 bytes at a time.
 *
 * What SSE4.1 and F16C would do is put together from SSE2: a blend from AND and OR, fp16 as in
 * fp16_sse2.h. The ends of vectors go through a buffer.
 */
#include "../buffered_ends.h"
#include "fp16_sse2.h"

#include <string.h>

enum { RAW_BYTES = 16 };

typedef __m128i raw;
typedef __m128 f32_vec;
typedef __m128d f64_vec;

SHMRT_INLINE raw raw_load(const char *at)
{
    return _mm_loadu_si128((const __m128i_u *)at);
}

SHMRT_INLINE void raw_store(char *at, raw x)
{
    _mm_storeu_si128((__m128i_u *)at, x);
}

SHMRT_BUFFERED_RAW

/* min and max: as in avx2.c. */
SHMRT_INLINE f32_vec f32_combine(enum shmrt_op op, f32_vec x, f32_vec y)
{
    switch (op) {
    case SHMRT_MIN:
        return _mm_or_ps(_mm_min_ps(x, y), _mm_min_ps(y, x));
    case SHMRT_MAX:
        return _mm_or_ps(_mm_and_ps(_mm_max_ps(x, y), _mm_max_ps(y, x)), _mm_cmpunord_ps(x, y));
    case SHMRT_PROD:
        return _mm_mul_ps(x, y);
    default:
        return _mm_add_ps(x, y);
    }
}

SHMRT_INLINE f32_vec f32_divide(f32_vec x, int n)
{
    if (shmrt_is_power_of_two(n))
        return _mm_mul_ps(x, _mm_set1_ps(1.0f / (float)n));
    return _mm_div_ps(x, _mm_set1_ps((float)n));
}

SHMRT_INLINE f32_vec f32_canonical(f32_vec x)
{
    f32_vec unordered = _mm_cmpunord_ps(x, x);
    f32_vec nan = _mm_castsi128_ps(_mm_set1_epi32(0x7fc00000));
    return _mm_or_ps(_mm_and_ps(unordered, nan), _mm_andnot_ps(unordered, x));
}

SHMRT_INLINE f32_vec f32_unpack(raw x)
{
    return _mm_castsi128_ps(x);
}

SHMRT_INLINE raw f32_pack(f32_vec x)
{
    return _mm_castps_si128(x);
}

SHMRT_INLINE f64_vec f64_combine(enum shmrt_op op, f64_vec x, f64_vec y)
{
    switch (op) {
    case SHMRT_MIN:
        return _mm_or_pd(_mm_min_pd(x, y), _mm_min_pd(y, x));
    case SHMRT_MAX:
        return _mm_or_pd(_mm_and_pd(_mm_max_pd(x, y), _mm_max_pd(y, x)), _mm_cmpunord_pd(x, y));
    case SHMRT_PROD:
        return _mm_mul_pd(x, y);
    default:
        return _mm_add_pd(x, y);
    }
}

SHMRT_INLINE f64_vec f64_divide(f64_vec x, int n)
{
    if (shmrt_is_power_of_two(n))
        return _mm_mul_pd(x, _mm_set1_pd(1.0 / n));
    return _mm_div_pd(x, _mm_set1_pd(n));
}

SHMRT_INLINE f64_vec f64_canonical(f64_vec x)
{
    f64_vec unordered = _mm_cmpunord_pd(x, x);
    f64_vec nan = _mm_castsi128_pd(_mm_set1_epi64x(0x7ff8000000000000));
    return _mm_or_pd(_mm_and_pd(unordered, nan), _mm_andnot_pd(unordered, x));
}

SHMRT_INLINE f64_vec f64_unpack(raw x)
{
    return _mm_castsi128_pd(x);
}

SHMRT_INLINE raw f64_pack(f64_vec x)
{
    return _mm_castpd_si128(x);
}

/* Pairs. bf16: even and odd elements, so that nothing is packed. fp16: first and second half. */
SHMRT_INLINE int pair_any_nan(struct f32_pair x)
{
    return _mm_movemask_ps(_mm_cmpunord_ps(x.a, x.b)) != 0;
}

SHMRT_INLINE int pairs_any_nan(struct f32_pair a, struct f32_pair b, struct f32_pair c,
                               struct f32_pair d)
{
    f32_vec ab = _mm_or_ps(_mm_cmpunord_ps(a.a, a.b), _mm_cmpunord_ps(b.a, b.b));
    f32_vec cd = _mm_or_ps(_mm_cmpunord_ps(c.a, c.b), _mm_cmpunord_ps(d.a, d.b));
    return _mm_movemask_ps(_mm_or_ps(ab, cd)) != 0;
}

/* The lower half of each 32-bit lane from @a, the upper one from @b. */
SHMRT_INLINE raw lower_and_upper(raw a, raw b)
{
    raw upper = _mm_set1_epi32((int)0xffff0000);
    return _mm_or_si128(_mm_andnot_si128(upper, a), _mm_and_si128(upper, b));
}

SHMRT_INLINE struct f32_pair bf16_unpack(raw x)
{
    return (struct f32_pair){
        _mm_castsi128_ps(_mm_slli_epi32(x, 16)),
        _mm_castsi128_ps(_mm_and_si128(x, _mm_set1_epi32((int)0xffff0000))),
    };
}

/* To nearest even, both halves of the register at once: as in avx2.c. */
SHMRT_INLINE raw bf16_pack(struct f32_pair x)
{
    raw a = _mm_castps_si128(x.a), b = _mm_castps_si128(x.b);
    raw kept = lower_and_upper(_mm_srli_epi32(a, 16), b);
    raw lower = lower_and_upper(a, _mm_slli_epi32(b, 16));
    raw even = _mm_andnot_si128(kept, _mm_set1_epi16(1));
    return _mm_add_epi16(kept, _mm_srli_epi16(_mm_subs_epu16(lower, even), 15));
}

SHMRT_INLINE struct f32_pair fp16_unpack(raw x)
{
    return fp16_widen_eight(x);
}

SHMRT_INLINE raw fp16_pack(struct f32_pair x)
{
    return fp16_round_eight(x);
}

SHMRT_INLINE struct f32_pair fp16_load(const char *at)
{
    return fp16_unpack(raw_load(at));
}

SHMRT_INLINE void fp16_store(char *at, struct f32_pair x)
{
    raw_store(at, fp16_pack(x));
}

SHMRT_INLINE struct f32_pair fp16_load_wide(const char *at)
{
    return (struct f32_pair){_mm_loadu_ps((const float *)at),
                             _mm_loadu_ps((const float *)(at + RAW_BYTES))};
}

SHMRT_INLINE void fp16_store_wide(char *at, struct f32_pair x)
{
    _mm_storeu_ps((float *)at, x.a);
    _mm_storeu_ps((float *)(at + RAW_BYTES), x.b);
}

SHMRT_INLINE struct f32_pair bf16_load_wide(const char *at)
{
    struct f32_pair x = fp16_load_wide(at);
    return (struct f32_pair){_mm_shuffle_ps(x.a, x.b, 0x88), _mm_shuffle_ps(x.a, x.b, 0xdd)};
}

SHMRT_INLINE void bf16_store_wide(char *at, struct f32_pair x)
{
    fp16_store_wide(at, (struct f32_pair){_mm_unpacklo_ps(x.a, x.b), _mm_unpackhi_ps(x.a, x.b)});
}

#include "../vector_rung.h"

const struct shmrt_kernels shmrt_kernels_sse2 = {.name = "sse2", SHMRT_ALL_ROWS};
