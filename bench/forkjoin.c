/* SPDX-License-Identifier: Apache-2.0 */
/* forkjoin.c - an OpenMP region of the lanes that does nothing: the price of using threads. */
#include "bench.h"

#include <errno.h>

/* An empty region would be dropped. */
static void be_there(uint64_t *lanes)
{
    __atomic_fetch_add(lanes, 1, __ATOMIC_RELAXED);
}

int bench_forkjoin_run(struct bench_rank *rank, int calls)
{
    int lanes = shmrt_comm_lanes(rank->comm);
    for (int i = 0; i < calls; i++) {
#pragma omp parallel num_threads(lanes)
        __asm__ __volatile__("" : : : "memory");
    }
    (void)lanes; /* without OpenMP */
    return 0;
}

int bench_forkjoin_verify(struct bench_rank *rank)
{
    int lanes = shmrt_comm_lanes(rank->comm);
    uint64_t seen = 0;
#pragma omp parallel num_threads(lanes)
    be_there(&seen);
    return seen == (uint64_t)lanes ? 0 : -EBADMSG;
}
