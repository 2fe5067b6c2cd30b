/* SPDX-License-Identifier: Apache-2.0 */
/*
 * neonfp16.c - what NEON's fp16 arithmetic does with the reference's bits: sums and products of two
 * terms, min and max of any number.
 *
 * The reference rounds twice, to fp32 and then to fp16. A product of two fp16 numbers is exact in
 * fp32, and a sum's first rounding never changes the second: avx512fp16.c says why. So one
 * rounding, as here, gives the same bits; with three terms, or a mean, it does not. FPCR's FZ16,
 * which would flush subnormals, is off. The way through fp32 takes five times as many cycles in the
 * tables of the Neoverse N1, which converts four elements in two cycles.
 */
#include "neon.h"

typedef float16x8_t f16_vec;

SHMRT_INLINE f16_vec f16_unpack(raw x)
{
    return vreinterpretq_f16_u8(x);
}

SHMRT_INLINE raw f16_pack(f16_vec x)
{
    return vreinterpretq_u8_f16(x);
}

SHMRT_INLINE f16_vec f16_load(const char *at)
{
    return f16_unpack(raw_load(at));
}

SHMRT_INLINE void f16_store(char *at, f16_vec x)
{
    raw_store(at, f16_pack(x));
}

SHMRT_INLINE f16_vec f16_combine(enum shmrt_op op, f16_vec x, f16_vec y)
{
    switch (op) {
    case SHMRT_MIN:
        return vminq_f16(x, y);
    case SHMRT_MAX:
        return vmaxq_f16(x, y);
    case SHMRT_PROD:
        return vmulq_f16(x, y);
    default:
        return vaddq_f16(x, y);
    }
}

SHMRT_INLINE f16_vec f16_finish(enum shmrt_op op, f16_vec x, int ranks)
{
    (void)op;
    (void)ranks;
    f16_vec nan = vreinterpretq_f16_u16(vdupq_n_u16(0x7e00));
    return vbslq_f16(vceqq_f16(x, x), x, nan);
}

SHMRT_INLINE void f16_finish_four(enum shmrt_op op, f16_vec *a, f16_vec *b, f16_vec *c, f16_vec *d,
                                  int ranks)
{
    *a = f16_finish(op, *a, ranks);
    *b = f16_finish(op, *b, ranks);
    *c = f16_finish(op, *c, ranks);
    *d = f16_finish(op, *d, ranks);
}

#define TYPE       f16
#define TYPE_BYTES 2
#include "../vector_reduce.h"

SHMRT_ENTRY(f16, min, SHMRT_MIN)
SHMRT_ENTRY(f16, max, SHMRT_MAX)

SHMRT_INLINE void fp16_reduce(enum shmrt_op op, void *out, const void *const *in, int n, int ranks,
                              size_t count)
{
    if (n <= 2)
        f16_reduce(op, out, in, n, ranks, count);
    else
        shmrt_kernels_neon.reduce[SHMRT_FLOAT16][op](out, in, n, ranks, count);
}

SHMRT_ENTRY(fp16, sum, SHMRT_SUM)
SHMRT_ENTRY(fp16, prod, SHMRT_PROD)

const struct shmrt_kernels shmrt_kernels_neonfp16 = {
    .name = "neonfp16",
    .reduce = {[SHMRT_FLOAT16] = {[SHMRT_SUM] = fp16_reduce_sum,
                                  [SHMRT_MIN] = f16_reduce_min,
                                  [SHMRT_MAX] = f16_reduce_max,
                                  [SHMRT_PROD] = fp16_reduce_prod}},
};
