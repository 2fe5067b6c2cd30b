/* SPDX-License-Identifier: Apache-2.0 */
/* attributes.h - compiler and CPU spellings that differ between targets (L0) */
#ifndef SHMRT_ATTRIBUTES_H
#define SHMRT_ATTRIBUTES_H

#define SHMRT_PRINTF(text, first) __attribute__((format(printf, text, first)))

#define shmrt_likely(x)   __builtin_expect(!!(x), 1)
#define shmrt_unlikely(x) __builtin_expect(!!(x), 0)

enum {
    SHMRT_LINE_BYTES = 64,
    /* Intel's spatial prefetcher fetches lines in pairs: flags of different writers keep this
     * distance. */
    SHMRT_APART_BYTES = 128,
};

/* Tells the core, and an emulator that runs several CPUs in one thread, that this is a spin loop.
 */
static inline void shmrt_cpu_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("isb" ::: "memory");
#elif defined(__riscv)
    __asm__ __volatile__(".insn i 0x0F, 0, x0, x0, 0x010" ::: "memory");
#else
    __asm__ __volatile__("" ::: "memory");
#endif
}

#endif
