/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_rungs.c - every rung against the reference, bit for bit.
 *
 * Vectors lie between pages that fault; the output's surroundings are painted and looked at. A
 * vector ends at the fault page or starts at any byte, out may be one of the terms.
 */
#include "fenced.h"
#include "inputs.h"
#include "rungs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TERMS_MAX = 8, OUTSIDE = -1 };

static const int terms_tested[] = {1, 2, 3, 5, 8};

/* Pristine terms, and the fenced places they are copied to for a run. */
struct fixture {
    struct rungs rungs;
    size_t count_max;
    char *pristine[TERMS_MAX];
    char *expected;
    struct fenced in[TERMS_MAX];
    struct fenced out;
};

struct trial {
    enum shmrt_dtype dtype;
    enum shmrt_op op;
    int n;
    size_t count;
    int in_place;          /* the term that out is, or OUTSIDE */
    int offset[TERMS_MAX]; /* as fenced_place takes them */
    int out_offset;
};

static void fixture_open(struct fixture *fixture, size_t count_max)
{
    size_t bytes = count_max * sizeof(uint64_t);
    fixture->rungs = rungs_here();
    fixture->count_max = count_max;
    fixture->expected = malloc(bytes);
    assert_non_null(fixture->expected);
    fixture->out = fenced_open(bytes + 128);
    for (int k = 0; k < TERMS_MAX; k++) {
        fixture->pristine[k] = malloc(bytes);
        assert_non_null(fixture->pristine[k]);
        fixture->in[k] = fenced_open(bytes + 128);
    }
}

static void fixture_close(struct fixture *fixture)
{
    free(fixture->expected);
    fenced_close(&fixture->out);
    for (int k = 0; k < TERMS_MAX; k++) {
        free(fixture->pristine[k]);
        fenced_close(&fixture->in[k]);
    }
}

static void fixture_fill(struct fixture *fixture, enum shmrt_dtype dtype)
{
    for (int k = 0; k < TERMS_MAX; k++)
        inputs_fill(fixture->pristine[k], fixture->count_max, dtype,
                    1000 * (uint64_t)dtype + (uint64_t)k);
}

/* The first element that differs, with the terms that made it. */
static void fail_with_element(const struct fixture *fixture, const struct shmrt_kernels *kernels,
                              const struct trial *trial, const char *result)
{
    size_t i = 0;
    while (inputs_bits(result, i, trial->dtype) == inputs_bits(fixture->expected, i, trial->dtype))
        i++;
    for (int k = 0; k < trial->n; k++)
        print_error("term %d: 0x%llx\n", k,
                    (unsigned long long)inputs_bits(fixture->pristine[k], i, trial->dtype));
    fail_msg("%s: %s %s of %d terms, element %zu of %zu, in place %d: 0x%llx, not 0x%llx",
             kernels->name, shmrt_dtype_name(trial->dtype), shmrt_op_name(trial->op), trial->n, i,
             trial->count, trial->in_place,
             (unsigned long long)inputs_bits(result, i, trial->dtype),
             (unsigned long long)inputs_bits(fixture->expected, i, trial->dtype));
}

static void run_on(struct fixture *fixture, const struct shmrt_kernels *kernels,
                   const struct trial *trial)
{
    size_t bytes = trial->count * shmrt_dtype_bytes(trial->dtype);
    const void *terms[TERMS_MAX];
    char *places[TERMS_MAX];
    for (int k = 0; k < trial->n; k++) {
        places[k] = fenced_place(&fixture->in[k], bytes, trial->offset[k]);
        if (k == trial->in_place)
            fenced_paint(&fixture->in[k]);
        memcpy(places[k], fixture->pristine[k], bytes);
        terms[k] = places[k];
    }
    const struct fenced *around = &fixture->out;
    char *out = fenced_place(around, bytes, trial->out_offset);
    if (trial->in_place == OUTSIDE) {
        fenced_paint(around);
    } else {
        around = &fixture->in[trial->in_place];
        out = places[trial->in_place];
    }
    rungs_reduce(kernels, trial->dtype, trial->op, out, terms, trial->n, trial->count);
    if (memcmp(out, fixture->expected, bytes) != 0)
        fail_with_element(fixture, kernels, trial, out);
    fenced_check_paint(around, out, bytes);
    for (int k = 0; k < trial->n; k++)
        if (k != trial->in_place)
            assert_memory_equal(places[k], fixture->pristine[k], bytes);
}

