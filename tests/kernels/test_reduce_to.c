/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_reduce_to.c - a result written to several vectors is in all of them what one vector gets.
 *
 * Vectors lie between pages that fault and are painted around. Some destinations are terms, as
 * where a rank reduces into every rank's tensor.
 */
#include "fenced.h"
#include "inputs.h"
#include "rungs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { VECTORS = SHMRT_MAX_RANKS, COUNT_MAX = 9000 };

/* Enough for less than a block of any type, one block, and several with a rest. */
static const size_t counts[] = {0, 1, 63, 512, 1024, 2047, 2048, 2049, 4097, COUNT_MAX};

struct fixture {
    struct rungs rungs;
    char *terms[VECTORS];
    char *expected;
    struct fenced vectors[2 * VECTORS]; /* terms, then destinations that are none */
};

struct trial {
    enum shmrt_dtype dtype;
    enum shmrt_op op;
    int n;
    int outs_n;
    int shared; /* of the destinations, this many are terms: the last is the first term, and so on
                 */
    size_t count;
};

static void fixture_open(struct fixture *fixture)
{
    fixture->rungs = rungs_here();
    fixture->expected = malloc(COUNT_MAX * sizeof(uint64_t));
    assert_non_null(fixture->expected);
    for (int i = 0; i < VECTORS; i++) {
        fixture->terms[i] = malloc(COUNT_MAX * sizeof(uint64_t));
        assert_non_null(fixture->terms[i]);
    }
    for (int i = 0; i < 2 * VECTORS; i++)
        fixture->vectors[i] = fenced_open(COUNT_MAX * sizeof(uint64_t) + 64);
}

static void fixture_close(struct fixture *fixture)
{
    free(fixture->expected);
    for (int i = 0; i < VECTORS; i++)
        free(fixture->terms[i]);
    for (int i = 0; i < 2 * VECTORS; i++)
        fenced_close(&fixture->vectors[i]);
}

/* Where vector @i lies: every other one ends at the fault page. */
static char *place(const struct fixture *fixture, int i, size_t bytes)
{
    return fenced_place(&fixture->vectors[i], bytes, i & 1 ? -1 : i * 5 % 64);
}

static void run_on(struct fixture *fixture, const struct shmrt_kernels *kernels,
                   const struct trial *trial)
{
    size_t bytes = trial->count * shmrt_dtype_bytes(trial->dtype);
    const void *in[VECTORS];
    void *outs[VECTORS];
    int out_vector[VECTORS];
    for (int k = 0; k < trial->n; k++) {
        fenced_paint(&fixture->vectors[k]);
        in[k] = memcpy(place(fixture, k, bytes), fixture->terms[k], bytes);
    }
    for (int i = 0; i < trial->outs_n; i++) {
        bool is_term = i >= trial->outs_n - trial->shared;
        out_vector[i] = is_term ? trial->outs_n - 1 - i : VECTORS + i;
        if (!is_term)
            fenced_paint(&fixture->vectors[out_vector[i]]);
        outs[i] = place(fixture, out_vector[i], bytes);
    }
    shmrt_kernels_reduce_to(kernels, trial->dtype, trial->op, outs, trial->outs_n, in, NULL,
                            trial->n, trial->count);
    for (int i = 0; i < trial->outs_n; i++) {
        if (memcmp(outs[i], fixture->expected, bytes) != 0)
            fail_msg("%s: %s %s of %d terms, %zu elements: destination %d of %d is wrong",
                     kernels->name, shmrt_dtype_name(trial->dtype), shmrt_op_name(trial->op),
                     trial->n, trial->count, i, trial->outs_n);
        fenced_check_paint(&fixture->vectors[out_vector[i]], outs[i], bytes);
    }
    for (int k = trial->shared; k < trial->n; k++)
        assert_memory_equal(in[k], fixture->terms[k], bytes);
}

static void run(struct fixture *fixture, const struct trial *trial)
{
    const struct shmrt_kernels *reference = &fixture->rungs.kernels[0];
    if (!reference->reduce[trial->dtype][trial->op])
        return;
    rungs_reduce(reference, trial->dtype, trial->op, fixture->expected,
                 (const void *const *)fixture->terms, trial->n, trial->count);
    for (int r = 0; r < fixture->rungs.count; r++)
        run_on(fixture, &fixture->rungs.kernels[r], trial);
}

/* Terms, destinations, and how many of these are terms. */
static const int shapes[][3] = {{1, 1, 0}, {2, 1, 1}, {1, 3, 1}, {2, 2, 0},
                                {2, 2, 1}, {2, 2, 2}, {3, 4, 3}, {5, 3, 2}};

static void sweep(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    for (int dtype = 0; dtype < SHMRT_DTYPE_COUNT; dtype++) {
        for (int k = 0; k < 5; k++)
            inputs_fill(fixture.terms[k], COUNT_MAX, dtype, (uint64_t)(dtype * 100 + k));
        for (int op = 0; op < SHMRT_OP_COUNT; op++)
            for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
                for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
                    struct trial trial = {.dtype = dtype,
                                          .op = op,
                                          .n = shapes[s][0],
                                          .outs_n = shapes[s][1],
                                          .shared = shapes[s][2],
                                          .count = counts[c]};
                    run(&fixture, &trial);
                }
    }
    fixture_close(&fixture);
}

static void as_many_as_there_may_be(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    for (int k = 0; k < VECTORS; k++)
        inputs_fill(fixture.terms[k], COUNT_MAX, SHMRT_BFLOAT16, (uint64_t)k);
    for (int shared = 0; shared <= VECTORS; shared += VECTORS / 2) {
        struct trial trial = {.dtype = SHMRT_BFLOAT16,
                              .op = SHMRT_SUM,
                              .n = VECTORS,
                              .outs_n = VECTORS,
                              .shared = shared,
                              .count = COUNT_MAX};
        run(&fixture, &trial);
    }
    fixture_close(&fixture);
}

int main(void)
{
    struct rungs rungs = rungs_here();
    rungs_print(&rungs);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sweep),
        cmocka_unit_test(as_many_as_there_may_be),
    };
    return cmocka_run_group_tests_name("reduce_to", tests, NULL, NULL);
}
