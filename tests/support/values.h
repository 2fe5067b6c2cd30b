/* SPDX-License-Identifier: Apache-2.0 */
/* values.h - test vectors, and all-reduce computed the plain way */
#ifndef TEST_VALUES_H
#define TEST_VALUES_H

#include "shmrt.h"

/**
 * values_fill - the term of @rank: reproducible, different for each (rank, seed, index)
 *
 * Floating-point values mix magnitudes, so that another order of summation shows.
 */
void values_fill(void *out, size_t first, size_t count, enum shmrt_dtype dtype, int rank,
                 unsigned seed);

/**
 * values_reduce - the terms of all ranks, elements @first .. @first + @count, combined in rank
 * order
 *
 * Written without the library's kernels: fp32 accumulation for 16-bit floats, one rounding.
 */
void values_reduce(void *out, size_t first, size_t count, enum shmrt_dtype dtype, enum shmrt_op op,
                   int size, unsigned seed);

/**
 * values_reduce_grouped - the same for ranks in groups: each group in rank order, and then the
 * groups' results, in the order of their first ranks
 * @groups: a number for each rank, the same for ranks of one group; NULL: one group
 */
void values_reduce_grouped(void *out, size_t first, size_t count, enum shmrt_dtype dtype,
                           enum shmrt_op op, int size, const int *groups, unsigned seed);

#endif
