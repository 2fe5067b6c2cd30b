/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpu.c - asks cpuid what the CPU has, and xgetbv which registers the operating system saves.
 *
 * Both must agree: an instruction set whose registers are not saved faults at its first use.
 */
#include "../cpu.h"

#include "cpuid.h"

#include <cpuid.h>
#include <stdbool.h>

enum { AVX512FP16_EDX = 1 << 23 }; /* of leaf 7; older compilers have no name for it */

enum {
    XCR0_YMM = 0x06, /* xmm and the upper halves of ymm */
    XCR0_ZMM = 0xe6, /* these, mask registers, and both parts of zmm */
};

static uint64_t saved_registers(void)
{
    uint32_t low, high;
    __asm__ __volatile__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static bool has_all(uint64_t word, uint64_t bits)
{
    return (word & bits) == bits;
}

unsigned int shmrt_cpu_flags_of(const struct shmrt_cpuid *cpuid)
{
    unsigned int flags = SHMRT_CPU_SSE2;
    if (!has_all(cpuid->leaf1_ecx, bit_OSXSAVE | bit_AVX | bit_F16C) ||
        !has_all(cpuid->saved, XCR0_YMM))
        return flags;
    if (has_all(cpuid->leaf7_ebx, bit_AVX2))
        flags |= SHMRT_CPU_AVX2;
    if (!has_all(cpuid->saved, XCR0_ZMM))
        return flags;
    if (has_all(cpuid->leaf7_ebx, bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ))
        flags |= SHMRT_CPU_AVX512;
    if (has_all(cpuid->leaf7_edx, AVX512FP16_EDX))
        flags |= SHMRT_CPU_AVX512FP16;
    return flags;
}

unsigned int shmrt_cpu_flags(void)
{
    struct shmrt_cpuid cpuid = {0};
    unsigned int eax, ebx, ecx, edx;
    if (__get_cpuid(1, &eax, &ebx, &ecx, &edx))
        cpuid.leaf1_ecx = ecx;
    if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) {
        cpuid.leaf7_ebx = ebx;
        cpuid.leaf7_edx = edx;
    }
    if (has_all(cpuid.leaf1_ecx, bit_OSXSAVE)) /* without it xgetbv faults */
        cpuid.saved = saved_registers();
    return shmrt_cpu_flags_of(&cpuid);
}
