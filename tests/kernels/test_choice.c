/* SPDX-License-Identifier: Apache-2.0 */
/* test_choice.c - which rung is chosen, by name and by CPU, and that its table is whole. */
#include "kernels/cpu.h"
#include "kernels/riscv/rvv_usable.h"
#include "kernels/rungs.h"
#include "rungs.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void only_avg_of_integers_is_absent(void **state)
{
    const struct rungs *rungs = *state;
    for (int r = 0; r < rungs->count; r++)
        for (int dtype = 0; dtype < SHMRT_DTYPE_COUNT; dtype++)
            for (int op = 0; op < SHMRT_OP_COUNT; op++) {
                bool absent = op == SHMRT_AVG && dtype >= SHMRT_INT8;
                assert_int_equal(rungs->kernels[r].reduce[dtype][op] == NULL, absent);
            }
}

static void norms_are_of_three_types(void **state)
{
    const struct rungs *rungs = *state;
    for (int r = 0; r < rungs->count; r++)
        for (int dtype = 0; dtype < SHMRT_DTYPE_COUNT; dtype++) {
            bool there =
                dtype == SHMRT_FLOAT32 || dtype == SHMRT_BFLOAT16 || dtype == SHMRT_FLOAT16;
            assert_int_equal(rungs->kernels[r].norm[dtype] != NULL, there);
        }
}

static void names(void **state)
{
    const struct rungs *rungs = *state;
    const struct shmrt_kernels *best = &rungs->kernels[rungs->count - 1];
    struct shmrt_kernels kernels, forced;
    assert_int_equal(shmrt_kernels_choose(NULL, &kernels), 0);
    assert_string_equal(kernels.name, best->name);
    assert_int_equal(shmrt_kernels_choose("auto", &kernels), 0);
    assert_int_equal(shmrt_kernels_choose(best->name, &forced), 0);
    assert_memory_equal(&kernels, &forced, sizeof kernels);
    static const char *const wrong[] = {"", "AVX2", "avx", "avx5122", "sse", "reference "};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(shmrt_kernels_choose(wrong[i], &kernels), -EINVAL);
    assert_null(shmrt_kernels_rung(-1));
    assert_null(shmrt_kernels_rung(1000));
}

static void expect_choice(unsigned int flags, const char *forced, const char *name)
{
    struct shmrt_kernels kernels;
    assert_int_equal(shmrt_kernels_choose_for(flags, forced, &kernels), 0);
    assert_string_equal(kernels.name, name);
}

static bool is_built(const char *rung)
{
    struct shmrt_kernels kernels;
    return shmrt_kernels_choose_for(~0u, rung, &kernels) == 0;
}

/* Whatever this CPU is: other CPUs are a mask. */
static void choice_by_cpu(void **state)
{
    (void)state;
    struct shmrt_kernels kernels;
    const char *sse2 = is_built("sse2") ? "sse2" : "reference";
    const char *avx2 = is_built("avx2") ? "avx2" : sse2;
    const char *avx512 = is_built("avx512") ? "avx512" : avx2;
    const char *fp16 = is_built("avx512fp16") ? "avx512fp16" : avx512;
    unsigned int low = SHMRT_CPU_SSE2 | SHMRT_CPU_AVX2, both = low | SHMRT_CPU_AVX512;
    expect_choice(0, NULL, "reference");
    expect_choice(SHMRT_CPU_SSE2, NULL, sse2);
    expect_choice(low, NULL, avx2);
    expect_choice(SHMRT_CPU_SSE2 | SHMRT_CPU_AVX512, NULL, sse2); /* nothing to stand on */
    expect_choice(both, "auto", avx512);
    expect_choice(both | SHMRT_CPU_AVX512FP16, NULL, fp16);
    expect_choice(low | SHMRT_CPU_AVX512FP16, NULL, avx2); /* AVX-512 masked */
    expect_choice(both, avx2, avx2);
    expect_choice(both, sse2, sse2);
    expect_choice(both, "reference", "reference");
    assert_int_equal(shmrt_kernels_choose_for(0, "sse2", &kernels), -ENOTSUP);
    assert_int_equal(shmrt_kernels_choose_for(SHMRT_CPU_SSE2, "avx2", &kernels), -ENOTSUP);
    assert_int_equal(shmrt_kernels_choose_for(low, "avx512", &kernels), -ENOTSUP);
    assert_int_equal(shmrt_kernels_choose_for(both, "avx512fp16", &kernels), -ENOTSUP);
}

