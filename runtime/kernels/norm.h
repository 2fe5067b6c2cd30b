/* SPDX-License-Identifier: Apache-2.0 */
/*
 * norm.h - what the kernels of a norm share: the order of summation, and a row's places (L1)
 *
 * A sum over a row is kept in SHMRT_NORM_PARTIALS partial sums: element j goes to partial
 * j mod 64, in ascending order of j, beginning with +0. Then the upper half is added to the lower,
 * until one is left. The order is part of the result: every rung follows it, however wide it is, so
 * that all ranks get the same bits.
 */
#ifndef SHMRT_NORM_H
#define SHMRT_NORM_H

#include "rungs.h"

#include <math.h>

enum { SHMRT_NORM_PARTIALS = 64 };

/* Row tables of a rung. */
extern const shmrt_norm_fn shmrt_norms_reference[SHMRT_DTYPE_COUNT];
extern const shmrt_norm_fn shmrt_norms_sse2[SHMRT_DTYPE_COUNT];
extern const shmrt_norm_fn shmrt_norms_avx2[SHMRT_DTYPE_COUNT];
extern const shmrt_norm_fn shmrt_norms_avx512[SHMRT_DTYPE_COUNT];
extern const shmrt_norm_fn shmrt_norms_neon[SHMRT_DTYPE_COUNT];
extern const shmrt_norm_fn shmrt_norms_neonbf16[SHMRT_DTYPE_COUNT];
extern const shmrt_norm_fn shmrt_norms_rvv[SHMRT_DTYPE_COUNT];

SHMRT_INLINE float shmrt_norm_total(float partial[SHMRT_NORM_PARTIALS])
{
    for (int half = SHMRT_NORM_PARTIALS / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            partial[i] += partial[i + half];
    return partial[0];
}

/* What a row is multiplied by, from the sum of its squares or squared deviations. */
SHMRT_INLINE float shmrt_norm_scale(float squares, size_t columns, double epsilon)
{
    return 1.0f / sqrtf(squares / (float)columns + (float)epsilon);
}

/** One row of struct shmrt_norm_args; residual and bias may be NULL. */
struct shmrt_norm_row {
    const char *in;
    const char *residual;
    char *sum_out;
    char *out;
};

SHMRT_INLINE struct shmrt_norm_row shmrt_norm_row_at(const struct shmrt_norm_args *args, size_t row,
                                                     size_t element_bytes)
{
    size_t at = row * args->columns * element_bytes;
    return (struct shmrt_norm_row){
        .in = (const char *)args->in + at,
        .residual = args->residual ? (const char *)args->residual + at : NULL,
        .sum_out = (char *)args->sum_out + at,
        .out = (char *)args->out + at,
    };
}

#endif
