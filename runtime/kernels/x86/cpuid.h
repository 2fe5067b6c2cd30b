/* SPDX-License-Identifier: Apache-2.0 */
/* cpuid.h - what an x86-64 CPU and its operating system say, apart from asking them (L1) */
#ifndef SHMRT_X86_CPUID_H
#define SHMRT_X86_CPUID_H

#include <stdint.h>

struct shmrt_cpuid {
    uint32_t leaf1_ecx;
    uint32_t leaf7_ebx; /* 0 where there is no leaf 7 */
    uint32_t leaf7_edx;
    uint64_t saved; /* XCR0: the registers the operating system saves; 0 where it can't say */
};

/** The mask of SHMRT_CPU_* that follows from these words. */
unsigned int shmrt_cpu_flags_of(const struct shmrt_cpuid *cpuid);

#endif
