/* SPDX-License-Identifier: Apache-2.0 */
/*
 * norm.c - all-reduce with residual and norm: fused, and as two calls of the same library.
 *
 * The residual stands in for one more rank's term, so that the sum is checked to the bit as an
 * all-reduce of one rank more. As in a decoder, the sum becomes the next residual. The two calls
 * are shmrt_allreduce(), then the norm alone through a communicator of this rank only: the same
 * kernels, and one pass over memory more.
 */
#include "bench.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_COLUMNS = 4096, WEIGHTS = 4 };

#define EPSILON 1e-5

struct bench_norm {
    struct shmrt_comm *alone;
    char *residual; /* and sum_out */
    char *weight;
    char *sum; /* of the all-reduce, when it is a call of its own */
};

/* The longest row that divides the vector. */
static size_t columns_of(size_t count)
{
    size_t columns = count < MOST_COLUMNS ? count : MOST_COLUMNS;
    while (columns > 1 && count % columns)
        columns--;
    return columns;
}

static struct shmrt_norm_args args_of(const struct bench_rank *r)
{
    size_t count = (size_t)r->task.count, columns = columns_of(count);
    return (struct shmrt_norm_args){.in = r->in,
                                    .residual = r->norm->residual,
                                    .sum_out = r->norm->residual,
                                    .out = r->out,
                                    .weight = r->norm->weight,
                                    .rows = count / columns,
                                    .columns = columns,
                                    .dtype = r->options->dtype,
                                    .norm = SHMRT_RMS_NORM,
                                    .epsilon = EPSILON};
}

int bench_norm_run(struct bench_rank *rank, int calls)
{
    struct shmrt_norm_args args = args_of(rank);
    int rc = 0;
    for (int i = 0; i < calls && rc == 0; i++)
        rc = shmrt_allreduce_norm(rank->comm, &args);
    return rc;
}

int bench_unfused_run(struct bench_rank *rank, int calls)
{
    struct shmrt_norm_args args = args_of(rank);
    char *sum = rank->in == rank->out ? rank->in : rank->norm->sum; /* the input stays */
    int rc = 0;
    args.in = sum;
    for (int i = 0; i < calls && rc == 0; i++) {
        rc = shmrt_allreduce(rank->comm, rank->in, sum, (size_t)rank->task.count,
                             rank->options->dtype, SHMRT_SUM);
        rc = rc ? rc : shmrt_allreduce_norm(rank->norm->alone, &args);
    }
    return rc;
}

static double fp16_value(uint16_t half)
{
    int exponent = half >> 10 & 0x1f, fraction = half & 0x3ff;
    double value = exponent == 0x1f ? (fraction ? (double)NAN : (double)INFINITY)
                   : exponent == 0  ? ldexp(fraction, -24)
                                    : ldexp(fraction + 0x400, exponent - 25);
    return half & 0x8000 ? -value : value;
}

static double number_at(const char *memory, enum shmrt_dtype dtype, size_t i)
{
    float f;
    uint16_t half;
    if (dtype == SHMRT_FLOAT32) {
        memcpy(&f, memory + i * sizeof f, sizeof f);
        return (double)f;
    }
    memcpy(&half, memory + i * sizeof half, sizeof half);
    uint32_t bits = (uint32_t)half << 16;
    memcpy(&f, &bits, sizeof f);
    return dtype == SHMRT_BFLOAT16 ? (double)f : fp16_value(half);
}

/* 0.5, 1, 1.5, 2: exact in every type. */
static double weight_at(size_t column)
{
    return 0.5 * (double)(1 + column % WEIGHTS);
}

static void fill_weights(char *to, enum shmrt_dtype dtype)
{
    for (size_t i = 0; i < MOST_COLUMNS; i++) {
        float f = (float)weight_at(i);
        uint32_t bits;
        memcpy(&bits, &f, sizeof bits);
        uint16_t half = dtype == SHMRT_BFLOAT16 ? (uint16_t)(bits >> 16) : bench_fp16(f);
        if (dtype == SHMRT_FLOAT32)
            memcpy(to + i * sizeof f, &f, sizeof f);
        else
            memcpy(to + i * sizeof half, &half, sizeof half);
    }
}

