/* SPDX-License-Identifier: Apache-2.0 */
/* rungs.h - the rungs this machine can test */
#ifndef TEST_RUNGS_H
#define TEST_RUNGS_H

#include "kernels/kernels.h"

enum { RUNGS_MAX = 16 };

struct rungs {
    int count;
    unsigned int stride; /* SHMRT_TEST_STRIDE: each so many-th trial is made; 1 */
    unsigned int trials;
    struct shmrt_kernels kernels[RUNGS_MAX]; /* the reference first */
};

/** All rungs that run here; of the dtype that SHMRT_TEST_WITHOUT names, only the reference. */
struct rungs rungs_here(void);

/** Whether a sweep leaves out its next trial, for an emulated CPU that would take an hour for all.
 */
bool rungs_skip_trial(struct rungs *rungs);

/** One line: which rungs are tested, and which are not and why. */
void rungs_print(const struct rungs *rungs);

/** Combines n vectors into one. */
void rungs_reduce(const struct shmrt_kernels *kernels, enum shmrt_dtype dtype, enum shmrt_op op,
                  void *out, const void *const *in, int n, size_t count);

#endif
