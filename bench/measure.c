/* SPDX-License-Identifier: Apache-2.0 */
/*
 * measure.c - samples, taken in turns.
 *
 * Rank 0 sizes the batch from trials; all ranks time the same batches; sample i of the result is
 * the slowest rank's. Contenders take turns in rotating order, so that a noisy moment meets all of
 * them and none always follows the same other. Every turn begins with a batch that is not counted:
 * it brings the contender's own data into the caches.
 */
#include "bench.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TRIALS = 3, MIN_SAMPLES_A_TURN = 3, LARGEST_BATCH = 1 << 24 };

/* A batch is chosen a little longer than it has to be: later ones may be faster than the trials. */
#define TRIAL_SAMPLE_US (1.25 * MIN_SAMPLE_US)

/* One contender at one size. Batch and samples are the same on all ranks; times are rank 0's. */
struct series {
    int batch;
    int samples; /* a turn */
    int taken;
    int singles;
    double us[MAX_SAMPLES];
    double single_us[MAX_SAMPLES];
};

static int run_contender(void *arg, int calls)
{
    struct bench_rank *rank = arg;
    return rank->contenders[rank->current].run(rank, calls);
}

static int prepare_contender(void *arg)
{
    struct bench_rank *rank = arg;
    const struct bench_contender *c = &rank->contenders[rank->current];
    if (c->prepare)
        return c->prepare(rank);
    bench_prepare(&rank->task, (uint32_t)rank->rank, rank->in,
                  c->run == bench_memcpy_run ? rank->copy : rank->out);
    return 0;
}

/* A call of it goes there and back, which counts as two. */
static bool is_ping_pong(const struct bench_rank *rank)
{
    return rank->task.collective == BENCH_SENDRECV &&
           rank->contenders[rank->current].kind != BENCH_FLOOR;
}

/* Rank 0, between two meetings: the slowest rank's time of a call, in each sample. */
static void merge(struct bench_rank *rank, int samples)
{
    struct bench_shared *s = rank->shared;
    for (int i = 0; i < samples; i++) {
        double slowest = 0;
        for (int r = 0; r < rank->options->ranks; r++)
            if (s->us[r][i] > slowest)
                slowest = s->us[r][i];
        s->slowest_us[i] = is_ping_pong(rank) ? slowest / 2 : slowest;
    }
}

static int sample_own(struct bench_rank *rank, const struct bench_contender *c, int calls,
                      int samples)
{
    bool touches_buffers = c->by_size && rank->options->buffers != BENCH_WARM;
    struct bench_batch batch = {run_contender, NULL, rank};
    if (c->prepare || touches_buffers)
        batch.prepare = prepare_contender;
    double us;
    int rc = bench_time_batch(&rank->party, &batch, calls, &us);
    for (int i = 0; i < samples && rc == 0; i++) {
        rc = bench_time_batch(&rank->party, &batch, calls, &us);
        rank->shared->us[rank->rank][i] = us / calls;
    }
    return rc;
}

/* Take samples of @calls calls each, of any kind of contender; slowest_us[] is then on all ranks.
 */
static int sample(struct bench_rank *rank, int contender, int calls, int samples)
{
    const struct bench_contender *c = &rank->contenders[contender];
    bench_choose(rank, contender);
    int rc = c->kind == BENCH_PEER ? bench_host_run(rank, contender, calls, samples)
                                   : sample_own(rank, c, calls, samples);
    rc = rc ? rc : bench_meet(&rank->party, BENCH_SPIN);
    if (rc == 0 && rank->rank == 0)
        merge(rank, samples);
    return rc ? rc : bench_meet(&rank->party, BENCH_SPIN);
}

/* The shortest of the samples that lie in slowest_us[], whole. Every rank finds the same. */
static double shortest_us(const struct bench_rank *rank, int calls, int samples)
{
    double us = INFINITY;
    for (int i = 0; i < samples; i++)
        us = fmin(us, rank->shared->slowest_us[i] * calls);
    return is_ping_pong(rank) ? us * 2 : us;
}

static int size_batch(struct bench_rank *rank, int contender, double seconds, struct series *out)
{
    double us = 0;
    int rc = 0;
    out->batch = 1;
    while ((rc = sample(rank, contender, out->batch, TRIALS)) == 0 &&
           !rank->shared->skipped[contender][0]) {
        us = shortest_us(rank, out->batch, TRIALS);
        if (us >= TRIAL_SAMPLE_US || out->batch >= LARGEST_BATCH)
            break;
        out->batch *= 2;
    }
    double wanted = seconds * 1e6 / fmax(us, 1) / TURNS;
    out->samples = (int)fmin(fmax(wanted, MIN_SAMPLES_A_TURN), MAX_SAMPLES_A_TURN);
    return rc;
}

