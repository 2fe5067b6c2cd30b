/* SPDX-License-Identifier: Apache-2.0 */
/* affinity.h - the CPUs that a thread may run on, however many the machine has (L0) */
#ifndef SHMRT_AFFINITY_H
#define SHMRT_AFFINITY_H

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SHMRT_CPUS_MOST = 65536 }; /* cpu_set_t has 1024 */

/** A set of CPUs; bit n of word n/64, which is the kernel's form on 64-bit machines. */
struct shmrt_cpus {
    uint64_t words[SHMRT_CPUS_MOST / 64];
};

static inline bool shmrt_cpus_has(const struct shmrt_cpus *cpus, size_t cpu)
{
    return CPU_ISSET_S(cpu, sizeof cpus->words, (const cpu_set_t *)cpus->words);
}

/** Those of the calling thread. Return: 0, or a negative errno of sched_getaffinity. */
static inline int shmrt_own_cpus(struct shmrt_cpus *out)
{
    *out = (struct shmrt_cpus){{0}};
    return sched_getaffinity(0, sizeof out->words, (cpu_set_t *)out->words) ? -errno : 0;
}

#endif
