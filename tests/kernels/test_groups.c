/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_groups.c - terms in groups: partial results and totals of every rung against the reference,
 * and one call for all groups against both steps of the reference.
 */
#include "fenced.h"
#include "inputs.h"
#include "rungs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TERMS = 8, COUNT_MAX = 5000 };

static const size_t counts[] = {0, 1, 7, 15, 16, 17, 31, 33, 63, 65, 257, 2048, COUNT_MAX};

/* The first place of each group, and their end. */
static const struct {
    int groups, begin[TERMS + 1];
} shapes[] = {
    {1, {0, 1}},          {1, {0, 3}},
    {2, {0, 1, 2}},       {2, {0, 2, 4}},
    {2, {0, 4, 8}},       {2, {0, 1, 4}},
    {3, {0, 1, 2, 3}},    {3, {0, 2, 5, 6}},
    {4, {0, 2, 4, 6, 8}}, {8, {0, 1, 2, 3, 4, 5, 6, 7, 8}},
};

struct fixture {
    struct rungs rungs;
    struct fenced terms[TERMS];
    struct fenced out;
    char *partials[TERMS]; /* the reference's */
    char *expected;
};

struct trial {
    enum shmrt_dtype dtype;
    enum shmrt_op op;
    struct shmrt_grouping grouping;
    int n;
    size_t count;
};

static void fixture_open(struct fixture *fixture)
{
    fixture->rungs = rungs_here();
    fixture->out = fenced_open(COUNT_MAX * sizeof(uint64_t) + 64);
    fixture->expected = malloc(COUNT_MAX * sizeof(uint64_t));
    assert_non_null(fixture->expected);
    for (int k = 0; k < TERMS; k++) {
        fixture->terms[k] = fenced_open(COUNT_MAX * sizeof(uint64_t) + 64);
        fixture->partials[k] = malloc(COUNT_MAX * sizeof(uint64_t));
        assert_non_null(fixture->partials[k]);
    }
}

static void fixture_close(struct fixture *fixture)
{
    fenced_close(&fixture->out);
    free(fixture->expected);
    for (int k = 0; k < TERMS; k++) {
        fenced_close(&fixture->terms[k]);
        free(fixture->partials[k]);
    }
}

/* Where a vector lies: every other one ends at the fault page. */
static char *place(const struct fenced *vector, int k, size_t bytes)
{
    return fenced_place(vector, bytes, k & 1 ? -1 : k * 7 % 64);
}

static enum shmrt_dtype partial_dtype(const struct trial *trial)
{
    size_t bytes = shmrt_kernels_partial_bytes(trial->dtype, trial->op);
    return bytes == shmrt_dtype_bytes(trial->dtype) ? trial->dtype : SHMRT_FLOAT32;
}

/* A partial result's NaN may have any bits. */
static void assert_same_partial(const char *rung, const struct trial *trial, const char *result,
                                const char *expected)
{
    enum shmrt_dtype dtype = partial_dtype(trial);
    bool is_float = inputs_canonical_nan(dtype) != 0;
    for (size_t i = 0; i < trial->count; i++) {
        if (inputs_bits(result, i, dtype) == inputs_bits(expected, i, dtype))
            continue;
        if (is_float && inputs_kind_of(result, i, dtype) == INPUTS_NAN &&
            inputs_kind_of(expected, i, dtype) == INPUTS_NAN)
            continue;
        fail_msg("%s: partial %s of %s, element %zu of %zu: 0x%llx, not 0x%llx", rung,
                 shmrt_op_name(trial->op), shmrt_dtype_name(trial->dtype), i, trial->count,
                 (unsigned long long)inputs_bits(result, i, dtype),
                 (unsigned long long)inputs_bits(expected, i, dtype));
    }
}

/* Each group by @kernels beside the reference, whose results the totals start from. */
static void run_partials(struct fixture *f, const struct shmrt_kernels *kernels,
                         const struct trial *trial, const void *const *in)
{
    size_t bytes = trial->count * shmrt_kernels_partial_bytes(trial->dtype, trial->op);
    for (int g = 0; g < trial->grouping.groups; g++) {
        int begin = trial->grouping.begin[g], n = trial->grouping.begin[g + 1] - begin;
        fenced_paint(&f->out);
        char *out = place(&f->out, g, bytes);
        shmrt_kernels_partial(kernels, trial->dtype, trial->op, out, in + begin, n, trial->count);
        fenced_check_paint(&f->out, out, bytes);
        shmrt_kernels_partial(&f->rungs.kernels[0], trial->dtype, trial->op, f->partials[g],
                              in + begin, n, trial->count);
        assert_same_partial(kernels->name, trial, out, f->partials[g]);
    }
}

