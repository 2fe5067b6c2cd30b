/* SPDX-License-Identifier: Apache-2.0 */
/* apply.c - the only file of topo/ that changes anything: affinity and memory policy of the caller.
 * Runs between fork and exec too, so it takes no lock and frees what it allocates. */
#include "bitmap.h"

#include <errno.h>
#include <limits.h>
#include <numaif.h>
#include <sched.h>
#include <stdlib.h>

static int apply_cpus(const struct shmrt_bitmap *cpus)
{
    cpu_set_t *set = CPU_ALLOC(cpus->bits);
    size_t bytes = CPU_ALLOC_SIZE(cpus->bits);
    if (!set)
        return -ENOMEM;
    CPU_ZERO_S(bytes, set);
    for (size_t cpu = shmrt_bitmap_next(cpus, 0); cpu < cpus->bits;
         cpu = shmrt_bitmap_next(cpus, cpu + 1))
        CPU_SET_S(cpu, bytes, set);
    int rc = sched_setaffinity(0, bytes, set) == 0 ? 0 : -errno;
    CPU_FREE(set);
    return rc;
}

static int apply_memory(const struct shmrt_plan_rank *rank)
{
    enum { LONG_BITS = sizeof(unsigned long) * CHAR_BIT };
    if (rank->memory == SHMRT_MEMORY_LOCAL)
        return set_mempolicy(MPOL_DEFAULT, NULL, 0) == 0 ? 0 : -errno;
    const struct shmrt_bitmap *nodes = &rank->memory_nodes;
    unsigned long *mask = calloc(nodes->bits / LONG_BITS + 1, sizeof *mask);
    if (!mask)
        return -ENOMEM;
    for (size_t node = shmrt_bitmap_next(nodes, 0); node < nodes->bits;
         node = shmrt_bitmap_next(nodes, node + 1))
        mask[node / LONG_BITS] |= 1UL << (node % LONG_BITS);
    /* The kernel reads one bit less than it is told. */
    int rc = set_mempolicy(MPOL_BIND, mask, nodes->bits + 1) == 0 ? 0 : -errno;
    free(mask);
    return rc;
}

int shmrt_plan_apply(const struct shmrt_plan_rank *rank, struct shmrt_plan_applied *applied_out)
{
    applied_out->cpus = apply_cpus(&rank->cpus);
    applied_out->memory = apply_memory(rank);
    return applied_out->cpus ? applied_out->cpus : applied_out->memory;
}
