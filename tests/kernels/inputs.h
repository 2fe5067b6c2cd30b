/* SPDX-License-Identifier: Apache-2.0 */
/* inputs.h - vectors rich in what kernels get wrong */
#ifndef TEST_INPUTS_H
#define TEST_INPUTS_H

#include "shmrt.h"

/**
 * inputs_fill - @count elements, reproducible for each @seed
 *
 * Floating point: zeros, subnormals, extremes, infinities and NaNs (quiet, signalling, of several
 * payloads) of both signs; numbers near 1 with few bits, whose sums end in ties; any bits at all.
 * Integers: extremes, small numbers, any bits.
 */
void inputs_fill(void *out, size_t count, enum shmrt_dtype dtype, uint64_t seed);

/** @count elements of the same bits. */
void inputs_repeat(void *out, size_t count, enum shmrt_dtype dtype, uint64_t bits);

enum inputs_kind {
    INPUTS_ZERO,
    INPUTS_SUBNORMAL,
    INPUTS_NORMAL,
    INPUTS_INFINITE,
    INPUTS_NAN,
    INPUTS_KINDS
};

/** What kind of floating-point number element @i of @vector is. */
enum inputs_kind inputs_kind_of(const void *vector, size_t i, enum shmrt_dtype dtype);

/** The bits of the canonical NaN; 0 for integers. */
uint64_t inputs_canonical_nan(enum shmrt_dtype dtype);

/** Element @i as its bits. */
uint64_t inputs_bits(const void *vector, size_t i, enum shmrt_dtype dtype);

#endif
