/* SPDX-License-Identifier: Apache-2.0 */
/* ours.c - the library's collectives, through shmrt.h alone. */
#include "bench.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

_Static_assert((int)BENCH_FP16 == SHMRT_FLOAT16 && (int)BENCH_INT64 == SHMRT_INT64 &&
                   (int)BENCH_DTYPE_COUNT == SHMRT_DTYPE_COUNT && (int)BENCH_AVG == SHMRT_AVG &&
                   (int)BENCH_OP_COUNT == SHMRT_OP_COUNT && (int)BENCH_MAX_RANKS == SHMRT_MAX_RANKS,
               "task.h repeats the library's numbers");

static int allreduce(struct bench_rank *r)
{
    return shmrt_allreduce(r->comm, r->in, r->out, (size_t)r->task.count, r->options->dtype,
                           r->options->op);
}

static int broadcast(struct bench_rank *r)
{
    return shmrt_broadcast(r->comm, r->out, (size_t)r->task.count, r->options->dtype,
                           (int)r->task.root);
}

static int reduce(struct bench_rank *r)
{
    return shmrt_reduce(r->comm, r->in, r->out, (size_t)r->task.count, r->options->dtype,
                        r->options->op, (int)r->task.root);
}

static int allgather(struct bench_rank *r)
{
    return shmrt_allgather(r->comm, r->in, r->out, (size_t)r->task.count, r->options->dtype);
}

static int reduce_scatter(struct bench_rank *r)
{
    return shmrt_reduce_scatter(r->comm, r->in, r->out, (size_t)r->task.count, r->options->dtype,
                                r->options->op);
}

static int alltoall(struct bench_rank *r)
{
    return shmrt_alltoall(r->comm, r->in, r->out, (size_t)r->task.count, r->options->dtype);
}

static int gather(struct bench_rank *r)
{
    return shmrt_gather(r->comm, r->in, r->out, (size_t)r->task.count, r->options->dtype,
                        (int)r->task.root);
}

static int scatter(struct bench_rank *r)
{
    return shmrt_scatter(r->comm, r->in, r->out, (size_t)r->task.count, r->options->dtype,
                         (int)r->task.root);
}

/* There and back between ranks 0 and 1. */
static int sendrecv(struct bench_rank *r)
{
    size_t count = (size_t)r->task.count;
    enum shmrt_dtype dtype = r->options->dtype;
    if (r->rank > 1)
        return 0;
    int rc = r->rank == 0 ? shmrt_send(r->comm, r->in, count, dtype, 1)
                          : shmrt_recv(r->comm, r->out, count, dtype, 0);
    if (rc)
        return rc;
    return r->rank == 0 ? shmrt_recv(r->comm, r->out, count, dtype, 1)
                        : shmrt_send(r->comm, r->in, count, dtype, 0);
}

static int barrier(struct bench_rank *r)
{
    return shmrt_barrier(r->comm);
}

/* One call of each; NULL: the library has none. */
static int (*const calls_of[BENCH_COLLECTIVE_COUNT])(struct bench_rank *) = {
    [BENCH_ALLREDUCE] = allreduce, [BENCH_BROADCAST] = broadcast,
    [BENCH_REDUCE] = reduce,       [BENCH_ALLGATHER] = allgather,
    [BENCH_ALLTOALL] = alltoall,   [BENCH_REDUCE_SCATTER] = reduce_scatter,
    [BENCH_GATHER] = gather,       [BENCH_SCATTER] = scatter,
    [BENCH_SENDRECV] = sendrecv,   [BENCH_BARRIER] = barrier,
};

bool bench_ours_exists(uint32_t collective)
{
    return collective == BENCH_ALLREDUCE_NORM || collective == BENCH_CREATE ||
           (collective < BENCH_COLLECTIVE_COUNT && calls_of[collective]);
}

int bench_ours_run(struct bench_rank *rank, int calls)
{
    int (*call)(struct bench_rank *) = calls_of[rank->task.collective];
    int rc = 0;
    for (int i = 0; i < calls && rc == 0; i++)
        rc = call(rank);
    return rc;
}

int bench_ours_verify(struct bench_rank *rank)
{
    uint32_t self = (uint32_t)rank->rank;
    bench_fill(&rank->task, self, rank->in, rank->out);
    int rc = bench_ours_run(rank, 1);
    if (rc == 0 && bench_check(&rank->task, self, rank->out) >= 0)
        rc = -EBADMSG;
    bench_clear(&rank->task, rank->in, rank->out);
    return rc;
}

/* A block of the pool that all ranks map, or private memory; touched, on this rank's node. */
static int take(struct bench_rank *rank, bool shared, size_t bytes, char **out)
{
    void *memory = NULL;
    int rc =
        shared ? shmrt_alloc(rank->comm, bytes, &memory) : -posix_memalign(&memory, 4096, bytes);
    if (rc)
        return rc;
    memset(memory, 0, bytes);
    *out = memory;
    return 0;
}

int bench_places_take(struct bench_rank *rank)
{
    enum bench_memory memory = rank->options->memory;
    struct bench_task largest = bench_task_of(rank->options, rank->options->last_bytes);
    size_t payload = bench_payload_bytes(&largest), bytes = payload > 4096 ? payload : 4096;
    int rc = 0;
    for (int p = 0; p < (memory == BENCH_BOTH ? 2 : 1) && rc == 0; p++) {
        struct bench_place *place = &rank->place[p];
        place->shared = memory == BENCH_SHARED || p == 1;
        rc = take(rank, place->shared, bytes, &place->in);
        place->out = place->in;
        if (rc == 0 && !largest.in_place)
            rc = take(rank, place->shared, bytes, &place->out);
    }
    return rc;
}

void bench_places_give_back(struct bench_rank *rank)
{
    for (int p = 0; p < MAX_PLACES; p++) {
        const struct bench_place *place = &rank->place[p];
        void (*give_back)(void *) = place->shared ? shmrt_free : free;
        if (place->out != place->in)
            give_back(place->out);
        give_back(place->in);
    }
}
