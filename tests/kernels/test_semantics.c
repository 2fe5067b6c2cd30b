/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_semantics.c - results worked out by hand, as bits, on every rung.
 *
 * Each case is a few terms and what they must give. It stands in a vector of its own, at every
 * place of a vector longer than a rung's blocks, so that bodies and ends both see it.
 */
#include "inputs.h"
#include "rungs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

struct example {
    enum shmrt_op op;
    int n;
    uint64_t terms[3];
    uint64_t result;
};

static const struct example fp32[] = {
    /* 1 and 2^-24, half of the last bit: a tie goes to even */
    {SHMRT_SUM, 2, {0x3f800000, 0x33800000}, 0x3f800000},
    {SHMRT_SUM, 2, {0x3f800001, 0x33800000}, 0x3f800002},
    /* each step rounds, in the order given: (1 + 2^-24) + 2^-24, and 2^-24 + 2^-24 + 1 */
    {SHMRT_SUM, 3, {0x3f800000, 0x33800000, 0x33800000}, 0x3f800000},
    {SHMRT_SUM, 3, {0x33800000, 0x33800000, 0x3f800000}, 0x3f800001},
    {SHMRT_SUM, 2, {0x7f800000, 0xff800000}, 0x7fc00000}, /* inf - inf */
    {SHMRT_SUM, 2, {0x7f7fffff, 0x7f7fffff}, 0x7f800000}, /* overflow */
    {SHMRT_SUM, 2, {0xff7fffff, 0xff7fffff}, 0xff800000},
    {SHMRT_SUM, 2, {0x00000001, 0x00000001}, 0x00000002}, /* subnormals are kept */
    {SHMRT_SUM, 2, {0x00800000, 0x80000001}, 0x007fffff},
    {SHMRT_SUM, 2, {0x80000000, 0x80000000}, 0x80000000}, /* -0 - 0 */
    {SHMRT_SUM, 2, {0x80000000, 0x00000000}, 0x00000000},
    {SHMRT_SUM, 1, {0xff800001}, 0x7fc00000}, /* one term: signalling NaN */
    {SHMRT_SUM, 1, {0x80000000}, 0x80000000},
    {SHMRT_SUM, 1, {0x80000001}, 0x80000001},
    {SHMRT_SUM, 2, {0x7fc12345, 0x3f800000}, 0x7fc00000}, /* payloads vanish */
    {SHMRT_MIN, 2, {0x80000000, 0x00000000}, 0x80000000}, /* -0 < +0, whatever the order */
    {SHMRT_MIN, 2, {0x00000000, 0x80000000}, 0x80000000},
    {SHMRT_MAX, 2, {0x80000000, 0x00000000}, 0x00000000},
    {SHMRT_MAX, 2, {0x00000000, 0x80000000}, 0x00000000},
    {SHMRT_MIN, 2, {0x80000001, 0x00000001}, 0x80000001},
    {SHMRT_MAX, 2, {0x80000001, 0x80000002}, 0x80000001},
    {SHMRT_MIN, 2, {0x7f800001, 0x3f800000}, 0x7fc00000}, /* NaN wins, first or last */
    {SHMRT_MIN, 2, {0xff800000, 0xffc00000}, 0x7fc00000},
    {SHMRT_MAX, 2, {0xffffffff, 0x3f800000}, 0x7fc00000},
    {SHMRT_MAX, 2, {0x7f800000, 0x7f800001}, 0x7fc00000},
    {SHMRT_MAX, 3, {0x3f800000, 0xff800001, 0x40000000}, 0x7fc00000},
    {SHMRT_MIN, 3, {0x3f800000, 0xff800001, 0xc0000000}, 0x7fc00000},
    {SHMRT_MIN, 3, {0x3f800000, 0xff800000, 0x7f800000}, 0xff800000},
    {SHMRT_PROD, 2, {0x00000000, 0x7f800000}, 0x7fc00000}, /* 0 * inf */
    {SHMRT_PROD, 2, {0x00800000, 0x3f000000}, 0x00400000}, /* 2^-126 / 2 */
    {SHMRT_PROD, 2, {0x00000001, 0x3f000000}, 0x00000000}, /* half the least: tie to even */
    {SHMRT_PROD, 2, {0x00000003, 0x3f000000}, 0x00000002},
    {SHMRT_PROD, 3, {0xbf800000, 0x40000000, 0x40400000}, 0xc0c00000}, /* -1 * 2 * 3 */
    {SHMRT_AVG, 3, {0x3f800000, 0x3f800000, 0x40000000}, 0x3faaaaab},  /* 4/3 */
    {SHMRT_AVG, 2, {0x7f7fffff, 0x7f7fffff}, 0x7f800000},              /* the sum overflows first */
    {SHMRT_AVG, 2, {0x00000001, 0x00000002}, 0x00000002}, /* 1.5 of the least: tie to even */
    {SHMRT_AVG, 1, {0x7f800001}, 0x7fc00000},
};

