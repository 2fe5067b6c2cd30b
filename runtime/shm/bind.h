/* SPDX-License-Identifier: Apache-2.0 */
/* bind.h - memory to NUMA nodes, and the kernel's word on where it is (L1) */
#ifndef SHMRT_BIND_H
#define SHMRT_BIND_H

#include "base/error.h"
#include "base/list.h"

/**
 * shmrt_bind_own_nodes - nodes of the CPUs the calling thread may run on, where it may take memory
 *
 * Return: 0, or -ENOSYS where the kernel has no NUMA interface or /sys does not show it.
 */
int shmrt_bind_own_nodes(struct shmrt_nodeset *out) SHMRT_WARN_UNUSED;

/**
 * shmrt_bind_memory - future pages of [base, base + bytes) come from @nodes only
 *
 * Has to come before the first page is taken: later, mbind leaves shared pages where they are.
 * Return: 0, or a negative errno of mbind (-EPERM in containers, -ENOSYS).
 */
int shmrt_bind_memory(void *base, size_t bytes,
                      const struct shmrt_nodeset *nodes) SHMRT_WARN_UNUSED;

/**
 * shmrt_bind_count - ask the kernel on which node each page of [base, base + bytes) is
 *
 * Return: 0, or a negative errno of move_pages; every page then counts as unknown.
 */
int shmrt_bind_count(const void *base, size_t bytes, const struct shmrt_nodeset *nodes,
                     struct shmrt_placement_proof *out) SHMRT_WARN_UNUSED;

#endif