/* A row of the output, against its row of the sum, in double precision. */
static bool is_normed(const struct shmrt_norm_args *a, size_t row)
{
    double squares = 0, tolerance = a->dtype == SHMRT_FLOAT32 ? 1e-4 : 1.0 / 64;
    for (size_t i = 0; i < a->columns; i++) {
        double x = number_at(a->sum_out, a->dtype, row * a->columns + i);
        squares += x * x;
    }
    double factor = 1 / sqrt(squares / (double)a->columns + a->epsilon);
    for (size_t i = 0; i < a->columns; i++) {
        size_t at = row * a->columns + i;
        double right = number_at(a->sum_out, a->dtype, at) * factor * weight_at(i);
        if (!(fabs(number_at(a->out, a->dtype, at) - right) <= tolerance * (fabs(right) + 1e-3)))
            return false;
    }
    return true;
}

static int verify(struct bench_rank *rank, int (*run)(struct bench_rank *, int))
{
    struct bench_task sum = rank->task, norm = rank->task;
    uint32_t self = (uint32_t)rank->rank;
    sum.collective = BENCH_ALLREDUCE;
    sum.ranks++;
    bench_fill(&sum, sum.ranks - 1, rank->norm->residual, rank->out);
    bench_fill(&sum, self, rank->in, rank->norm->sum);
    int rc = run(rank, 1);
    if (rc == 0 && bench_check(&sum, self, rank->norm->residual) >= 0)
        rc = -EBADMSG;
    struct shmrt_norm_args args = args_of(rank);
    for (size_t row = 0; row < args.rows && rc == 0; row++)
        rc = is_normed(&args, row) ? 0 : -EBADMSG;
    bench_clear(&norm, rank->in, rank->out);
    bench_clear(&norm, rank->norm->residual, rank->norm->sum);
    return rc;
}

int bench_norm_verify(struct bench_rank *rank)
{
    return verify(rank, bench_norm_run);
}

int bench_unfused_verify(struct bench_rank *rank)
{
    return verify(rank, bench_unfused_run);
}

/* As many lanes as the job's communicator has. */
static int join_alone(struct bench_rank *rank, struct shmrt_comm **out)
{
    struct shmrt_error error;
    char lanes[32], job[64];
    const char *settings[] = {lanes, "pool=0", NULL};
    snprintf(lanes, sizeof lanes, "lanes=%d", shmrt_comm_lanes(rank->comm));
    snprintf(job, sizeof job, "shm-bench-alone-%d-%d", (int)getpid(), rank->rank);
    struct shmrt_params params = {.rank = 0, .size = 1, .job = job, .settings = settings};
    int rc = shmrt_comm_create(&params, out, &error);
    if (rc)
        fprintf(stderr, "shm-bench: rank %d: %s\n", rank->rank, error.text);
    return rc;
}

int bench_norm_take(struct bench_rank *rank)
{
    struct bench_task largest = bench_task_of(rank->options, rank->options->last_bytes);
    size_t bytes = bench_payload_bytes(&largest);
    if (rank->options->collective != BENCH_ALLREDUCE_NORM)
        return 0;
    struct bench_norm *norm = rank->norm = calloc(1, sizeof *norm);
    if (!norm)
        return -ENOMEM;
    char **const buffers[] = {&norm->residual, &norm->sum, &norm->weight};
    for (int b = 0; b < 3; b++) {
        size_t wanted = buffers[b] == &norm->weight ? MOST_COLUMNS * sizeof(float) : bytes;
        if (posix_memalign((void **)buffers[b], 4096, wanted) != 0)
            return -ENOMEM;
        memset(*buffers[b], 0, wanted);
    }
    fill_weights(norm->weight, rank->options->dtype);
    return join_alone(rank, &norm->alone);
}

void bench_norm_give_back(struct bench_rank *rank)
{
    if (!rank->norm)
        return;
    shmrt_comm_destroy(rank->norm->alone);
    free(rank->norm->residual);
    free(rank->norm->weight);
    free(rank->norm->sum);
    free(rank->norm);
}
