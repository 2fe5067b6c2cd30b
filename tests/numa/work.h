/* SPDX-License-Identifier: Apache-2.0 */
/* work.h - what a rank in a guest does: collectives whose results are known exactly */
#ifndef NUMA_WORK_H
#define NUMA_WORK_H

#include "shmrt.h"

#include <stdbool.h>
#include <stddef.h>

enum { WORK_COUNT_MAX = 100003 }; /* elements of the longest vector */

/** Memory for one vector in and one out. */
struct work_buffers {
    char *in, *out;
};

/**
 * work_once - the collectives on vectors of several lengths; each element is compared
 * @shared: from shmrt_alloc(): tensors that need not be copied
 *
 * Return: true when all was right; else a line on standard error says what was not.
 */
bool work_once(struct shmrt_comm *comm, const struct work_buffers *private,
               const struct work_buffers *shared);

/**
 * work_round - some of it, and an all-reduce that makes @flag the logical or of all ranks' flags
 *
 * Return: as work_once().
 */
bool work_round(struct shmrt_comm *comm, const struct work_buffers *private,
                const struct work_buffers *shared, bool *flag);

#endif
