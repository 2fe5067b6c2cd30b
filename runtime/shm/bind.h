/* SPDX-License-Identifier: Apache-2.0 */
/* bind.h - memory to NUMA nodes (L1); where it then is, proof.h tells */
#ifndef SHMRT_BIND_H
#define SHMRT_BIND_H

#include "base/error.h"
#include "base/list.h"

/**
 * shmrt_bind_own_nodes - nodes of the CPUs the calling thread may run on, where it may take memory
 *
 * Return: 0, -ENOSYS (the kernel has no NUMA nodes to choose from), -ENOENT (/sys does not show
 * them), -ENODEV (none of them has both), or a negative errno of sched_getaffinity.
 */
int shmrt_bind_own_nodes(struct shmrt_nodeset *out) SHMRT_WARN_UNUSED;

/**
 * shmrt_bind_nearest_node - for -ENODEV of shmrt_bind_own_nodes: the node next to those of the CPUs
 * where memory may be taken; one without CPUs only if there is no other
 *
 * Return: as shmrt_bind_own_nodes().
 */
int shmrt_bind_nearest_node(struct shmrt_nodeset *out) SHMRT_WARN_UNUSED;

/**
 * shmrt_bind_memory - future pages of [base, base + bytes) come from @nodes only
 *
 * Has to come before the first page is taken: later, mbind leaves shared pages where they are.
 * Return: 0, or a negative errno of mbind (-EPERM in containers, -ENOSYS).
 */
int shmrt_bind_memory(void *base, size_t bytes,
                      const struct shmrt_nodeset *nodes) SHMRT_WARN_UNUSED;

#endif