static void check_result(const struct fixture *f, const struct shmrt_kernels *kernels,
                         const struct trial *trial, const char *out, const char *what)
{
    size_t bytes = trial->count * shmrt_dtype_bytes(trial->dtype);
    if (memcmp(out, f->expected, bytes) != 0)
        fail_msg("%s: %s, %s %s of %d terms in %d groups, %zu elements: wrong", kernels->name, what,
                 shmrt_dtype_name(trial->dtype), shmrt_op_name(trial->op), trial->n,
                 trial->grouping.groups, trial->count);
    fenced_check_paint(&f->out, out, bytes);
}

static void run_on(struct fixture *f, const struct shmrt_kernels *kernels,
                   const struct trial *trial, const void *const *in)
{
    size_t bytes = trial->count * shmrt_dtype_bytes(trial->dtype);
    const void *const *partials = (const void *const *)f->partials;
    void *expected = f->expected, *out = place(&f->out, trial->n, bytes);
    run_partials(f, kernels, trial, in);
    shmrt_kernels_total(&f->rungs.kernels[0], trial->dtype, trial->op, &expected, 1, partials,
                        trial->grouping.groups, trial->n, trial->count);
    fenced_paint(&f->out);
    shmrt_kernels_total(kernels, trial->dtype, trial->op, &out, 1, partials, trial->grouping.groups,
                        trial->n, trial->count);
    check_result(f, kernels, trial, out, "total");
    fenced_paint(&f->out);
    shmrt_kernels_reduce_to(kernels, trial->dtype, trial->op, &out, 1, in, &trial->grouping,
                            trial->n, trial->count);
    check_result(f, kernels, trial, out, "at once");
}

static void run(struct fixture *f, struct trial *trial, int shape)
{
    const void *in[TERMS];
    if (!f->rungs.kernels[0].reduce[trial->dtype][trial->op] || rungs_skip_trial(&f->rungs))
        return;
    trial->grouping = (struct shmrt_grouping){shapes[shape].groups, shapes[shape].begin};
    trial->n = shapes[shape].begin[shapes[shape].groups];
    for (int k = 0; k < trial->n; k++) {
        char *at = place(&f->terms[k], k, trial->count * shmrt_dtype_bytes(trial->dtype));
        inputs_fill(at, trial->count, trial->dtype, (uint64_t)(shape * 100 + k));
        in[k] = at;
    }
    for (int r = 0; r < f->rungs.count; r++)
        run_on(f, &f->rungs.kernels[r], trial, in);
}

static void sweep(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    for (int dtype = 0; dtype < SHMRT_DTYPE_COUNT; dtype++)
        for (int op = 0; op < SHMRT_OP_COUNT; op++)
            for (int shape = 0; shape < (int)(sizeof shapes / sizeof shapes[0]); shape++)
                for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
                    struct trial trial = {.dtype = dtype, .op = op, .count = counts[c]};
                    run(&fixture, &trial, shape);
                }
    fixture_close(&fixture);
}

/* 1e8 + 1 is 1e8 in fp32: the two orders give different sums. */
static void order_shows(void **state)
{
    (void)state;
    struct rungs rungs = rungs_here();
    const float terms[] = {1e8f, 1, -1e8f, 1};
    const void *in[] = {&terms[0], &terms[1], &terms[2], &terms[3]};
    const struct shmrt_grouping pairs = {2, (const int[]){0, 2, 4}};
    for (int r = 0; r < rungs.count; r++) {
        float sum = -1;
        void *out = &sum;
        shmrt_kernels_reduce_to(&rungs.kernels[r], SHMRT_FLOAT32, SHMRT_SUM, &out, 1, in, NULL, 4,
                                1);
        assert_true(sum == 1);
        shmrt_kernels_reduce_to(&rungs.kernels[r], SHMRT_FLOAT32, SHMRT_SUM, &out, 1, in, &pairs, 4,
                                1);
        assert_true(sum == 0);
    }
}

/* 257 is no bf16 number: rounded in each group the ones are lost, and 771 ends in 768, not 772. */
static void partial_results_of_halves_are_not_rounded(void **state)
{
    (void)state;
    struct rungs rungs = rungs_here();
    const uint16_t bf16_256 = 0x4380, bf16_1 = 0x3f80, bf16_772 = 0x4441;
    const void *in[] = {&bf16_256, &bf16_1, &bf16_256, &bf16_1, &bf16_256, &bf16_1};
    const struct shmrt_grouping pairs = {3, (const int[]){0, 2, 4, 6}};
    for (int r = 0; r < rungs.count; r++) {
        uint16_t sum = 0;
        void *out = &sum;
        shmrt_kernels_reduce_to(&rungs.kernels[r], SHMRT_BFLOAT16, SHMRT_SUM, &out, 1, in, &pairs,
                                6, 1);
        assert_int_equal(sum, bf16_772);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sweep),
        cmocka_unit_test(order_shows),
        cmocka_unit_test(partial_results_of_halves_are_not_rounded),
    };
    struct rungs rungs = rungs_here();
    rungs_print(&rungs);
    return cmocka_run_group_tests_name("groups", tests, NULL, NULL);
}
