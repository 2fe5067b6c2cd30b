/* SPDX-License-Identifier: Apache-2.0 */
/*
 * create.c - what it takes to begin: all ranks meet, and make one all-reduce.
 *
 * The first all-reduce belongs to it: what a library leaves undone when it starts, it does there.
 * The communicator of the call before is destroyed untimed.
 */
#include "bench.h"

#include <errno.h>

int bench_create_prepare(struct bench_rank *rank)
{
    shmrt_comm_destroy(rank->created);
    rank->created = NULL;
    return 0;
}

static int create(struct bench_rank *rank)
{
    struct shmrt_error error;
    char name[32];
    snprintf(name, sizeof name, "create-%u", ++rank->creations);
    struct shmrt_params params = {
        .rank = rank->rank, .size = rank->options->ranks, .job = rank->job, .name = name};
    int rc = shmrt_comm_create(&params, &rank->created, &error);
    if (rc) {
        fprintf(stderr, "shm-bench: rank %d: %s\n", rank->rank, error.text);
        return rc;
    }
    return shmrt_allreduce(rank->created, rank->in, rank->out, (size_t)rank->task.count,
                           rank->options->dtype, rank->options->op);
}

int bench_create_run(struct bench_rank *rank, int calls)
{
    int rc = 0;
    for (int i = 0; i < calls && rc == 0; i++) {
        if (i > 0)
            (void)bench_create_prepare(rank);
        rc = create(rank);
    }
    return rc;
}

int bench_create_verify(struct bench_rank *rank)
{
    struct bench_task task = rank->task;
    uint32_t self = (uint32_t)rank->rank;
    task.collective = BENCH_ALLREDUCE;
    bench_fill(&task, self, rank->in, rank->out);
    (void)bench_create_prepare(rank);
    int rc = bench_create_run(rank, 1);
    if (rc == 0 && bench_check(&task, self, rank->out) >= 0)
        rc = -EBADMSG;
    bench_clear(&task, rank->in, rank->out);
    return rc;
}
