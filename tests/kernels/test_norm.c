/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_norm.c - what norms must be, and every rung against the reference, bit for bit.
 *
 * Buffers lie between pages that fault, and an output's surroundings are painted and looked at.
 */
#include "fenced.h"
#include "inputs.h"
#include "kernels/halves.h"
#include "rungs.h"
#include "values.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 3, COLUMNS_MAX = 4099, COUNT_MAX = ROWS * COLUMNS_MAX };

static const enum shmrt_dtype dtypes[] = {SHMRT_FLOAT32, SHMRT_BFLOAT16, SHMRT_FLOAT16};
enum { DTYPES = sizeof dtypes / sizeof dtypes[0] };

/* Which buffer is another one. */
enum aliasing { SEPARATE, SUM_IS_RESIDUAL, SUM_IS_RESIDUAL_AND_OUT_IS_IN, OUT_IS_IN, ALIASINGS };

enum buffer { IN, RESIDUAL, SUM, OUT, WEIGHT, BIAS, BUFFERS };

struct trial {
    enum shmrt_dtype dtype;
    enum shmrt_norm norm;
    size_t columns;
    bool residual, bias;
    enum aliasing aliasing;
    int offset; /* as fenced_place takes it */
};

struct fixture {
    struct rungs rungs;
    char *pristine[BUFFERS];
    char *expected_sum;
    char *expected;
    struct fenced fenced[BUFFERS];
};

static void fixture_open(struct fixture *fixture)
{
    fixture->rungs = rungs_here();
    for (int b = 0; b < BUFFERS; b++) {
        fixture->pristine[b] = malloc(COUNT_MAX * sizeof(float));
        fixture->fenced[b] = fenced_open(COUNT_MAX * sizeof(float) + 64);
        assert_non_null(fixture->pristine[b]);
    }
    fixture->expected_sum = malloc(COUNT_MAX * sizeof(float));
    fixture->expected = malloc(COUNT_MAX * sizeof(float));
    assert_true(fixture->expected_sum && fixture->expected);
}

static void fixture_close(struct fixture *fixture)
{
    for (int b = 0; b < BUFFERS; b++) {
        free(fixture->pristine[b]);
        fenced_close(&fixture->fenced[b]);
    }
    free(fixture->expected_sum);
    free(fixture->expected);
}

static struct shmrt_norm_args args_of(const struct trial *trial, char *const at[BUFFERS])
{
    return (struct shmrt_norm_args){.in = at[IN],
                                    .residual = trial->residual ? at[RESIDUAL] : NULL,
                                    .sum_out = at[SUM],
                                    .out = at[OUT],
                                    .weight = at[WEIGHT],
                                    .bias = trial->bias ? at[BIAS] : NULL,
                                    .rows = ROWS,
                                    .columns = trial->columns,
                                    .dtype = trial->dtype,
                                    .norm = trial->norm,
                                    .epsilon = 1e-5};
}

static void run_on(struct fixture *fixture, const struct shmrt_kernels *kernels,
                   const struct trial *trial)
{
    size_t row_bytes = trial->columns * shmrt_dtype_bytes(trial->dtype);
    char *at[BUFFERS];
    size_t bytes[BUFFERS];
    for (int b = 0; b < BUFFERS; b++) {
        bytes[b] = b == WEIGHT || b == BIAS ? row_bytes : ROWS * row_bytes;
        at[b] = fenced_place(&fixture->fenced[b], bytes[b], trial->offset);
        fenced_paint(&fixture->fenced[b]);
        memcpy(at[b], fixture->pristine[b], bytes[b]);
    }
    enum buffer sum = SUM, out = OUT;
    if (trial->aliasing == SUM_IS_RESIDUAL || trial->aliasing == SUM_IS_RESIDUAL_AND_OUT_IS_IN)
        sum = RESIDUAL;
    if (trial->aliasing == OUT_IS_IN || trial->aliasing == SUM_IS_RESIDUAL_AND_OUT_IS_IN)
        out = IN;
    struct shmrt_norm_args args = args_of(trial, at);
    args.sum_out = at[sum];
    args.out = at[out];
    shmrt_kernels_norm(kernels, &args, 0, ROWS);
    if (memcmp(at[sum], fixture->expected_sum, bytes[SUM]) ||
        memcmp(at[out], fixture->expected, bytes[OUT]))
        fail_msg("%s: %s of %zu columns of %s, residual %d, bias %d, aliasing %d, offset %d",
                 kernels->name, trial->norm ? "layer" : "RMS", trial->columns,
                 shmrt_dtype_name(trial->dtype), trial->residual, trial->bias, trial->aliasing,
                 trial->offset);
    for (int b = 0; b < BUFFERS; b++) {
        fenced_check_paint(&fixture->fenced[b], at[b], bytes[b]);
        if (b != (int)sum && b != (int)out)
            assert_memory_equal(at[b], fixture->pristine[b], bytes[b]);
    }
}

