/* SPDX-License-Identifier: Apache-2.0 */
/*
 * comm_tune.c - the thresholds between the ways of an all-reduce.
 *
 * Rank 0 decides where they come from, and says so in its hello. Where they are to be measured, all
 * ranks do so together when they have met, take for each time the slowest rank's, and so come to
 * the same thresholds; rank 0 keeps them for the next job. A measurement takes some 20 ms, and is
 * not tried where ranks share CPUs: it would measure the scheduler.
 */
#include "comm.h"

#include "base/clock.h"
#include "tuning_cache.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DEFAULT_ONESHOT = 16 * 1024,
    DEFAULT_LANE = 32 * 1024,
    FIRST_BYTES = 4 * 1024,
    SIZES = 9, /* 4 KiB to 1 MiB, doubling */
    SAMPLES = 5,
    SAMPLE_NS = 40 * 1000,
    /* With more ranks each of them reading everything can't pay: (N-1)S against 2S. */
    MOST_EXCHANGE_RANKS = 4,
};

/* Another way has to be this much faster to be chosen over the usual one, for noise is no reason.
 */
#define CLEARLY 0.93

enum way { TWOSHOT, ONESHOT, EXCHANGE, WAYS };

static bool is_auto(const struct shmrt_comm *comm)
{
    return comm->options.oneshot_max_bytes == SHMRT_AUTO ||
           comm->options.exchange_max_bytes == SHMRT_AUTO;
}

/* What the user set stays, whatever was measured. */
static void apply_settings(const struct shmrt_comm *comm, struct shmrt_tuning *tuning)
{
    const struct shmrt_options *options = &comm->options;
    if (options->oneshot_max_bytes != SHMRT_AUTO)
        tuning->oneshot_max_bytes = options->oneshot_max_bytes;
    if (options->exchange_max_bytes != SHMRT_AUTO)
        tuning->exchange_max_bytes = options->exchange_max_bytes;
    if (options->lane_bytes != SHMRT_AUTO)
        tuning->lane_bytes = options->lane_bytes;
}

static bool find_path(const struct shmrt_comm *comm, int ranks, uint64_t lanes,
                      char out[SHMRT_TUNING_PATH_BYTES])
{
    const struct shmrt_tuning_key key = {ranks, lanes, comm->group.kernels.name, NULL};
    return shmrt_tuning_path(&key, out);
}

int shmrt_tune_choose(struct shmrt_comm *comm, int ranks, uint64_t lanes, bool crowded,
                      struct shmrt_tuning *out, struct shmrt_error *error_out)
{
    char path[SHMRT_TUNING_PATH_BYTES];
    const char *tune = comm->options.tune;
    bool now = strcmp(tune, "now") == 0, off = strcmp(tune, "off") == 0;
    if (!now && !off && strcmp(tune, "auto") != 0)
        return shmrt_error_set(error_out, -EINVAL, "SHMRT_TUNE=%s is not auto, now or off", tune);
    *out = (struct shmrt_tuning){.oneshot_max_bytes = DEFAULT_ONESHOT,
                                 .hierarchy_min_bytes = SHMRT_HIERARCHY_NEVER,
                                 .lane_bytes = DEFAULT_LANE};
    if (ranks > 1 && !off && is_auto(comm) && find_path(comm, ranks, lanes, path)) {
        if (!now && shmrt_tuning_read(path, out))
            out->tuned = SHMRT_TUNED_CACHED;
        else if (!crowded)
            out->tuned = SHMRT_TUNED_MEASURE;
    }
    apply_settings(comm, out);
    return 0;
}

int shmrt_tune_time(struct shmrt_comm *comm, const struct shmrt_coll *coll, int calls,
                    double *ns_out)
{
    struct shmrt_work work;
    const struct shmrt_coll meet = {.collective = SHMRT_BARRIER, .element_bytes = 1};
    shmrt_work_make(&work, &comm->group, &meet);
    int rc = shmrt_work_run(&work);
    int64_t start_ns = shmrt_now_ns();
    for (int i = 0; i < calls && rc == 0; i++) {
        shmrt_work_make(&work, &comm->group, coll);
        rc = shmrt_work_run(&work);
    }
    *ns_out = (double)(shmrt_now_ns() - start_ns) / calls;
    return rc;
}

static void force(struct shmrt_group *group, enum way way)
{
    group->tuning.oneshot_max_bytes = way == ONESHOT ? group->layout.small_bytes : 0;
    group->tuning.exchange_max_bytes = way == EXCHANGE ? SIZE_MAX : 0;
    group->tuning.hierarchy_min_bytes = SIZE_MAX;
}

/* The best of a few samples: of what disturbs, nothing makes a call faster. */
static int time_ways(struct shmrt_comm *comm, const struct shmrt_coll *coll, double best[WAYS])
{
    size_t bytes = coll->count * coll->element_bytes;
    int rc = 0;
    for (int i = 0; i < SAMPLES && rc == 0; i++)
        for (enum way way = 0; way < WAYS && rc == 0; way++) {
            double ns = 0;
            if ((way == ONESHOT && bytes > comm->group.layout.small_bytes) ||
                (way == EXCHANGE && comm->group.sync.size > MOST_EXCHANGE_RANKS))
                continue;
            force(&comm->group, way);
            /* About 5 bytes a nanosecond, whatever the machine: only the batch depends on it. */
            int calls = 1 + (int)(SAMPLE_NS / (500 + bytes / 5));
            rc = shmrt_tune_time(comm, coll, calls, &ns);
            best[way] = best[way] == 0 || ns < best[way] ? ns : best[way];
        }
    return rc;
}