/* The same of an aarch64 build; elsewhere none of these can be forced. */
static void choice_by_arm_cpu(void **state)
{
    (void)state;
    struct shmrt_kernels kernels;
    const char *neon = is_built("neon") ? "neon" : "reference";
    const char *neonfp16 = is_built("neonfp16") ? "neonfp16" : neon;
    const char *neonbf16 = is_built("neonbf16") ? "neonbf16" : neon;
    const char *sve = is_built("sve") ? "sve" : neon;
    const char *svebf16 = is_built("svebf16") ? "svebf16" : sve;
    unsigned int both = SHMRT_CPU_NEON | SHMRT_CPU_SVE;
    expect_choice(SHMRT_CPU_NEON, NULL, neon);
    expect_choice(SHMRT_CPU_NEON | SHMRT_CPU_NEONBF16, NULL, neonbf16);
    expect_choice(SHMRT_CPU_NEON | SHMRT_CPU_NEONFP16, NULL, neonfp16);
    expect_choice(both, NULL, sve);
    expect_choice(both | SHMRT_CPU_NEONBF16, neon, neon);
    expect_choice(both | SHMRT_CPU_NEONBF16 | SHMRT_CPU_SVEBF16, NULL, svebf16);
    expect_choice(SHMRT_CPU_NEON | SHMRT_CPU_SVEBF16, NULL, neon); /* SVE masked */
    assert_int_equal(shmrt_kernels_choose_for(SHMRT_CPU_NEON, "neonfp16", &kernels), -ENOTSUP);
    assert_int_equal(shmrt_kernels_choose_for(SHMRT_CPU_NEON, "neonbf16", &kernels), -ENOTSUP);
    assert_int_equal(shmrt_kernels_choose_for(SHMRT_CPU_NEON, "sve", &kernels), -ENOTSUP);
    assert_int_equal(shmrt_kernels_choose_for(both, "svebf16", &kernels), -ENOTSUP);
}

static void choice_by_riscv_cpu(void **state)
{
    (void)state;
    struct shmrt_kernels kernels;
    expect_choice(SHMRT_CPU_RVV, NULL, is_built("rvv") ? "rvv" : "reference");
    expect_choice(SHMRT_CPU_RVV, "reference", "reference");
    assert_int_equal(shmrt_kernels_choose_for(0, "rvv", &kernels), -ENOTSUP);
}

/* What kernels said, on any CPU; and what follows from it. */
static void vectors_by_riscv_kernel(void **state)
{
    (void)state;
    enum {
        NO_CALL = -1,
        FD_AND_C = 3,
        IMAFDC = 0x112d,
        ON = 2,
        ON_NOW_OFF_NEXT = 2 | 1 << 2,
        OFF_NOW_ON_NEXT = 1 | 2 << 2
    };
    static const struct {
        struct shmrt_rvv_facts facts;
        enum shmrt_rvv expected;
    } cases[] = {
        /* Linux 6.5 and later: with vectors, turned off, without, and with T-Head's own beside */
        {{ON, true, FD_AND_C | SHMRT_HWPROBE_V, IMAFDC | SHMRT_HWCAP_V}, SHMRT_RVV_USABLE},
        {{ON_NOW_OFF_NEXT, true, FD_AND_C | SHMRT_HWPROBE_V, IMAFDC}, SHMRT_RVV_USABLE},
        {{OFF_NOW_ON_NEXT, true, FD_AND_C | SHMRT_HWPROBE_V, IMAFDC | SHMRT_HWCAP_V},
         SHMRT_RVV_ABSENT},
        {{NO_CALL, true, FD_AND_C, IMAFDC}, SHMRT_RVV_ABSENT},
        {{NO_CALL, true, FD_AND_C, IMAFDC | SHMRT_HWCAP_V}, SHMRT_RVV_ABSENT},
        /* vendors' kernels without riscv_hwprobe */
        {{NO_CALL, false, 0, IMAFDC | SHMRT_HWCAP_V}, SHMRT_RVV_TO_BE_TRIED},
        {{ON, false, SHMRT_HWPROBE_V, IMAFDC | SHMRT_HWCAP_V}, SHMRT_RVV_TO_BE_TRIED},
        {{OFF_NOW_ON_NEXT, false, 0, IMAFDC | SHMRT_HWCAP_V}, SHMRT_RVV_ABSENT},
        {{NO_CALL, false, SHMRT_HWPROBE_V, IMAFDC}, SHMRT_RVV_ABSENT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(shmrt_rvv_usable(&cases[i].facts), cases[i].expected);
}

int main(void)
{
    struct rungs rungs = rungs_here();
    rungs_print(&rungs);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(only_avg_of_integers_is_absent, &rungs),
        cmocka_unit_test_prestate(norms_are_of_three_types, &rungs),
        cmocka_unit_test_prestate(names, &rungs),
        cmocka_unit_test(choice_by_cpu),
        cmocka_unit_test(choice_by_arm_cpu),
        cmocka_unit_test(choice_by_riscv_cpu),
        cmocka_unit_test(vectors_by_riscv_kernel),
    };
    return cmocka_run_group_tests_name("choice", tests, NULL, NULL);
}