/* The reference's own answer comes from plain buffers; then it is put to the same trial. */
static void run(struct fixture *fixture, const struct trial *trial)
{
    if (!fixture->rungs.kernels[0].reduce[trial->dtype][trial->op] ||
        rungs_skip_trial(&fixture->rungs))
        return;
    const void *terms[TERMS_MAX];
    for (int k = 0; k < trial->n; k++)
        terms[k] = fixture->pristine[k];
    rungs_reduce(&fixture->rungs.kernels[0], trial->dtype, trial->op, fixture->expected, terms,
                 trial->n, trial->count);
    for (int r = 0; r < fixture->rungs.count; r++)
        run_on(fixture, &fixture->rungs.kernels[r], trial);
}

/* Other places for each trial: half of the vectors end at the fault page. */
static void scatter_places(struct trial *trial, unsigned int number)
{
    for (int k = 0; k < trial->n; k++) {
        unsigned int mix = (number * 31 + (unsigned int)k * 17) * 2654435761u >> 16;
        trial->offset[k] = mix & 1 ? -1 : (int)(mix >> 1 & 63);
    }
    unsigned int mix = number * 2246822519u >> 16;
    trial->out_offset = mix & 1 ? -1 : (int)(mix >> 1 & 63);
}

static void sweep(struct fixture *fixture, const size_t *counts, size_t counts_count)
{
    unsigned int number = 0;
    for (int dtype = 0; dtype < SHMRT_DTYPE_COUNT; dtype++) {
        fixture_fill(fixture, dtype);
        for (int op = 0; op < SHMRT_OP_COUNT; op++)
            for (size_t t = 0; t < sizeof terms_tested / sizeof terms_tested[0]; t++)
                for (size_t c = 0; c < counts_count; c++) {
                    struct trial trial = {.dtype = dtype,
                                          .op = op,
                                          .n = terms_tested[t],
                                          .count = counts[c],
                                          .in_place = OUTSIDE};
                    scatter_places(&trial, number++);
                    run(fixture, &trial);
                    trial.in_place = (int)(number % (unsigned int)trial.n);
                    run(fixture, &trial);
                }
    }
}

static void every_tail(void **state)
{
    (void)state;
    enum { COUNTS = 201 };
    size_t counts[COUNTS];
    for (size_t i = 0; i < COUNTS; i++)
        counts[i] = i;
    struct fixture fixture;
    fixture_open(&fixture, COUNTS);
    sweep(&fixture, counts, COUNTS);
    fixture_close(&fixture);
}

/* One-byte elements need more than 256 of them to fill a block of four registers of 64 bytes. */
static void longer_vectors(void **state)
{
    (void)state;
    static const size_t counts[] = {255, 256, 257, 511, 512, 575, 1023, 1025, 4099};
    struct fixture fixture;
    fixture_open(&fixture, 4099);
    sweep(&fixture, counts, sizeof counts / sizeof counts[0]);
    fixture_close(&fixture);
}

static void every_misalignment(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, 600);
    for (int dtype = 0; dtype < SHMRT_DTYPE_COUNT; dtype++) {
        fixture_fill(&fixture, dtype);
        for (int op = 0; op < SHMRT_OP_COUNT; op++)
            for (int offset = 0; offset < 64; offset++) {
                struct trial trial = {.dtype = dtype,
                                      .op = op,
                                      .n = 2,
                                      .count = 600 / shmrt_dtype_bytes(dtype) - 1,
                                      .in_place = OUTSIDE,
                                      .offset = {offset, 0},
                                      .out_offset = 0};
                run(&fixture, &trial);
                trial.offset[1] = 63 - offset;
                trial.out_offset = offset * 5 & 63;
                run(&fixture, &trial);
                trial.in_place = 1;
                run(&fixture, &trial);
            }
    }
    fixture_close(&fixture);
}

/* @quarters (1 to 3) of the last bit of the float @half; 0 or a subnormal where it is too small. */
static uint16_t part_of_last_bit(uint16_t half, int fraction_bits, int quarters)
{
    int exponent = ((half & 0x7fff) >> fraction_bits) - fraction_bits - (quarters == 1 ? 2 : 1);
    int fraction = quarters == 3 ? 1 << (fraction_bits - 1) : 0;
    if (exponent <= 0)
        return (uint16_t)quarters;
    return (uint16_t)(exponent << fraction_bits | fraction);
}