static const struct example fp64[] = {
    {SHMRT_SUM, 2, {0x3ff0000000000000, 0x3ca0000000000000}, 0x3ff0000000000000}, /* 1 + 2^-53 */
    {SHMRT_SUM, 2, {0x3ff0000000000001, 0x3ca0000000000000}, 0x3ff0000000000002},
    {SHMRT_SUM,
     3,
     {0x3ca0000000000000, 0x3ca0000000000000, 0x3ff0000000000000},
     0x3ff0000000000001},
    {SHMRT_SUM, 2, {0x7ff0000000000000, 0xfff0000000000000}, 0x7ff8000000000000},
    {SHMRT_SUM, 2, {0x0000000000000001, 0x0010000000000000}, 0x0010000000000001},
    {SHMRT_SUM, 1, {0xfff0000000000001}, 0x7ff8000000000000},
    {SHMRT_MIN, 2, {0x0000000000000000, 0x8000000000000000}, 0x8000000000000000},
    {SHMRT_MIN, 2, {0x8000000000000000, 0x0000000000000000}, 0x8000000000000000},
    {SHMRT_MAX, 2, {0x0000000000000000, 0x8000000000000000}, 0x0000000000000000},
    {SHMRT_MAX, 2, {0x8000000000000000, 0x0000000000000000}, 0x0000000000000000},
    {SHMRT_MIN, 2, {0x3ff0000000000000, 0xfff8000000000123}, 0x7ff8000000000000},
    {SHMRT_MAX, 2, {0x7ff0000000000001, 0x7ff0000000000000}, 0x7ff8000000000000},
    {SHMRT_PROD, 2, {0x0010000000000000, 0x3fe0000000000000}, 0x0008000000000000},
    {SHMRT_AVG,
     3,
     {0x3ff0000000000000, 0x3ff0000000000000, 0x4000000000000000},
     0x3ff5555555555555},
};

static const struct example bf16[] = {
    /* 1 has 2^-7 after it: with 2^-8 a tie; three terms are rounded once, at the end */
    {SHMRT_SUM, 2, {0x3f80, 0x3b80}, 0x3f80},  {SHMRT_SUM, 2, {0x3f81, 0x3b80}, 0x3f82},
    {SHMRT_SUM, 2, {0x3f80, 0x3bc0}, 0x3f81},  {SHMRT_SUM, 3, {0x3f80, 0x3b80, 0x3b80}, 0x3f81},
    {SHMRT_SUM, 2, {0x0001, 0x0001}, 0x0002},  {SHMRT_SUM, 2, {0x0080, 0x8001}, 0x007f},
    {SHMRT_SUM, 1, {0x8001}, 0x8001},          {SHMRT_SUM, 2, {0x7f7f, 0x7f7f}, 0x7f80},
    {SHMRT_SUM, 2, {0x7f7f, 0x7b00}, 0x7f80}, /* half a unit above the greatest: infinity */
    {SHMRT_SUM, 2, {0x7f7f, 0x7a80}, 0x7f7f}, /* a quarter: not yet */
    {SHMRT_SUM, 2, {0xff7f, 0xfb00}, 0xff80},  {SHMRT_SUM, 2, {0x7f80, 0xff80}, 0x7fc0},
    {SHMRT_SUM, 1, {0xffff}, 0x7fc0},          {SHMRT_SUM, 1, {0x7f81}, 0x7fc0},
    {SHMRT_MIN, 2, {0x0000, 0x8000}, 0x8000},  {SHMRT_MAX, 2, {0x8000, 0x0000}, 0x0000},
    {SHMRT_MIN, 2, {0x8001, 0x8002}, 0x8002},  {SHMRT_MAX, 2, {0x3f80, 0xff81}, 0x7fc0},
    {SHMRT_MIN, 2, {0xff81, 0xff80}, 0x7fc0},  {SHMRT_PROD, 2, {0x0080, 0x3f00}, 0x0040},
    {SHMRT_PROD, 2, {0x0001, 0x3f00}, 0x0000}, {SHMRT_PROD, 2, {0x8001, 0x3f00}, 0x8000},
    {SHMRT_PROD, 2, {0x0003, 0x3f00}, 0x0002}, {SHMRT_AVG, 3, {0x3f80, 0x3f80, 0x4000}, 0x3fab},
    {SHMRT_AVG, 2, {0x7f00, 0x7f00}, 0x7f80}, /* 2^127 + 2^127 overflows in fp32 */
};

