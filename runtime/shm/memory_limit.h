/* SPDX-License-Identifier: Apache-2.0 */
/* memory_limit.h - how much memory this process may still take (L1) */
#ifndef SHMRT_MEMORY_LIMIT_H
#define SHMRT_MEMORY_LIMIT_H

#include <stdint.h>

/**
 * shmrt_memory_headroom - bytes that can be taken before the machine or a cgroup runs out
 * @proc, @cgroup: mount points, "/proc" and "/sys/fs/cgroup" but in tests
 * @limit_out:     NULL, or receives a word for the tightest limit
 *
 * In a cgroup a shortage is an OOM kill, not ENOSPC, so it has to be looked at beforehand. Reads
 * MemAvailable, and limit less use of this process's cgroup and its parents (v2 and v1); page
 * cache that could be dropped counts as free. UINT64_MAX where nothing can be read.
 */
uint64_t shmrt_memory_headroom(const char *proc, const char *cgroup, const char **limit_out);

#endif
