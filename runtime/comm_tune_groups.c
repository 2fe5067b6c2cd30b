/* SPDX-License-Identifier: Apache-2.0 */
/*
 * comm_tune_groups.c - from which size on it pays to go by groups of ranks.
 *
 * That depends on the links between sockets, so it is measured, as the other thresholds are: once
 * for a machine, a number of ranks and their groups. The groups are known when the ranks have met:
 * then rank 0 says what holds, in a call of its own.
 */
#include "comm.h"

#include "tuning_cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    DEFAULT_HIERARCHY = 1024 * 1024,
    FIRST_BYTES = 64 * 1024,
    SIZES = 4, /* to 4 MiB, each four times as large */
    SAMPLES = 5,
    NOT_MEASURED = -1,
};

/* Going by groups has to be this much faster, at its size and all larger ones. */
#define CLEARLY 0.93

enum way { FLAT, BY_GROUPS, WAYS };

static bool find_path(const struct shmrt_comm *comm, uint64_t lanes,
                      char out[SHMRT_TUNING_PATH_BYTES])
{
    const struct shmrt_group *group = &comm->group;
    const struct shmrt_tuning_key key = {group->sync.size, lanes, group->kernels.name,
                                         &group->order};
    return shmrt_tuning_path(&key, out);
}

/* Rank 0: the threshold, or NOT_MEASURED. */
static int64_t decide(const struct shmrt_comm *comm, uint64_t lanes)
{
    char path[SHMRT_TUNING_PATH_BYTES];
    size_t kept;
    const char *tune = comm->options.tune;
    if (comm->options.hierarchy_min_bytes != SHMRT_AUTO)
        return (int64_t)comm->options.hierarchy_min_bytes;
    if (strcmp(tune, "off") == 0 || !find_path(comm, lanes, path))
        return DEFAULT_HIERARCHY;
    if (strcmp(tune, "now") != 0 && shmrt_tuning_read_groups(path, &kept))
        return (int64_t)kept;
    return comm->group.sync.crowded ? DEFAULT_HIERARCHY : NOT_MEASURED;
}

/* The largest of all ranks' numbers. */
static int find_most(struct shmrt_comm *comm, void *numbers, size_t count, enum shmrt_dtype dtype)
{
    struct shmrt_work work;
    const struct shmrt_coll coll = {.collective = SHMRT_ALLREDUCE,
                                    .in = numbers,
                                    .out = numbers,
                                    .count = count,
                                    .element_bytes = shmrt_dtype_bytes(dtype),
                                    .dtype = dtype,
                                    .op = SHMRT_MAX};
    shmrt_work_make(&work, &comm->group, &coll);
    return shmrt_work_run(&work);
}

static int time_sizes(struct shmrt_comm *comm, char *buffer, double times[SIZES][WAYS])
{
    /* Of a maximum the order does not show, so it may go by groups whatever SHMRT_SUM_ORDER says.
     */
    struct shmrt_coll coll = {.collective = SHMRT_ALLREDUCE,
                              .in = buffer,
                              .out = buffer,
                              .element_bytes = sizeof(float),
                              .dtype = SHMRT_FLOAT32,
                              .op = SHMRT_MAX};
    int rc = 0;
    for (int i = 0; i < SIZES && rc == 0; i++) {
        coll.count = ((size_t)FIRST_BYTES << 2 * i) / sizeof(float);
        for (int turn = 0; turn < SAMPLES * WAYS && rc == 0; turn++) {
            double ns = 0, *best = &times[i][turn % WAYS];
            comm->group.tuning.hierarchy_min_bytes = turn % WAYS == BY_GROUPS ? 0 : SIZE_MAX;
            rc = shmrt_tune_time(comm, &coll, 1, &ns);
            *best = *best == 0 || ns < *best ? ns : *best;
        }
    }
    return rc ? rc : find_most(comm, times, (size_t)SIZES * WAYS, SHMRT_FLOAT64);
}

static size_t find_threshold(double times[SIZES][WAYS])
{
    size_t threshold = SHMRT_HIERARCHY_NEVER;
    for (int i = SIZES - 1; i >= 0 && times[i][BY_GROUPS] < CLEARLY * times[i][FLAT]; i--)
        threshold = (size_t)FIRST_BYTES << 2 * i;
    return threshold;
}

static int measure(struct shmrt_comm *comm, uint64_t lanes, struct shmrt_error *error_out)
{
    double times[SIZES][WAYS] = {{0}};
    char path[SHMRT_TUNING_PATH_BYTES];
    char *buffer = calloc(1, (size_t)FIRST_BYTES << 2 * (SIZES - 1));
    if (!buffer)
        return shmrt_error_set(error_out, -ENOMEM, "no memory to measure with");
    int rc = time_sizes(comm, buffer, times);
    free(buffer);
    if (rc)
        return rc;
    comm->group.tuning.hierarchy_min_bytes = find_threshold(times);
    if (comm->group.sync.rank == 0 && find_path(comm, lanes, path))
        shmrt_tune_tell_kept(comm, path, shmrt_tuning_write_groups(path, find_threshold(times)));
    return 0;
}

int shmrt_tune_groups(struct shmrt_comm *comm, uint64_t lanes, struct shmrt_error *error_out)
{
    int64_t decision = INT64_MIN;
    if (!shmrt_order_has_levels(&comm->group.order))
        return 0;
    if (comm->group.sync.rank == 0)
        decision = decide(comm, lanes);
    int rc = find_most(comm, &decision, 1, SHMRT_INT64);
    if (rc == 0 && decision == NOT_MEASURED)
        rc = measure(comm, lanes, error_out);
    else if (rc == 0)
        comm->group.tuning.hierarchy_min_bytes = (size_t)decision;
    if (rc) /* the reason, if it is not the memory */
        (void)shmrt_has_failed(&comm->group.sync, error_out);
    return rc;
}
