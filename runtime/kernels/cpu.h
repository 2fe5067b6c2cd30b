/* SPDX-License-Identifier: Apache-2.0 */
/* cpu.h - which instruction sets this CPU and this operating system let us use (L1) */
#ifndef SHMRT_CPU_H
#define SHMRT_CPU_H

enum {
    SHMRT_CPU_SSE2 = 1 << 0,       /* every x86-64 */
    SHMRT_CPU_AVX2 = 1 << 1,       /* AVX2 and F16C */
    SHMRT_CPU_AVX512 = 1 << 2,     /* AVX-512 F, BW, VL and DQ */
    SHMRT_CPU_AVX512FP16 = 1 << 3, /* AVX512-FP16 */
    SHMRT_CPU_NEON = 1 << 4,       /* every aarch64 CPU */
    SHMRT_CPU_NEONFP16 = 1 << 10,  /* fp16 arithmetic of NEON */
    SHMRT_CPU_NEONBF16 = 1 << 5,   /* BF16 instructions of NEON */
    SHMRT_CPU_SVE = 1 << 6,        /* of any register length */
    SHMRT_CPU_SVEBF16 = 1 << 7,    /* BF16 instructions of SVE */
    SHMRT_CPU_RVV = 1 << 9,        /* RISC-V's V, version 1.0 */
};

/** A mask of SHMRT_CPU_*; 0 on other architectures. */
unsigned int shmrt_cpu_flags(void);

#endif
