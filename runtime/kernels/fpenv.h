/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fpenv.h - the floating-point environment that kernels need (L1)
 *
 * Round to nearest, subnormals kept (no FTZ, no DAZ), no traps. A thread may come with anything:
 * torch.set_flush_denormal and -ffast-math start-up code set FTZ and DAZ. The register is written
 * only where the thread's settings differ, since that costs more than a small reduction. Sticky
 * exception flags are left as ordinary arithmetic leaves them.
 */
#ifndef SHMRT_FPENV_H
#define SHMRT_FPENV_H

#if defined(__x86_64__)
#include <xmmintrin.h>

struct shmrt_fpenv {
    unsigned int saved;
};

enum { SHMRT_MXCSR_FLAGS = 0x3f, SHMRT_MXCSR_NEEDED = 0x1f80 };

static inline struct shmrt_fpenv shmrt_fpenv_enter(void)
{
    struct shmrt_fpenv env = {_mm_getcsr()};
    if ((env.saved & ~(unsigned)SHMRT_MXCSR_FLAGS) != SHMRT_MXCSR_NEEDED)
        _mm_setcsr(SHMRT_MXCSR_NEEDED);
    return env;
}

static inline void shmrt_fpenv_leave(struct shmrt_fpenv env)
{
    if ((env.saved & ~(unsigned)SHMRT_MXCSR_FLAGS) != SHMRT_MXCSR_NEEDED)
        _mm_setcsr(env.saved);
}

#elif defined(__aarch64__)
#include <stdint.h>

struct shmrt_fpenv {
    uint64_t saved;
};

static inline void shmrt_fpcr_write(uint64_t fpcr)
{
    __asm__ __volatile__("msr fpcr, %0" : : "r"(fpcr) : "memory");
}

/*
 * FPCR 0 is what is needed: nearest, traps off, FZ, FZ16 and FEAT_AFP's FIZ off, fp16 as IEEE has
 * it (AHP), and min and max that propagate NaNs (FEAT_AFP's AH). Bits that a CPU lacks read as 0.
 */
static inline struct shmrt_fpenv shmrt_fpenv_enter(void)
{
    struct shmrt_fpenv env;
    __asm__ __volatile__("mrs %0, fpcr" : "=r"(env.saved) : : "memory");
    if (env.saved != 0)
        shmrt_fpcr_write(0);
    return env;
}

static inline void shmrt_fpenv_leave(struct shmrt_fpenv env)
{
    if (env.saved != 0)
        shmrt_fpcr_write(env.saved);
}

#elif defined(__riscv_flen)

struct shmrt_fpenv {
    unsigned long saved;
};

static inline void shmrt_frm_write(unsigned long frm)
{
    __asm__ __volatile__("fsrm %0" : : "r"(frm) : "memory");
}

/* Rounding is all there is to set: RISC-V knows no FTZ and no traps. Mode 0 is to nearest even. */
static inline struct shmrt_fpenv shmrt_fpenv_enter(void)
{
    struct shmrt_fpenv env;
    __asm__ __volatile__("frrm %0" : "=r"(env.saved) : : "memory");
    if (env.saved != 0)
        shmrt_frm_write(0);
    return env;
}

static inline void shmrt_fpenv_leave(struct shmrt_fpenv env)
{
    if (env.saved != 0)
        shmrt_frm_write(env.saved);
}

#else
#include <fenv.h>

/* ISO C knows no FTZ; s390x has none, and ppc64le none that ordinary arithmetic heeds. */
struct shmrt_fpenv {
    fenv_t saved;
};

static inline struct shmrt_fpenv shmrt_fpenv_enter(void)
{
    struct shmrt_fpenv env;
    feholdexcept(&env.saved);
    if (fegetround() != FE_TONEAREST)
        fesetround(FE_TONEAREST);
    return env;
}

static inline void shmrt_fpenv_leave(struct shmrt_fpenv env)
{
    fesetenv(&env.saved);
}
#endif

#endif
