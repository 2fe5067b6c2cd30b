/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpu.c - asks cpuid what the CPU has, and xgetbv which registers the operating system saves.
 *
 * Both must agree: an instruction set whose registers are not saved faults at its first use.
 */
#include "../cpu.h"

#include <cpuid.h>
#include <stdint.h>

enum { AVX512FP16_EDX = 1 << 23 }; /* of leaf 7; older cpuid.h have no name for it */

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

static int has_all(unsigned int word, unsigned int bits)
{
    return (word & bits) == bits;
}

unsigned int shmrt_cpu_flags(void)
{
    unsigned int flags = 0, eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !has_all(ecx, bit_OSXSAVE | bit_AVX | bit_F16C))
        return 0;
    uint64_t saved = saved_registers();
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx))
        return 0;
    if ((saved & XCR0_YMM) == XCR0_YMM && has_all(ebx, bit_AVX2))
        flags |= SHMRT_CPU_AVX2;
    if ((saved & XCR0_ZMM) == XCR0_ZMM &&
        has_all(ebx, bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ))
        flags |= SHMRT_CPU_AVX512;
    if ((saved & XCR0_ZMM) == XCR0_ZMM && has_all(edx, AVX512FP16_EDX))
        flags |= SHMRT_CPU_AVX512FP16;
    return flags;
}