/*
 * Every 16-bit float plus a quarter, a half and three quarters of its own last bit, and minus
 * these: the sums at which rounding is decided.
 */
static void every_half_near_ties(void **state)
{
    (void)state;
    static const struct {
        enum shmrt_dtype dtype;
        int fraction_bits;
    } types[] = {{SHMRT_BFLOAT16, 7}, {SHMRT_FLOAT16, 10}};
    struct fixture fixture;
    fixture_open(&fixture, 0x10000);
    uint16_t *value = (uint16_t *)fixture.pristine[0], *part = (uint16_t *)fixture.pristine[1];
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++)
        for (int quarters = -3; quarters <= 3; quarters++) {
            for (int i = 0; i <= 0xffff; i++) {
                value[i] = (uint16_t)i;
                part[i] = part_of_last_bit(value[i], types[t].fraction_bits, abs(quarters));
                part[i] |= quarters < 0 ? 0x8000 : 0;
            }
            struct trial trial = {.dtype = types[t].dtype,
                                  .op = SHMRT_SUM,
                                  .n = quarters == 0 ? 1 : 2, /* 1: the values themselves */
                                  .count = 0x10000,
                                  .in_place = OUTSIDE};
            run(&fixture, &trial);
        }
    fixture_close(&fixture);
}

/* Pairs are what two ranks make, and what a rung may have instructions of its own for. */
static void every_half_with_difficult_ones(void **state)
{
    (void)state;
    enum { HALVES = 0x10000, PARTNERS = 48 };
    struct fixture fixture;
    fixture_open(&fixture, HALVES);
    for (int dtype = SHMRT_BFLOAT16; dtype <= SHMRT_FLOAT16; dtype++) {
        uint16_t partners[PARTNERS], *halves = (uint16_t *)fixture.pristine[0];
        inputs_fill(partners, PARTNERS, dtype, 7);
        for (int half = 0; half < HALVES; half++)
            halves[half] = (uint16_t)half;
        for (int i = 0; i < PARTNERS; i++) {
            inputs_repeat(fixture.pristine[1], HALVES, dtype, partners[i]);
            for (int op = 0; op < SHMRT_OP_COUNT; op++) {
                struct trial trial = {
                    .dtype = dtype, .op = op, .n = 2, .count = HALVES, .in_place = OUTSIDE};
                run(&fixture, &trial);
            }
        }
    }
    fixture_close(&fixture);
}

/* Without this a sweep could pass because its vectors hold nothing difficult. */
static void vectors_are_difficult(void **state)
{
    (void)state;
    enum { COUNT = 16384 };
    struct fixture fixture;
    fixture_open(&fixture, COUNT);
    for (int dtype = SHMRT_FLOAT32; dtype <= SHMRT_FLOAT16; dtype++) {
        fixture_fill(&fixture, dtype);
        for (int op = 0; op < SHMRT_OP_COUNT; op++) {
            size_t seen[INPUTS_KINDS] = {0};
            const void *terms[] = {fixture.pristine[0], fixture.pristine[1]};
            rungs_reduce(&fixture.rungs.kernels[0], dtype, op, fixture.expected, terms, 2, COUNT);
            for (size_t i = 0; i < COUNT; i++) {
                enum inputs_kind kind = inputs_kind_of(fixture.expected, i, dtype);
                seen[kind]++;
                if (kind == INPUTS_NAN)
                    assert_int_equal(inputs_bits(fixture.expected, i, dtype),
                                     inputs_canonical_nan(dtype));
            }
            for (int kind = 0; kind < INPUTS_KINDS; kind++)
                if (seen[kind] < 10)
                    fail_msg("%s %s: kind %d comes %zu times in %d results",
                             shmrt_dtype_name(dtype), shmrt_op_name(op), kind, seen[kind], COUNT);
        }
    }
    fixture_close(&fixture);
}

int main(void)
{
    struct rungs rungs = rungs_here();
    rungs_print(&rungs);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_tail),
        cmocka_unit_test(longer_vectors),
        cmocka_unit_test(every_misalignment),
        cmocka_unit_test(every_half_near_ties),
        cmocka_unit_test(every_half_with_difficult_ones),
        cmocka_unit_test(vectors_are_difficult),
    };
    return cmocka_run_group_tests_name("rungs", tests, NULL, NULL);
}
