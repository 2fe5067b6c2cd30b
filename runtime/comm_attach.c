/* SPDX-License-Identifier: Apache-2.0 */
/*
 * comm_attach.c - from the hellos of all ranks to what calls work on: the layout, the peers'
 * segments and pools, states of lanes, flags.
 */
#include "comm_join.h"

#include "coll/first.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Spinning takes the CPU from the rank that is waited for when there are more ranks than CPUs. */
enum { CROWDED_SPIN_US = 1 };

bool shmrt_is_crowded(int size)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    return cpus > 0 && size > cpus;
}

size_t shmrt_small_bytes(const struct shmrt_options *options)
{
    enum { MOST = 64 * 1024, SHARE = 16 };
    if (options->oneshot_max_bytes != SHMRT_AUTO)
        return (size_t)options->oneshot_max_bytes;
    size_t share = (size_t)options->segment_bytes / SHARE;
    return share < MOST ? share : MOST;
}

/* The rank with the fewest threads decides; fewer still where their rings would not fit. */
static int compute_layout(struct shmrt_comm *comm, const struct shmrt_hello *mine,
                          struct shmrt_error *error_out)
{
    const struct shmrt_options *options = &comm->options;
    uint64_t lanes = mine->lanes < SHMRT_MAX_LANES ? mine->lanes : SHMRT_MAX_LANES;
    for (int r = 0; r < mine->size; r++)
        if (r != mine->rank && comm->links[r].hello.lanes < lanes)
            lanes = comm->links[r].hello.lanes;
    int rc;
    do
        rc = shmrt_layout_compute(mine->size, (int)lanes, options->segment_bytes,
                                  shmrt_small_bytes(options), options->chunk_bytes,
                                  &comm->group.layout, error_out);
    while (rc && lanes-- > 1);
    return rc;
}

static int attach_peer(struct shmrt_comm *comm, int rank, struct shmrt_error *error_out)
{
    struct shmrt_link *link = &comm->links[rank];
    struct shmrt_segment *segment = &comm->segments[rank];
    int memfd = link->memfd, poolfd = link->poolfd;
    bool hugetlb = comm->options.huge_pages == SHMRT_PAGES_HUGETLB;
    link->memfd = link->poolfd = -1;
#ifdef SHMRT_SHARE_MAPPINGS
    if (link->hello.pid == getpid()) {
        close(memfd);
        if (poolfd >= 0)
            close(poolfd);
        comm->pools[rank] = (struct shmrt_pool *)(uintptr_t)link->hello.pool_mapping;
        shmrt_pool_hold(comm->pools[rank]);
        shmrt_segment_borrow((char *)(uintptr_t)link->hello.mapping, comm->options.segment_bytes,
                             segment);
        return 0;
    }
#endif
    int rc = shmrt_pool_attach(poolfd, rank, comm->options.pool_bytes, hugetlb, &comm->pools[rank],
                               error_out);
    if (rc) {
        close(memfd);
        return rc;
    }
    size_t bytes = comm->options.segment_bytes;
    rc = shmrt_segment_attach(memfd, rank, bytes, hugetlb, segment, error_out);
    shmrt_file_close_fd(&segment->file);
    return rc;
}

static void fill_sync(struct shmrt_comm *comm, const struct shmrt_params *params,
                      const struct shmrt_hello *mine)
{
    const struct shmrt_options *options = &comm->options;
    struct shmrt_sync *sync = &comm->group.sync;
    sync->crowded = shmrt_is_crowded(params->size);
    uint64_t spin_us =
        sync->crowded && options->spin_us > CROWDED_SPIN_US ? CROWDED_SPIN_US : options->spin_us;
    comm->group.pool_bytes = options->pool_bytes;
    comm->group.own_pool = comm->pools[params->rank];
    comm->group.recorder.own =
        shmrt_records_at(&comm->group.layout, comm->segments[params->rank].file.base);
    sync->rank = params->rank;
    sync->size = params->size;
    sync->lanes = comm->group.layout.lanes;
    sync->timeout_ns = shmrt_timeout_ns(options);
    sync->caller_only = options->caller_only;
    sync->warn_ns = (int64_t)options->warn_ms * 1000000;
    sync->spin_ns = (int64_t)spin_us * 1000;
    sync->yield_ns = (int64_t)options->yield_us * 1000;
    sync->logger = (struct shmrt_logger){params->log, params->log_arg};
    sync->interrupt = (struct shmrt_interrupt){params->interrupt, params->interrupt_arg};
    for (int r = 0; r < params->size; r++) {
        const struct shmrt_link *link = &comm->links[r];
        const struct shmrt_hello *hello = r == params->rank ? mine : &link->hello;
        char *base = comm->segments[r].file.base;
        comm->group.base[r] = base;
        comm->group.pool[r] = comm->pools[r]->file.base;
        sync->fence = sync->fence || !hello->membarrier;
        sync->peers[r] = (struct shmrt_sync_peer){
            .abort = shmrt_abort_at(&comm->group.layout, base),
            .sleep = shmrt_sleep_at(&comm->group.layout, base, 0),
            .socket = link->socket,
            .pidfd = link->pidfd,
            .pid = hello->pid,
        };
    }
}

