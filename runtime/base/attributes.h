/* SPDX-License-Identifier: Apache-2.0 */
/* attributes.h - compiler and CPU spellings that differ between targets (L0) */
#ifndef SHMRT_ATTRIBUTES_H
#define SHMRT_ATTRIBUTES_H

#define SHMRT_PRINTF(text, first) __attribute__((format(printf, text, first)))

#define shmrt_likely(x)   __builtin_expect(!!(x), 1)
#define shmrt_unlikely(x) __builtin_expect(!!(x), 0)

/*
 * A cache line, as slices are cut, and the distance that flags of different writers keep: what any
 * CPU of the architecture may fetch or own as one. Intel's prefetcher fetches lines in pairs; of
 * aarch64's CPUs most have lines of 64 bytes, some of 128, and Fujitsu's of 256.
 */
#if defined(__s390x__)
enum { SHMRT_LINE_BYTES = 256, SHMRT_APART_BYTES = 256 };
#elif defined(__powerpc64__)
enum { SHMRT_LINE_BYTES = 128, SHMRT_APART_BYTES = 128 };
#elif defined(__aarch64__)
enum { SHMRT_LINE_BYTES = 64, SHMRT_APART_BYTES = 256 };
#else
enum { SHMRT_LINE_BYTES = 64, SHMRT_APART_BYTES = 128 };
#endif

/*
 * Tells the core, and an emulator that runs several CPUs in one thread, that this is a spin loop.
 * Arm's yield is a no-op on most cores, isb waits a little; RISC-V's pause (Zihintpause) is a no-op
 * where it is not known, as is Power's yield; z has none for programs.
 */
static inline void shmrt_cpu_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("isb" ::: "memory");
#elif defined(__riscv)
    __asm__ __volatile__(".insn i 0x0F, 0, x0, x0, 0x010" ::: "memory");
#elif defined(__powerpc64__)
    __asm__ __volatile__("or 27,27,27" ::: "memory");
#else
    __asm__ __volatile__("" ::: "memory");
#endif
}

#endif