static const struct example fp16[] = {
    /* 1 has 2^-10 after it */
    {SHMRT_SUM, 2, {0x3c00, 0x1000}, 0x3c00},
    {SHMRT_SUM, 2, {0x3c01, 0x1000}, 0x3c02},
    {SHMRT_SUM, 3, {0x3c00, 0x1000, 0x1000}, 0x3c01},
    {SHMRT_SUM, 2, {0x7bff, 0x4c00}, 0x7c00}, /* 65504 + 16: infinity */
    {SHMRT_SUM, 2, {0x7bff, 0x4bff}, 0x7bff}, /* + 15.99: not yet */
    {SHMRT_SUM, 2, {0xfbff, 0xcc00}, 0xfc00},
    {SHMRT_SUM, 3, {0x7bff, 0x7bff, 0xfbff}, 0x7bff}, /* fp32 between: no overflow on the way */
    {SHMRT_SUM, 2, {0x0001, 0x0001}, 0x0002},
    {SHMRT_SUM, 2, {0x0400, 0x8001}, 0x03ff},
    {SHMRT_SUM, 1, {0x83ff}, 0x83ff},
    {SHMRT_SUM, 2, {0x7c00, 0xfc00}, 0x7e00},
    {SHMRT_SUM, 1, {0xfc01}, 0x7e00},
    {SHMRT_SUM, 1, {0x7fff}, 0x7e00},
    {SHMRT_MIN, 2, {0x0000, 0x8000}, 0x8000},
    {SHMRT_MAX, 2, {0x8000, 0x0000}, 0x0000},
    {SHMRT_MAX, 2, {0xfc01, 0x7c00}, 0x7e00},
    {SHMRT_MIN, 2, {0x3c00, 0x7d00}, 0x7e00},
    {SHMRT_PROD, 2, {0x0001, 0x3800}, 0x0000}, /* half the least: tie to even */
    {SHMRT_PROD, 2, {0x8001, 0x3800}, 0x8000},
    {SHMRT_PROD, 2, {0x0003, 0x3800}, 0x0002},
    {SHMRT_PROD, 2, {0x7bff, 0x7bff}, 0x7c00},
    {SHMRT_AVG, 2, {0x7bff, 0x7bff}, 0x7bff},
    {SHMRT_AVG, 3, {0x3c00, 0x3c00, 0x4000}, 0x3d55}, /* 4/3 */
};