static void *allocate_cleared(size_t count, size_t bytes)
{
    void *memory = aligned_alloc(SHMRT_APART_BYTES, count * bytes);
    if (memory)
        memset(memory, 0, count * bytes);
    return memory;
}

static int allocate_states(struct shmrt_comm *comm, int size, struct shmrt_error *error_out)
{
    struct shmrt_group *group = &comm->group;
    size_t lanes = (size_t)group->layout.lanes;
    group->lanes = allocate_cleared(lanes, sizeof *group->lanes);
    group->sync.stats = allocate_cleared(lanes, sizeof *group->sync.stats);
    group->pairs = calloc((size_t)size, sizeof *group->pairs);
    if (!group->lanes || !group->sync.stats || !group->pairs)
        return shmrt_error_set(error_out, -ENOMEM, "no memory for %zu lanes and %d ranks", lanes,
                               size);
    return 0;
}

/* As rank 0 has chosen, within what the segments have room for. */
static void fill_tuning(struct shmrt_comm *comm, const struct shmrt_hello *mine)
{
    const struct shmrt_hello *first = mine->rank == 0 ? mine : &comm->links[0].hello;
    const struct shmrt_layout *layout = &comm->group.layout;
    struct shmrt_tuning *tuning = &comm->group.tuning;
    size_t oneshot = (size_t)first->tuning[0];
    *tuning = (struct shmrt_tuning){
        .tuned = (enum shmrt_tuned)first->tuned,
        .oneshot_max_bytes = oneshot < layout->small_bytes ? oneshot : layout->small_bytes,
        .exchange_max_bytes = (size_t)first->tuning[1],
        .lane_bytes = (size_t)first->tuning[2] ? (size_t)first->tuning[2] : 1,
        .hierarchy_min_bytes = SHMRT_HIERARCHY_NEVER,
        .chunk_bytes = layout->chunk_bytes,
    };
}

/* A diagnostic is not worth a job: without the file it goes on. */
static void make_record_file(struct shmrt_comm *comm, const struct shmrt_hello *mine)
{
    struct shmrt_record_file_head head = {.rank = (uint32_t)mine->rank,
                                          .size = (uint32_t)mine->size};
    struct shmrt_error error;
    if (strcmp(comm->options.recorder, "off") == 0 || mine->size == 1)
        return;
    for (int r = 0; r < mine->size; r++)
        head.pids[r] = (uint32_t)comm->group.sync.peers[r].pid;
    snprintf(head.job, sizeof head.job, "%s", mine->job);
    if (shmrt_record_file_create(comm->options.recorder, comm->group.layout.lanes, &head,
                                 &comm->file, &error)) {
        shmrt_log(&comm->group.sync.logger, SHMRT_LOG_WARNING, "no file of records is kept: %s",
                  error.text);
        return;
    }
    comm->group.recorder.file = comm->file.records;
    comm->group.sync.notes = comm->file.notes;
}

int shmrt_comm_attach(struct shmrt_comm *comm, const struct shmrt_params *params,
                      const struct shmrt_hello *mine, struct shmrt_error *error_out)
{
    int rc = compute_layout(comm, mine, error_out);
    for (int r = 0; r < params->size && rc == 0; r++)
        if (r != params->rank)
            rc = attach_peer(comm, r, error_out);
    if (rc)
        return rc;
    rc = allocate_states(comm, params->size, error_out);
    if (rc)
        return rc;
    shmrt_groups_set(comm, mine);
    fill_tuning(comm, mine);
    fill_sync(comm, params, mine);
    make_record_file(comm, mine);
    shmrt_group_begin(&comm->group, mine->job);
    return 0;
}
