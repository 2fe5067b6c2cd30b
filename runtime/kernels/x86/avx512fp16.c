/* SPDX-License-Identifier: Apache-2.0 */
/*
 * avx512fp16.c - what AVX512-FP16 does with the reference's bits: fp16 sums and products of two
 * terms, fp16 min and max of any number.
 *
 * The reference rounds twice, to fp32 and then to fp16. A product of two fp16 numbers is exact in
 * fp32. A sum may not be, but fp32's 24 bits are twice fp16's 11 and two more, and then the first
 * rounding never changes the second. So one rounding, as here, gives the same bits. With three
 * terms it does not, and a mean can overflow on the way: these stay with the rung below.
 *
 * MXCSR rules the rounding; the flushing of subnormals, which it rules elsewhere, does not exist
 * for fp16. Sums of two vectors in L1 take 0.28 of the time by way of fp32
 * (Xeon of the Sapphire or Granite Rapids kind), min and max of any number 0.26 to 0.4.
 */
#include "../rungs.h"

#include <immintrin.h>

enum { RAW_BYTES = 64 };

typedef __m512i raw;
typedef __m512h fp16_vec;

SHMRT_INLINE fp16_vec fp16_load(const char *at)
{
    return _mm512_castsi512_ph(_mm512_loadu_si512(at));
}

SHMRT_INLINE void fp16_store(char *at, fp16_vec x)
{
    _mm512_storeu_si512(at, _mm512_castph_si512(x));
}

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

SHMRT_INLINE fp16_vec fp16_unpack(raw x)
{
    return _mm512_castsi512_ph(x);
}

SHMRT_INLINE raw fp16_pack(fp16_vec x)
{
    return _mm512_castph_si512(x);
}

SHMRT_INLINE fp16_vec fp16_or(fp16_vec x, fp16_vec y)
{
    return _mm512_castsi512_ph(_mm512_or_si512(_mm512_castph_si512(x), _mm512_castph_si512(y)));
}

/* As for fp32 in avx2.c; a NaN gets the sign and bits of both terms, so that it stays one. */
SHMRT_INLINE fp16_vec fp16_greater(fp16_vec x, fp16_vec y)
{
    raw both = _mm512_and_si512(_mm512_castph_si512(_mm512_max_ph(x, y)),
                                _mm512_castph_si512(_mm512_max_ph(y, x)));
    return _mm512_mask_blend_ph(_mm512_cmp_ph_mask(x, y, _CMP_UNORD_Q), _mm512_castsi512_ph(both),
                                fp16_or(x, y));
}

SHMRT_INLINE fp16_vec fp16_combine(enum shmrt_op op, fp16_vec x, fp16_vec y)
{
    switch (op) {
    case SHMRT_MIN:
        return fp16_or(_mm512_min_ph(x, y), _mm512_min_ph(y, x));
    case SHMRT_MAX:
        return fp16_greater(x, y);
    case SHMRT_PROD:
        return _mm512_mul_ph(x, y);
    default:
        return _mm512_add_ph(x, y);
    }
}

SHMRT_INLINE fp16_vec fp16_finish(enum shmrt_op op, fp16_vec x, int ranks)
{
    (void)op;
    (void)ranks;
    fp16_vec nan = _mm512_castsi512_ph(_mm512_set1_epi16(0x7e00));
    return _mm512_mask_blend_ph(_mm512_cmp_ph_mask(x, x, _CMP_UNORD_Q), x, nan);
}

SHMRT_INLINE void fp16_finish_four(enum shmrt_op op, fp16_vec *a, fp16_vec *b, fp16_vec *c,
                                   fp16_vec *d, int ranks)
{
    *a = fp16_finish(op, *a, ranks);
    *b = fp16_finish(op, *b, ranks);
    *c = fp16_finish(op, *c, ranks);
    *d = fp16_finish(op, *d, ranks);
}

#define TYPE       fp16
#define TYPE_BYTES 2
#include "../vector_reduce.h"

SHMRT_ENTRY(fp16, min, SHMRT_MIN)
SHMRT_ENTRY(fp16, max, SHMRT_MAX)

SHMRT_INLINE void fp16_two(enum shmrt_op op, void *out, const void *const *in, int n, int ranks,
                           size_t count)
{
    if (n == 2)
        fp16_reduce(op, out, in, 2, ranks, count);
    else
        shmrt_kernels_avx512.reduce[SHMRT_FLOAT16][op](out, in, n, ranks, count);
}

SHMRT_ENTRY_OF(two, fp16, sum, SHMRT_SUM)
SHMRT_ENTRY_OF(two, fp16, prod, SHMRT_PROD)

const struct shmrt_kernels shmrt_kernels_avx512fp16 = {
    .name = "avx512fp16",
    .reduce = {[SHMRT_FLOAT16] = {[SHMRT_SUM] = fp16_two_sum,
                                  [SHMRT_MIN] = fp16_reduce_min,
                                  [SHMRT_MAX] = fp16_reduce_max,
                                  [SHMRT_PROD] = fp16_two_prod}},
};
