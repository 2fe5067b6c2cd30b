/* SPDX-License-Identifier: Apache-2.0 */
/* test_x86_cpus.c - which rung real x86-64 CPUs get, from the words that cpuid gives there. */
#include "kernels/cpu.h"
#include "kernels/rungs.h"
#include "kernels/x86/cpuid.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>
#include <cpuid.h>

/* Leaf 1. */
enum {
    SSE4 = bit_SSE4_1 | bit_SSE4_2,
    SANDY_BRIDGE = SSE4 | bit_OSXSAVE | bit_AVX,
    IVY_BRIDGE = SANDY_BRIDGE | bit_F16C,
};

/* Leaf 7. */
enum {
    KNIGHTS_LANDING = bit_AVX2 | bit_AVX512F | bit_AVX512CD | bit_AVX512ER | bit_AVX512PF,
    SKYLAKE_X = bit_AVX2 | bit_AVX512F | bit_AVX512CD | bit_AVX512BW | bit_AVX512VL,
    FP16 = 1 << 23,
};

enum { SAVES_XMM = 0x03, SAVES_YMM = 0x07, SAVES_ZMM = 0xe7, SAVES_TILES = 0x600e7 };

static const struct {
    const char *cpu;
    const char *rung;
    struct shmrt_cpuid cpuid;
} known[] = {
    {"the first x86-64", "sse2", {0}},
    {"Nehalem", "sse2", {SSE4, 0, 0, 0}},
    {"Sandy Bridge", "sse2", {SANDY_BRIDGE, 0, 0, SAVES_YMM}},
    {"Ivy Bridge, Piledriver", "sse2", {IVY_BRIDGE, bit_FSGSBASE, 0, SAVES_YMM}},
    {"Haswell, Zen to Zen 3", "avx2", {IVY_BRIDGE, bit_AVX2, 0, SAVES_YMM}},
    {"Haswell, without XSAVE", "sse2", {IVY_BRIDGE & ~bit_OSXSAVE, bit_AVX2, 0, 0}},
    {"Haswell, a guest without F16C", "sse2", {SANDY_BRIDGE, bit_AVX2, 0, SAVES_YMM}},
    {"Haswell, AVX not saved", "sse2", {IVY_BRIDGE, bit_AVX2, 0, SAVES_XMM}},
    {"Knights Landing", "avx2", {IVY_BRIDGE, KNIGHTS_LANDING, 0, SAVES_ZMM}},
    {"Skylake-X, Zen 4 and 5", "avx512", {IVY_BRIDGE, SKYLAKE_X | bit_AVX512DQ, 0, SAVES_ZMM}},
    {"Skylake-X, a guest without DQ", "avx2", {IVY_BRIDGE, SKYLAKE_X, 0, SAVES_ZMM}},
    {"Skylake-X, ZMM not saved", "avx2", {IVY_BRIDGE, SKYLAKE_X | bit_AVX512DQ, 0, SAVES_YMM}},
    {"Sapphire Rapids", "avx512fp16", {IVY_BRIDGE, SKYLAKE_X | bit_AVX512DQ, FP16, SAVES_TILES}},
    {"Sapphire Rapids, ZMM not saved",
     "avx2",
     {IVY_BRIDGE, SKYLAKE_X | bit_AVX512DQ, FP16, SAVES_YMM}},
    {"Alder Lake, its leaf 7 with FP16 left on", "avx2", {IVY_BRIDGE, bit_AVX2, FP16, SAVES_YMM}},
};

/* What this compiler could not build, the best rung below stands in for. */
static const char *built(const char *rung)
{
    static const char *const ladder[] = {"avx512fp16", "avx512", "avx2", "sse2", "reference"};
    struct shmrt_kernels kernels;
    size_t i = 0;
    while (strcmp(ladder[i], rung) != 0)
        i++;
    while (shmrt_kernels_choose_for(~0u, ladder[i], &kernels) != 0)
        i++;
    return ladder[i];
}

static void every_cpu(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        struct shmrt_kernels kernels;
        unsigned int flags = shmrt_cpu_flags_of(&known[i].cpuid);
        assert_int_equal(shmrt_kernels_choose_for(flags, NULL, &kernels), 0);
        print_message("%s: %s\n", known[i].cpu, kernels.name);
        assert_string_equal(kernels.name, built(known[i].rung));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_cpu)};
    return cmocka_run_group_tests_name("x86 CPUs", tests, NULL, NULL);
}