/* The largest size up to which @way is worth it; both arrays are by size. */
static size_t find_threshold(double times[SIZES][WAYS], enum way way, size_t after)
{
    size_t threshold = 0;
    for (int i = 0; i < SIZES; i++) {
        size_t bytes = (size_t)FIRST_BYTES << i;
        const double *t = times[i];
        if (bytes <= after)
            continue;
        double other = t[TWOSHOT];
        if (way == ONESHOT && t[EXCHANGE] > 0 && t[EXCHANGE] < other)
            other = t[EXCHANGE];
        if (t[way] == 0 || t[way] > other * (way == EXCHANGE ? CLEARLY : 1))
            break;
        threshold = bytes;
    }
    return threshold;
}

static int measure(struct shmrt_comm *comm, char *buffer, double times[SIZES][WAYS])
{
    struct shmrt_coll coll = {.collective = SHMRT_ALLREDUCE,
                              .in = buffer,
                              .out = buffer,
                              .element_bytes = sizeof(float),
                              .dtype = SHMRT_FLOAT32,
                              .op = SHMRT_SUM};
    int rc = 0;
    for (int i = 0; i < SIZES && rc == 0; i++) {
        coll.count = ((size_t)FIRST_BYTES << i) / sizeof(float);
        rc = time_ways(comm, &coll, times[i]);
    }
    if (rc)
        return rc;
    /* The slowest rank's times are everyone's. */
    struct shmrt_work work;
    coll = (struct shmrt_coll){.collective = SHMRT_ALLREDUCE,
                               .in = (char *)times,
                               .out = (char *)times,
                               .count = SIZES * WAYS,
                               .element_bytes = sizeof(double),
                               .dtype = SHMRT_FLOAT64,
                               .op = SHMRT_MAX};
    force(&comm->group, TWOSHOT);
    shmrt_work_make(&work, &comm->group, &coll);
    return shmrt_work_run(&work);
}

/* Without a folder of the user's to write to nothing is wrong, but each start takes longer. */
void shmrt_tune_tell_kept(const struct shmrt_comm *comm, const char *path, int rc)
{
    if (rc)
        shmrt_log(&comm->group.sync.logger, SHMRT_LOG_WARNING,
                  "what was measured can't be kept in %.*s (%s), so every start measures again for "
                  "some 20 ms: name a folder that can be written in XDG_CACHE_HOME, or set "
                  "SHMRT_TUNE=off",
                  (int)(strrchr(path, '/') - path), path, strerror(-rc));
}

int shmrt_tune_measure(struct shmrt_comm *comm, uint64_t lanes, struct shmrt_error *error_out)
{
    struct shmrt_tuning *tuning = &comm->group.tuning, before = *tuning;
    double times[SIZES][WAYS] = {{0}};
    char path[SHMRT_TUNING_PATH_BYTES];
    char *buffer = calloc(1, (size_t)FIRST_BYTES << (SIZES - 1));
    if (!buffer)
        return shmrt_error_set(error_out, -ENOMEM, "no memory to measure with");
    int rc = measure(comm, buffer, times);
    free(buffer);
    *tuning = before;
    if (rc) {
        if (!shmrt_has_failed(&comm->group.sync, error_out))
            shmrt_error_set(error_out, rc, "%s", strerror(-rc));
        return rc;
    }
    tuning->tuned = SHMRT_TUNED_MEASURED;
    tuning->oneshot_max_bytes = find_threshold(times, ONESHOT, 0);
    if (tuning->oneshot_max_bytes < FIRST_BYTES)
        tuning->oneshot_max_bytes = FIRST_BYTES;
    tuning->exchange_max_bytes = find_threshold(times, EXCHANGE, tuning->oneshot_max_bytes);
    if (comm->group.sync.rank == 0 && find_path(comm, comm->group.sync.size, lanes, path))
        shmrt_tune_tell_kept(comm, path, shmrt_tuning_write(path, tuning));
    apply_settings(comm, tuning);
    return 0;
}

static const char *origin(enum shmrt_tuned tuned)
{
    switch (tuned) {
    case SHMRT_TUNED_CACHED:
        return "measured earlier";
    case SHMRT_TUNED_MEASURED:
        return "measured at the start";
    default:
        return "fixed";
    }
}

size_t shmrt_comm_tuning(const struct shmrt_comm *comm, char *buffer, size_t bytes)
{
    const struct shmrt_tuning *t = &comm->group.tuning;
    char exchange[64] = "", groups[64] = "";
    if (t->exchange_max_bytes > t->oneshot_max_bytes)
        snprintf(exchange, sizeof exchange, ", one pass up to %zu", t->exchange_max_bytes);
    if (t->hierarchy_min_bytes < SHMRT_HIERARCHY_NEVER)
        snprintf(groups, sizeof groups, ", by groups from %zu", t->hierarchy_min_bytes);
    else if (shmrt_order_has_levels(&comm->group.order))
        snprintf(groups, sizeof groups, ", never by groups");
    int needed = snprintf(buffer, bytes,
                          "one-shot up to %zu bytes%s, two-shot beyond%s, parts of %zu at most, a "
                          "lane for each %zu (%s)",
                          t->oneshot_max_bytes, exchange, groups, t->chunk_bytes, t->lane_bytes,
                          origin(t->tuned));
    return needed > 0 ? (size_t)needed : 0;
}
