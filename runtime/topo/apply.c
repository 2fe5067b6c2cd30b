/* SPDX-License-Identifier: Apache-2.0 */
/* apply.c - the only file of topo/ that changes anything: affinity and memory policy of the caller.
 * Runs between fork and exec too, so it takes no lock and frees what it allocates. */
#include "bitmap.h"

#include "base/mempolicy.h"

#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

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

/* MPOL_PREFERRED_MANY of Linux 5.15, for older headers. */
enum { PREFERRED_MANY = 5 };

enum { LONG_BITS = sizeof(unsigned long) * CHAR_BIT };

/* The kernel reads one bit less than it is told. */
static int set_policy(int mode, const unsigned long *mask, size_t bits)
{
    return shmrt_sys_set_mempolicy(mode, mask, bits + 1);
}

/* An older kernel prefers one node only: that of the segment, the nearest. */
static int prefer(const struct shmrt_plan_rank *rank, unsigned long *mask)
{
    size_t bits = rank->memory_nodes.bits;
    int rc = set_policy(PREFERRED_MANY, mask, bits);
    if (rc != -EINVAL || !shmrt_bitmap_has(&rank->memory_nodes, rank->segment_node))
        return rc;
    memset(mask, 0, (bits / LONG_BITS + 1) * sizeof *mask);
    mask[rank->segment_node / LONG_BITS] = 1UL << (rank->segment_node % LONG_BITS);
    return set_policy(MPOL_PREFERRED, mask, bits);
}

static int apply_memory(const struct shmrt_plan_rank *rank)
{
    if (rank->memory == SHMRT_MEMORY_LOCAL)
        return shmrt_sys_set_mempolicy(MPOL_DEFAULT, NULL, 0);
    const struct shmrt_bitmap *nodes = &rank->memory_nodes;
    unsigned long *mask = calloc(nodes->bits / LONG_BITS + 1, sizeof *mask);
    if (!mask)
        return -ENOMEM;
    for (size_t node = shmrt_bitmap_next(nodes, 0); node < nodes->bits;
         node = shmrt_bitmap_next(nodes, node + 1))
        mask[node / LONG_BITS] |= 1UL << (node % LONG_BITS);
    int rc = rank->memory == SHMRT_MEMORY_PREFER ? prefer(rank, mask)
             : rank->memory == SHMRT_MEMORY_INTERLEAVE
                 ? set_policy(MPOL_INTERLEAVE, mask, nodes->bits)
                 : set_policy(MPOL_BIND, mask, nodes->bits);
    free(mask);
    return rc;
}

int shmrt_plan_apply(const struct shmrt_plan_rank *rank, struct shmrt_plan_applied *applied_out)
{
    applied_out->cpus = apply_cpus(&rank->cpus);
    applied_out->memory = apply_memory(rank);
    return applied_out->cpus ? applied_out->cpus : applied_out->memory;
}