/* A turn whose batches are too short, since the trials met a noisy moment, is done again, longer.
 */
static int take_batches(struct bench_rank *rank, int contender, struct series *series)
{
    int rc = 0;
    while ((rc = sample(rank, contender, series->batch, series->samples)) == 0 &&
           !rank->shared->skipped[contender][0]) {
        bool is_short = shortest_us(rank, series->batch, series->samples) < MIN_SAMPLE_US;
        if (!is_short || series->batch >= LARGEST_BATCH)
            break;
        series->batch *= 2; /* earlier samples were long enough: they stay */
    }
    if (rc == 0 && rank->rank == 0)
        for (int i = 0; i < series->samples && series->taken < MAX_SAMPLES; i++)
            series->us[series->taken++] = rank->shared->slowest_us[i];
    return rc;
}

/* Calls timed alone, where they are long enough; a batch of one has been that already. */
static int take_singles(struct bench_rank *rank, int contender, struct series *series)
{
    double us = shortest_us(rank, 1, series->samples);
    int rc = bench_meet(&rank->party, BENCH_SPIN); /* all have read slowest_us[] */
    if (rc || us < MIN_SINGLE_US)
        return rc;
    if (series->batch > 1)
        rc = sample(rank, contender, 1, MAX_SAMPLES_A_TURN);
    if (rc || rank->rank != 0 || rank->shared->skipped[contender][0])
        return rc;
    int taken = series->batch > 1 ? MAX_SAMPLES_A_TURN : series->samples;
    for (int i = 0; i < taken && series->singles < MAX_SAMPLES; i++)
        series->single_us[series->singles++] = rank->shared->slowest_us[i];
    return 0;
}

static int take_turn(struct bench_rank *rank, int contender, struct series *series)
{
    if (rank->shared->skipped[contender][0])
        return 0;
    int rc = take_batches(rank, contender, series);
    if (rc || rank->shared->skipped[contender][0])
        return rc;
    return take_singles(rank, contender, series);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void bench_summarise(double *us, int n, struct bench_result *out)
{
    qsort(us, (size_t)n, sizeof *us, compare);
    out->samples = n;
    out->best_us = us[0];
    out->median_us = us[n / 2];
}

double bench_p99(double *us, int n)
{
    qsort(us, (size_t)n, sizeof *us, compare);
    return us[(n * 99 + 99) / 100 - 1];
}

static void summarise(const struct bench_rank *rank, int contender, struct series *series,
                      struct bench_result *out)
{
    const struct bench_contender *c = &rank->contenders[contender];
    size_t payload = bench_payload_bytes(&rank->task);
    *out = (struct bench_result){.contender = c->name,
                                 .kind = c->kind,
                                 .bytes = rank->bytes,
                                 .moved_bytes = c->by_size ? payload : 0,
                                 .batch = series->batch};
    if (series->taken == 0 || rank->shared->skipped[contender][0])
        return;
    bench_summarise(series->us, series->taken, out);
    out->singles = series->singles;
    if (series->singles > 0)
        out->p99_us = bench_p99(series->single_us, series->singles);
}

int bench_measure(struct bench_rank *rank, struct bench_result *results)
{
    int count = rank->contender_count, rc = 0;
    struct series *series = calloc((size_t)count, sizeof *series);
    if (!series)
        return -ENOMEM;
    for (int c = 0; c < count && rc == 0; c++) {
        /* What does the same at every size is measured at each of them, so a little is enough. */
        double share = rank->contenders[c].by_size ? 1 : 0.2;
        if (!rank->shared->skipped[c][0])
            rc = size_batch(rank, c, rank->options->seconds * share, &series[c]);
    }
    for (int turn = 0; turn < TURNS && rc == 0; turn++)
        for (int i = 0; i < count && rc == 0; i++) {
            int c = (turn + i) % count;
            bench_progress(rank, rank->contenders[c].name, (turn + (double)i / count) / TURNS);
            rc = take_turn(rank, c, &series[c]);
        }
    if (rc == 0 && rank->rank == 0)
        for (int c = 0; c < count; c++)
            summarise(rank, c, &series[c], &results[c]);
    free(series);
    return rc;
}
