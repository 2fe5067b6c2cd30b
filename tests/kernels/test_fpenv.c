/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_fpenv.c - a thread that flushes subnormals, rounds upwards or traps gets the same bits, and
 * its settings back.
 */
#include "inputs.h"
#include "rungs.h"

#include <fenv.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#if defined(__x86_64__)
#include <xmmintrin.h>
enum { FLAGS = 0x3f, TRAPS_OFF = 0x1f80, FTZ = 0x8000, DAZ = 0x0040, UPWARD = 0x4000 };
static const unsigned int hostile[] = {
    TRAPS_OFF | FTZ | DAZ | UPWARD,
    TRAPS_OFF | FTZ,
    TRAPS_OFF | DAZ,
    TRAPS_OFF | UPWARD,
    TRAPS_OFF | UPWARD | FTZ | DAZ | FLAGS, /* sticky flags come back too */
    0,                                      /* every exception traps */
};
static unsigned int settings_get(void)
{
    return _mm_getcsr();
}
static void settings_set(unsigned int settings)
{
    _mm_setcsr(settings);
}
#elif defined(__aarch64__)
enum {
    FIZ = 1 << 0, /* this, AH and NEP: only with FEAT_AFP */
    AH = 1 << 1,  /* among others, min and max as on x86 */
    NEP = 1 << 2,
    TRAPS = 0x9f << 8, /* most CPUs have none */
    FZ16 = 1 << 19,    /* only with FEAT_FP16 */
    UPWARD = 1 << 22,
    FZ = 1 << 24,
    DN = 1 << 25,
    AHP = 1 << 26, /* fp16 without infinities and NaNs */
};
static const unsigned int hostile[] = {
    FZ | UPWARD, FZ, FZ16, DN, UPWARD, AHP, AHP | FZ | FZ16 | DN | UPWARD, AH | FIZ | NEP, TRAPS,
};
static unsigned int settings_get(void)
{
    uint64_t fpcr;
    __asm__ __volatile__("mrs %0, fpcr" : "=r"(fpcr) : : "memory");
    return (unsigned int)fpcr;
}
static void settings_set(unsigned int settings)
{
    __asm__ __volatile__("msr fpcr, %0" : : "r"((uint64_t)settings) : "memory");
}
#elif defined(__riscv_flen)
enum { ZERO = 1, DOWNWARD = 2, UPWARD = 3, NEAREST_AWAY = 4 };
static const unsigned int hostile[] = {UPWARD, ZERO, DOWNWARD, NEAREST_AWAY};
static unsigned int settings_get(void)
{
    unsigned long frm;
    __asm__ __volatile__("frrm %0" : "=r"(frm) : : "memory");
    return (unsigned int)frm;
}
static void settings_set(unsigned int settings)
{
    __asm__ __volatile__("fsrm %0" : : "r"((unsigned long)settings) : "memory");
}
#else
static const unsigned int hostile[] = {FE_UPWARD, FE_TOWARDZERO};
static unsigned int settings_get(void)
{
    return (unsigned int)fegetround();
}
static void settings_set(unsigned int settings)
{
    fesetround((int)settings);
}
#endif

enum { COUNT = 1000, BYTES = COUNT * 8, TERMS = 3 };

struct vectors {
    char in[TERMS][BYTES];
    char expected[BYTES];
    char out[BYTES];
};

static void reduce(const struct shmrt_kernels *kernels, enum shmrt_dtype dtype, enum shmrt_op op,
                   struct vectors *v, char *out)
{
    const void *const terms[] = {v->in[0], v->in[1], v->in[2]};
    rungs_reduce(kernels, dtype, op, out, terms, TERMS, COUNT);
}

static void check(const struct shmrt_kernels *kernels, enum shmrt_dtype dtype, enum shmrt_op op,
                  struct vectors *v)
{
    unsigned int own = settings_get();
    reduce(kernels, dtype, op, v, v->expected);
    for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++) {
        memset(v->out, 0, BYTES);
        settings_set(hostile[i]);
        unsigned int before = settings_get(); /* without the bits that this CPU lacks */
        reduce(kernels, dtype, op, v, v->out);
        unsigned int after = settings_get();
        settings_set(own);
        assert_int_equal(after, before);
        assert_memory_equal(v->out, v->expected, COUNT * shmrt_dtype_bytes(dtype));
    }
}

static void hostile_settings(void **state)
{
    const struct rungs *rungs = *state;
    struct vectors v;
    for (int dtype = 0; dtype <= SHMRT_FLOAT16; dtype++) {
        for (int k = 0; k < TERMS; k++)
            inputs_fill(v.in[k], COUNT, dtype, (uint64_t)k);
        for (int op = 0; op < SHMRT_OP_COUNT; op++)
            for (int r = 0; r < rungs->count; r++)
                check(&rungs->kernels[r], dtype, op, &v);
    }
}

static void *hostile_thread(void *state)
{
    settings_set(hostile[0]);
    unsigned int before = settings_get();
    struct vectors *v = state;
    struct shmrt_kernels kernels;
    if (shmrt_kernels_choose(NULL, &kernels) != 0)
        return state;
    reduce(&kernels, SHMRT_FLOAT32, SHMRT_SUM, v, v->out);
    return settings_get() == before ? NULL : state;
}

static void thread_of_its_own(void **state)
{
    const struct rungs *rungs = *state;
    struct vectors v;
    for (int k = 0; k < TERMS; k++)
        inputs_fill(v.in[k], COUNT, SHMRT_FLOAT32, (uint64_t)k);
    reduce(&rungs->kernels[0], SHMRT_FLOAT32, SHMRT_SUM, &v, v.expected);
    pthread_t thread;
    void *result;
    assert_int_equal(pthread_create(&thread, NULL, hostile_thread, &v), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_null(result);
    assert_memory_equal(v.out, v.expected, COUNT * sizeof(float));
}

/* The settings matter to these vectors: past shmrt_kernels_reduce, they change the bits. */
static void settings_would_matter(void **state)
{
    const struct rungs *rungs = *state;
    struct vectors v;
    const void *const terms[] = {v.in[0], v.in[1], v.in[2]};
    unsigned int own = settings_get();
    for (int dtype = 0; dtype <= SHMRT_FLOAT64; dtype++) {
        for (int k = 0; k < TERMS; k++)
            inputs_fill(v.in[k], COUNT, dtype, (uint64_t)k);
        for (int r = 0; r < rungs->count; r++) {
            reduce(&rungs->kernels[r], dtype, SHMRT_SUM, &v, v.expected);
            settings_set(hostile[0]);
            rungs->kernels[r].reduce[dtype][SHMRT_SUM](v.out, terms, TERMS, TERMS, COUNT);
            settings_set(own);
            assert_memory_not_equal(v.out, v.expected, COUNT * shmrt_dtype_bytes(dtype));
        }
    }
}

int main(void)
{
    struct rungs rungs = rungs_here();
    rungs_print(&rungs);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(hostile_settings, &rungs),
        cmocka_unit_test_prestate(thread_of_its_own, &rungs),
        cmocka_unit_test_prestate(settings_would_matter, &rungs),
    };
    return cmocka_run_group_tests_name("fpenv", tests, NULL, NULL);
}
