/* SPDX-License-Identifier: Apache-2.0 */
/* limits.h - what the kernel withholds from this process, beyond CPUs and nodes (L1) */
#ifndef SHMRT_LIMITS_H
#define SHMRT_LIMITS_H

#include <stdbool.h>
#include <stddef.h>

/**
 * shmrt_cpu_quota_milli - the tightest CPU quota of this process's cgroup and those above it
 * @proc:   normally "/proc"
 * @cgroup: normally "/sys/fs/cgroup"; version 2 (cpu.max) or 1 (cpu.cfs_quota_us)
 *
 * Return: thousandths of a CPU, rounded down, but at least 1; 0: no quota.
 */
size_t shmrt_cpu_quota_milli(const char *proc, const char *cgroup);

/**
 * shmrt_is_memory_denied - whether the kernel refuses memory policies to the calling thread
 *
 * Asks by setting the policy that is in force already.
 */
bool shmrt_is_memory_denied(void);

#endif
