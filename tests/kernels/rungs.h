/* SPDX-License-Identifier: Apache-2.0 */
/* rungs.h - the rungs this machine can test */
#ifndef TEST_RUNGS_H
#define TEST_RUNGS_H

#include "kernels/kernels.h"

enum { RUNGS_MAX = 8 };

struct rungs {
    int count;
    struct shmrt_kernels kernels[RUNGS_MAX]; /* the reference first */
};

/** All rungs that run here. */
struct rungs rungs_here(void);

/** One line: which rungs are tested, and which are not and why. */
void rungs_print(const struct rungs *rungs);

#endif
