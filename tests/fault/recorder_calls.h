/* SPDX-License-Identifier: Apache-2.0 */
/* recorder_calls.h - mixed calls that follow from a seed, and what a parent knows of who made them
 */
#ifndef TEST_RECORDER_CALLS_H
#define TEST_RECORDER_CALLS_H

#include "ranks.h"

#include <stdatomic.h>
#include <stdint.h>

enum { VICTIM = 1, RANKS = 3, LARGE = 50000, KILLS = 8 };

/* What the parent knows when the ranks are gone: shared memory of its own. */
struct truth {
    _Atomic uint64_t entered; /* calls that the victim has begun, from 1: stored before */
    _Atomic uint64_t done;    /* and ended: stored after */
    char line[RANKS][512];    /* what each survivor's report says of the victim */
    char log[RANKS][512];
    unsigned seed;
};

static const char *const recorder_names[] = {"all-reduce", "broadcast", "barrier", "all-gather",
                                             "reduce"};

/* Call @number of a run: the same on all ranks, of any kind and size. */
static inline unsigned kind_of(unsigned seed, uint64_t number)
{
    return (unsigned)((number * 2654435761u + seed) >> 7) % 5;
}

static inline int do_call(struct shmrt_comm *comm, const struct truth *truth, uint64_t number,
                          float *data)
{
    size_t count = 1 + (number * 7919 + truth->seed) % (number % 4 ? 900 : LARGE / RANKS);
    switch (kind_of(truth->seed, number)) {
    case 0:
        return shmrt_allreduce(comm, data, data, count, SHMRT_FLOAT32, SHMRT_SUM);
    case 1:
        return shmrt_broadcast(comm, data, count, SHMRT_FLOAT32, (int)(number % RANKS));
    case 2:
        return shmrt_barrier(comm);
    case 3:
        return shmrt_allgather(comm, data, data + LARGE, count, SHMRT_FLOAT32);
    default:
        return shmrt_reduce(comm, data, data, count, SHMRT_FLOAT32, SHMRT_SUM,
                            (int)(number % RANKS));
    }
}

#endif
