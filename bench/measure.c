/* SPDX-License-Identifier: Apache-2.0 */
/*
 * measure.c - samples, taken in turns.
 *
 * Rank 0 sizes the batch from a trial; all ranks time the same batches; sample i of the result is
 * the slowest rank's. Contenders alternate, so that a noisy moment meets all of them.
 */
#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TURNS = 8, MIN_SAMPLES_A_TURN = 3, MAX_SAMPLES_A_TURN = MAX_SAMPLES / TURNS };

#define MIN_SAMPLE_US 20.0

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* Microseconds of one batch, on this rank. */
static int time_batch(struct bench_rank *rank, const struct bench_contender *contender, int calls,
                      double *us_out)
{
    int rc = shmrt_barrier(rank->comm);
    double start = now_us();
    if (rc == 0)
        rc = contender->run(rank, calls);
    *us_out = now_us() - start;
    return rc;
}

/* Doubles the batch until it is long enough; every rank takes part, rank 0 decides. */
static int size_batch(struct bench_rank *rank, const struct bench_contender *contender, int *batch,
                      int *samples)
{
    struct bench_shared *s = rank->shared;
    double us = 0;
    int rc = 0;
    for (*batch = 1; rc == 0; *batch *= 2) {
        rc = time_batch(rank, contender, *batch, &us);
        if (rank->rank == 0)
            s->samples = us >= MIN_SAMPLE_US;
        rc = rc ? rc : shmrt_barrier(rank->comm);
        if (rc || s->samples)
            break;
        rc = shmrt_barrier(rank->comm);
    }
    if (rank->rank == 0) {
        double wanted = rank->options->seconds * 1e6 / us / TURNS;
        *samples = wanted < MIN_SAMPLES_A_TURN   ? MIN_SAMPLES_A_TURN
                   : wanted > MAX_SAMPLES_A_TURN ? MAX_SAMPLES_A_TURN
                                                 : (int)wanted;
        s->batch = *samples;
    }
    rc = rc ? rc : shmrt_barrier(rank->comm);
    *samples = s->batch;
    return rc ? rc : shmrt_barrier(rank->comm);
}

static int take_turn(struct bench_rank *rank, const struct bench_contender *contender, int batch,
                     int samples, double *slowest_us)
{
    struct bench_shared *s = rank->shared;
    double unused;
    int rc = time_batch(rank, contender, batch, &unused); /* warm up after the other contender */
    for (int i = 0; i < samples && rc == 0; i++) {
        rc = time_batch(rank, contender, batch, &s->sample_us[rank->rank][i]);
        s->sample_us[rank->rank][i] /= batch;
    }
    rc = rc ? rc : shmrt_barrier(rank->comm);
    if (rc)
        return rc;
    for (int i = 0; i < samples; i++) {
        slowest_us[i] = 0;
        for (int r = 0; r < rank->options->ranks; r++)
            if (s->sample_us[r][i] > slowest_us[i])
                slowest_us[i] = s->sample_us[r][i];
    }
    return shmrt_barrier(rank->comm);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static struct bench_result summarise(const char *name, size_t bytes, double *us, int n)
{
    qsort(us, (size_t)n, sizeof *us, compare);
    return (struct bench_result){.contender = name,
                                 .bytes = bytes,
                                 .best_us = us[0],
                                 .median_us = us[n / 2],
                                 .p99_us = us[(n * 99 + 99) / 100 - 1]};
}

int bench_measure(struct bench_rank *rank, struct bench_result *results)
{
    int count = bench_contender_count(rank->options->ranks), rc = 0;
    int batch[MAX_CONTENDERS], samples[MAX_CONTENDERS];
    static _Thread_local double us[MAX_CONTENDERS][MAX_SAMPLES];
    for (int c = 0; c < count && rc == 0; c++)
        rc = size_batch(rank, &bench_contenders[c], &batch[c], &samples[c]);
    for (int turn = 0; turn < TURNS && rc == 0; turn++)
        for (int c = 0; c < count && rc == 0; c++)
            rc = take_turn(rank, &bench_contenders[c], batch[c], samples[c],
                           &us[c][turn * samples[c]]);
    for (int c = 0; c < count && rc == 0; c++)
        results[c] = summarise(bench_contenders[c].name, rank->bytes, us[c], samples[c] * TURNS);
    return rc;
}