/* The reference's own answer comes from plain buffers; then it is put to the same trial. */
static void run(struct fixture *fixture, const struct trial *trial)
{
    struct shmrt_norm_args args = args_of(trial, fixture->pristine);
    args.sum_out = fixture->expected_sum;
    args.out = fixture->expected;
    shmrt_kernels_norm(&fixture->rungs.kernels[0], &args, 0, ROWS);
    for (int r = 0; r < fixture->rungs.count; r++)
        run_on(fixture, &fixture->rungs.kernels[r], trial);
}

/* Ordinary values; where @difficult, a NaN or an infinity spoils most rows longer than a few. */
static void fixture_fill(struct fixture *fixture, enum shmrt_dtype dtype, bool difficult)
{
    for (int b = 0; b < BUFFERS; b++)
        if (difficult)
            inputs_fill(fixture->pristine[b], COUNT_MAX, dtype, 77 + (uint64_t)b);
        else
            values_fill(fixture->pristine[b], 0, COUNT_MAX, dtype, b, 5);
}

static void sweep(bool difficult, const size_t *counts, size_t counts_count)
{
    struct fixture fixture;
    fixture_open(&fixture);
    unsigned number = 0;
    for (int d = 0; d < DTYPES; d++) {
        fixture_fill(&fixture, dtypes[d], difficult);
        for (int norm = 0; norm < SHMRT_NORM_COUNT; norm++)
            for (int variant = 0; variant < 4; variant++)
                for (size_t c = 0; c < counts_count; c++, number++) {
                    struct trial trial = {.dtype = dtypes[d],
                                          .norm = (enum shmrt_norm)norm,
                                          .columns = counts[c],
                                          .residual = variant & 1,
                                          .bias = norm == SHMRT_LAYER_NORM && variant & 2,
                                          .aliasing = number % ALIASINGS,
                                          .offset = number % 3 ? (int)(number * 7 % 64) : -1};
                    if (!rungs_skip_trial(&fixture.rungs))
                        run(&fixture, &trial);
                }
    }
    fixture_close(&fixture);
}

static void every_tail(void **state)
{
    (void)state;
    enum { COUNTS = 200 };
    size_t counts[COUNTS];
    for (size_t i = 0; i < COUNTS; i++)
        counts[i] = i;
    sweep(false, counts, COUNTS);
    sweep(true, counts, COUNTS);
}

static void longer_rows(void **state)
{
    (void)state;
    static const size_t counts[] = {255, 256, 257, 511, 1000, 2048, 4096, COLUMNS_MAX};
    sweep(false, counts, sizeof counts / sizeof counts[0]);
}

static double value_at(const char *vector, size_t i, enum shmrt_dtype dtype)
{
    uint64_t bits = inputs_bits(vector, i, dtype);
    if (dtype == SHMRT_FLOAT32)
        return shmrt_f32_from_bits((uint32_t)bits);
    return dtype == SHMRT_BFLOAT16 ? shmrt_bf16_widen((uint16_t)bits)
                                   : shmrt_fp16_widen((uint16_t)bits);
}