static const struct example int8[] = {
    {SHMRT_SUM, 2, {0x7f, 0x01}, 0x80},  {SHMRT_SUM, 3, {0x80, 0x80, 0x01}, 0x01},
    {SHMRT_MIN, 2, {0x80, 0x7f}, 0x80},  {SHMRT_MAX, 2, {0x80, 0x7f}, 0x7f},
    {SHMRT_PROD, 2, {0xff, 0xff}, 0x01}, {SHMRT_PROD, 2, {0x10, 0x11}, 0x10},
};
static const struct example uint8[] = {
    {SHMRT_SUM, 2, {0xff, 0x02}, 0x01},
    {SHMRT_MIN, 2, {0x80, 0x7f}, 0x7f},
    {SHMRT_MAX, 2, {0x80, 0x7f}, 0x80},
    {SHMRT_PROD, 3, {0x10, 0x10, 0x02}, 0x00},
};
static const struct example int16[] = {
    {SHMRT_SUM, 2, {0x7fff, 0x0001}, 0x8000},  {SHMRT_MIN, 3, {0x7fff, 0x8000, 0x0000}, 0x8000},
    {SHMRT_MAX, 2, {0x8000, 0xffff}, 0xffff},  {SHMRT_PROD, 2, {0xffff, 0xffff}, 0x0001},
    {SHMRT_PROD, 2, {0x8000, 0xffff}, 0x8000},
};
static const struct example int32[] = {
    {SHMRT_SUM, 2, {0x80000000, 0xffffffff}, 0x7fffffff},
    {SHMRT_MIN, 2, {0x00000000, 0xffffffff}, 0xffffffff},
    {SHMRT_MAX, 2, {0x00000000, 0xffffffff}, 0x00000000},
    {SHMRT_PROD, 2, {0x00010001, 0x00010000}, 0x00010000},
};
static const struct example int64[] = {
    {SHMRT_SUM, 2, {0x7fffffffffffffff, 0x0000000000000001}, 0x8000000000000000},
    {SHMRT_MIN, 2, {0x7fffffff00000000, 0x8000000000000000}, 0x8000000000000000},
    {SHMRT_MAX, 2, {0x00000000ffffffff, 0x0000000100000000}, 0x0000000100000000},
    {SHMRT_PROD, 2, {0x00000000ffffffff, 0x00000000ffffffff}, 0xfffffffe00000001},
};

#define LIST(examples) {examples, sizeof examples / sizeof examples[0]}
static const struct {
    const struct example *examples;
    size_t count;
} all[SHMRT_DTYPE_COUNT] = {
    [SHMRT_FLOAT32] = LIST(fp32), [SHMRT_FLOAT64] = LIST(fp64), [SHMRT_BFLOAT16] = LIST(bf16),
    [SHMRT_FLOAT16] = LIST(fp16), [SHMRT_INT8] = LIST(int8),    [SHMRT_UINT8] = LIST(uint8),
    [SHMRT_INT16] = LIST(int16),  [SHMRT_INT32] = LIST(int32),  [SHMRT_INT64] = LIST(int64),
};

enum { LONG = 300 };

static void check_example(const struct shmrt_kernels *kernels, enum shmrt_dtype dtype,
                          const struct example *example, size_t count)
{
    uint64_t in[3][LONG] = {0}, out[LONG];
    const void *const terms[] = {in[0], in[1], in[2]};
    for (int k = 0; k < example->n; k++)
        inputs_repeat(in[k], count, dtype, example->terms[k]);
    rungs_reduce(kernels, dtype, example->op, out, terms, example->n, count);
    for (size_t i = 0; i < count; i++) {
        uint64_t bits = inputs_bits(out, i, dtype);
        if (bits != example->result)
            fail_msg("%s %s of %d terms (first 0x%llx), element %zu of %zu, on %s: 0x%llx, "
                     "not 0x%llx",
                     shmrt_dtype_name(dtype), shmrt_op_name(example->op), example->n,
                     (unsigned long long)example->terms[0], i, count, kernels->name,
                     (unsigned long long)bits, (unsigned long long)example->result);
    }
}

static void examples_by_hand(void **state)
{
    const struct rungs *rungs = *state;
    for (int r = 0; r < rungs->count; r++)
        for (int dtype = 0; dtype < SHMRT_DTYPE_COUNT; dtype++)
            for (size_t e = 0; e < all[dtype].count; e++) {
                check_example(&rungs->kernels[r], dtype, &all[dtype].examples[e], 1);
                check_example(&rungs->kernels[r], dtype, &all[dtype].examples[e], LONG);
            }
}

int main(void)
{
    struct rungs rungs = rungs_here();
    rungs_print(&rungs);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(examples_by_hand, &rungs),
    };
    return cmocka_run_group_tests_name("semantics", tests, NULL, NULL);
}
