/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpu.c - asks the kernel, by its hardware capabilities, what an aarch64 CPU has.
 *
 * The kernel reports only what all cores have and what it saves for each thread.
 */
#include "../cpu.h"

#include <sys/auxv.h>

/* Older headers have no names for all of them. */
enum {
    HWCAP_HAS_ASIMD = 1 << 1,
    HWCAP_HAS_ASIMDHP = 1 << 10,
    HWCAP_HAS_SVE = 1 << 22,
    HWCAP2_HAS_SVEBF16 = 1 << 12,
    HWCAP2_HAS_BF16 = 1 << 14,
};

unsigned int shmrt_cpu_flags(void)
{
    unsigned long caps = getauxval(AT_HWCAP), more = getauxval(AT_HWCAP2);
    unsigned int flags = 0;
    if (caps & HWCAP_HAS_ASIMD)
        flags |= SHMRT_CPU_NEON;
    if (caps & HWCAP_HAS_ASIMDHP)
        flags |= SHMRT_CPU_NEONFP16;
    if (more & HWCAP2_HAS_BF16)
        flags |= SHMRT_CPU_NEONBF16;
    if (caps & HWCAP_HAS_SVE)
        flags |= SHMRT_CPU_SVE;
    if (more & HWCAP2_HAS_SVEBF16)
        flags |= SHMRT_CPU_SVEBF16;
    return flags;
}