static double rounded(double value, enum shmrt_dtype dtype)
{
    if (dtype == SHMRT_BFLOAT16)
        return shmrt_bf16_widen(shmrt_bf16_round((float)value));
    if (dtype == SHMRT_FLOAT16)
        return shmrt_fp16_widen(shmrt_fp16_round((float)value));
    return (float)value;
}

/* Row @row of the reference's result against a computation in double. */
static void check_row(const struct fixture *fixture, const struct trial *trial, size_t row)
{
    enum shmrt_dtype dtype = trial->dtype;
    size_t n = trial->columns, at = row * n;
    double sum = 0, squares = 0;
    for (size_t j = 0; j < n; j++) {
        double x = value_at(fixture->pristine[IN], at + j, dtype);
        if (trial->residual)
            x = rounded(x + value_at(fixture->pristine[RESIDUAL], at + j, dtype), dtype);
        assert_true(x == value_at(fixture->expected_sum, at + j, dtype));
        sum += x;
    }
    double mean = trial->norm == SHMRT_LAYER_NORM ? sum / (double)n : 0;
    for (size_t j = 0; j < n; j++)
        squares += pow(value_at(fixture->expected_sum, at + j, dtype) - mean, 2);
    double scale = 1 / sqrt(squares / (double)n + 1e-5);
    /* A result next to a tie may be rounded the other way: by one unit, before the weight too. */
    double unit = dtype == SHMRT_FLOAT32 ? 0x1p-18 : dtype == SHMRT_BFLOAT16 ? 0x1p-6 : 0x1p-9;
    for (size_t j = 0; j < n; j++) {
        double x = (value_at(fixture->expected_sum, at + j, dtype) - mean) * scale;
        double weight = value_at(fixture->pristine[WEIGHT], j, dtype);
        double bias = trial->bias ? value_at(fixture->pristine[BIAS], j, dtype) : 0;
        double got = value_at(fixture->expected, at + j, dtype);
        double tolerance = unit * (fabs(x * weight) + fabs(bias)) + 0x1p-14;
        if (!(fabs(got - (x * weight + bias)) <= tolerance))
            fail_msg("%s of %s, column %zu of %zu: %g, not %g", trial->norm ? "layer" : "RMS",
                     shmrt_dtype_name(dtype), j, n, got, x * weight + bias);
    }
}

static void the_reference_is_right(void **state)
{
    (void)state;
    static const size_t columns[] = {1, 2, 63, 64, 65, 1000, 4096};
    struct fixture fixture;
    fixture_open(&fixture);
    for (int d = 0; d < DTYPES; d++) {
        fixture_fill(&fixture, dtypes[d], false);
        for (size_t c = 0; c < sizeof columns / sizeof columns[0]; c++)
            for (int variant = 0; variant < 8; variant++) {
                bool layer = variant & 4;
                struct trial trial = {.dtype = dtypes[d],
                                      .norm = layer ? SHMRT_LAYER_NORM : SHMRT_RMS_NORM,
                                      .columns = columns[c],
                                      .residual = variant & 1,
                                      .bias = layer && variant & 2};
                run(&fixture, &trial);
                for (size_t row = 0; row < ROWS; row++)
                    check_row(&fixture, &trial, row);
            }
    }
    fixture_close(&fixture);
}

/* The header promises an order; another one gives other bits, or this would prove nothing. */
static void the_order_of_summation(void **state)
{
    (void)state;
    enum { COLUMNS = 1000 };
    float in[COLUMNS], sum[COLUMNS], out[COLUMNS], weight[COLUMNS];
    struct rungs rungs = rungs_here();
    int others = 0;
    for (unsigned seed = 0; seed < 50; seed++) {
        values_fill(in, 0, COLUMNS, SHMRT_FLOAT32, 0, seed);
        float partial[64] = {0}, plain = 0;
        for (int j = 0; j < COLUMNS; j++) {
            weight[j] = 1;
            partial[j % 64] += in[j] * in[j];
            plain += in[j] * in[j];
        }
        for (int half = 32; half > 0; half /= 2)
            for (int i = 0; i < half; i++)
                partial[i] += partial[i + half];
        struct shmrt_norm_args args = {
            in, NULL, sum, out, weight, NULL, 1, COLUMNS, SHMRT_FLOAT32, SHMRT_RMS_NORM, 0};
        shmrt_kernels_norm(&rungs.kernels[0], &args, 0, 1);
        float scale = 1.0f / sqrtf(partial[0] / COLUMNS);
        for (int j = 0; j < COLUMNS; j++)
            assert_true(out[j] == in[j] * scale);
        others += scale != 1.0f / sqrtf(plain / COLUMNS);
    }
    assert_true(others > 5);
}

