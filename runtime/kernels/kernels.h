/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels.h - the tables of reduce kernels and of norms (L1)
 *
 * A kernel combines n vectors element by element, in the order given, and writes the result once:
 *   out[i] = round(in[0][i] op in[1][i] op ... op in[n-1][i])
 * so that the bits depend on nothing but the terms and their order. reference.c defines what is
 * right; every rung must equal it bit for bit, for any count, alignment and n.
 *
 * Terms of several groups are combined within each group first, and then the groups' partial
 * results. Of bf16 and fp16, partial results are fp32, so that there is still one rounding.
 */
#ifndef SHMRT_KERNELS_H
#define SHMRT_KERNELS_H

#include "shmrt.h"

#include <stdbool.h>

/**
 * shmrt_reduce_fn - combine n vectors
 * @out:   count elements, any alignment; may be equal to one of in[], never partly overlapping
 * @in:    n pointers to count elements each, any alignment
 * @n:     1 .. SHMRT_MAX_RANKS; with n == 1 the result is in[0] with NaNs made canonical
 * @ranks: what an average divides the sum by: n, or more where in[] are partial results
 * @count: elements; 0 is allowed
 *
 * The caller has put the thread in round-to-nearest without FTZ/DAZ (shmrt_kernels_reduce_to does).
 */
typedef void (*shmrt_reduce_fn)(void *out, const void *const *in, int n, int ranks, size_t count);

/**
 * shmrt_norm_fn - add the residual to @args->in, which is reduced already, and norm each row
 *
 * Otherwise as shmrt_allreduce_norm() says; @args->in may equal @args->out too. The caller has put
 * the thread in the environment above (shmrt_kernels_norm does).
 */
typedef void (*shmrt_norm_fn)(const struct shmrt_norm_args *args);

/** One rung of the ladder. An entry that is NULL is taken from the rung below when chosen. */
struct shmrt_kernels {
    const char *name; /* "reference", "avx2"; dispatch.c has all */
    shmrt_reduce_fn reduce[SHMRT_DTYPE_COUNT][SHMRT_OP_COUNT];
    /* bf16 and fp16 to fp32, not rounded: sum and prod. And from there back, rounded: these and
     * avg. NULL for all others, whose partial results are of their own type. */
    shmrt_reduce_fn partial[SHMRT_DTYPE_COUNT][SHMRT_OP_COUNT];
    shmrt_reduce_fn total[SHMRT_DTYPE_COUNT][SHMRT_OP_COUNT];
    shmrt_norm_fn norm[SHMRT_DTYPE_COUNT]; /* fp32, bf16 and fp16; NULL for all others */
};

/**
 * shmrt_kernels_choose - the best rung this CPU runs, or the one asked for
 * @forced: a rung's name, or NULL or "auto" for the best
 * @out:    filled completely: no entry is NULL but those said to be, and avg over integers
 *
 * Return: 0, -EINVAL (no such rung) or -ENOTSUP (this CPU or build lacks it).
 */
int shmrt_kernels_choose(const char *forced, struct shmrt_kernels *out) SHMRT_WARN_UNUSED;

/** Name of rung i, from the slowest up; NULL past the last one. For tests and messages. */
const char *shmrt_kernels_rung(int i);

/** Groups of terms that follow one another: those of group g are begin[g] .. begin[g + 1] - 1. */
struct shmrt_grouping {
    int groups;       /* 1 .. SHMRT_MAX_RANKS, none of them empty */
    const int *begin; /* groups + 1 */
};

/**
 * shmrt_kernels_reduce_to - combine n vectors, and write the result to several
 * @outs:     outs_n pointers to count elements each, any alignment, no two of them overlapping;
 * each may be equal to one of in[], never partly overlapping one
 * @outs_n:   1 .. SHMRT_MAX_RANKS
 * @grouping: NULL: all terms are one group
 *
 * Like the two below it runs in the floating-point environment that kernels need: round-to-nearest,
 * no FTZ or DAZ, exceptions masked; the thread's own settings are restored.
 */
void shmrt_kernels_reduce_to(const struct shmrt_kernels *kernels, enum shmrt_dtype dtype,
                             enum shmrt_op op, void *const *outs, int outs_n, const void *const *in,
                             const struct shmrt_grouping *grouping, int n, size_t count);

/** Whether the order in which terms are combined shows in the result. */
bool shmrt_kernels_order_matters(enum shmrt_dtype dtype, enum shmrt_op op);

/** Bytes of an element of a partial result. */
size_t shmrt_kernels_partial_bytes(enum shmrt_dtype dtype, enum shmrt_op op);

/** shmrt_kernels_partial - one group's partial result, of avg the sum; @out as of shmrt_reduce_fn
 */
void shmrt_kernels_partial(const struct shmrt_kernels *kernels, enum shmrt_dtype dtype,
                           enum shmrt_op op, void *out, const void *const *in, int n, size_t count);

/**
 * shmrt_kernels_total - combine the partial results of n groups, in the order given
 * @outs:  as of shmrt_kernels_reduce_to; may be equal to one of in[] where elements are as large
 * @ranks: in all groups together
 */
void shmrt_kernels_total(const struct shmrt_kernels *kernels, enum shmrt_dtype dtype,
                         enum shmrt_op op, void *const *outs, int outs_n, const void *const *in,
                         int n, int ranks, size_t count);

/** shmrt_kernels_norm - a norm, for @rows rows of @args, from row @first on */
void shmrt_kernels_norm(const struct shmrt_kernels *kernels, const struct shmrt_norm_args *args,
                        size_t first, size_t rows);

#endif