/* A value is rounded before the weight, as LlamaRMSNorm does, and the weighted one again. */
static void rms_rounds_twice(void **state)
{
    (void)state;
    enum { COLUMNS = 128 };
    uint16_t in[COLUMNS], sum[COLUMNS], out[COLUMNS], weight[COLUMNS];
    struct rungs rungs = rungs_here();
    int others = 0;
    float scale = 1.0f / sqrtf(1.0f + 0.1f);
    for (int j = 0; j < COLUMNS; j++) {
        in[j] = shmrt_bf16_round(1.0f);
        weight[j] = (uint16_t)(0x3f80 + j); /* every number of [1, 2) */
    }
    struct shmrt_norm_args args = {
        in, NULL, sum, out, weight, NULL, 1, COLUMNS, SHMRT_BFLOAT16, SHMRT_RMS_NORM, 0.1};
    for (int r = 0; r < rungs.count; r++) {
        shmrt_kernels_norm(&rungs.kernels[r], &args, 0, 1);
        for (int j = 0; j < COLUMNS; j++) {
            float w = shmrt_bf16_widen(weight[j]);
            float inner = shmrt_bf16_widen(shmrt_bf16_round(scale));
            assert_int_equal(out[j], shmrt_bf16_round(inner * w));
            others += out[j] != shmrt_bf16_round(scale * w);
        }
    }
    assert_true(others > 0);
}

/* Only the rows asked for are touched. */
static void some_rows(void **state)
{
    (void)state;
    enum { COLUMNS = 70, COUNT = 5 * COLUMNS };
    float in[COUNT], residual[COUNT], sum[COUNT], out[COUNT], weight[COLUMNS];
    float all_sum[COUNT], all[COUNT];
    struct rungs rungs = rungs_here();
    values_fill(in, 0, COUNT, SHMRT_FLOAT32, 0, 1);
    values_fill(residual, 0, COUNT, SHMRT_FLOAT32, 1, 1);
    values_fill(weight, 0, COLUMNS, SHMRT_FLOAT32, 2, 1);
    struct shmrt_norm_args args = {in,      residual,      all_sum,          all, weight, NULL, 5,
                                   COLUMNS, SHMRT_FLOAT32, SHMRT_LAYER_NORM, 0};
    shmrt_kernels_norm(&rungs.kernels[0], &args, 0, 5);
    args.sum_out = sum;
    args.out = out;
    for (int r = 0; r < rungs.count; r++) {
        for (int i = 0; i < COUNT; i++)
            sum[i] = out[i] = -123;
        shmrt_kernels_norm(&rungs.kernels[r], &args, 2, 2);
        for (int i = 0; i < COUNT; i++) {
            bool asked = i / COLUMNS == 2 || i / COLUMNS == 3;
            assert_true(sum[i] == (asked ? all_sum[i] : -123));
            assert_true(out[i] == (asked ? all[i] : -123));
        }
    }
}

int main(void)
{
    struct rungs rungs = rungs_here();
    rungs_print(&rungs);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reference_is_right),
        cmocka_unit_test(the_order_of_summation),
        cmocka_unit_test(rms_rounds_twice),
        cmocka_unit_test(some_rows),
        cmocka_unit_test(every_tail),
        cmocka_unit_test(longer_rows),
    };
    return cmocka_run_group_tests_name("norm", tests, NULL, NULL);
}
