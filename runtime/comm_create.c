/* SPDX-License-Identifier: Apache-2.0 */
/*
 * comm_create.c - from parameters to a communicator: options, own segment, meeting, the peers'
 * segments, agreement. Whatever fails is told to the ranks that were met, and undone.
 */
#include "comm.h"

#include "base/clock.h"
#include "coll/first.h"
#include "shm/rendezvous_name.h"
#include "team/team.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Spinning takes the CPU from the rank that is waited for when there are more ranks than CPUs. */
enum { CROWDED_SPIN_US = 1 };

/* So long a rank that has no memory stays to tell the others: ranks of a job start within seconds
 * of each other. */
#define TELL_NS INT64_C(5000000000)

static int check_params(const struct shmrt_params *params, struct shmrt_error *error_out)
{
    if (params->size < 1 || params->size > SHMRT_MAX_RANKS)
        return shmrt_error_set(error_out, -EINVAL, "size %d is not from 1 to %d ranks",
                               params->size, SHMRT_MAX_RANKS);
    if (params->rank < 0 || params->rank >= params->size)
        return shmrt_error_set(error_out, -EINVAL, "rank %d is not from 0 to %d (size %d)",
                               params->rank, params->size - 1, params->size);
    return 0;
}

static int choose_kernels(struct shmrt_comm *comm, struct shmrt_error *error_out)
{
    char rungs[128] = "";
    int rc = shmrt_kernels_choose(comm->options.kernel, &comm->group.kernels);
    if (rc == 0)
        return 0;
    for (int i = 0; shmrt_kernels_rung(i); i++) {
        size_t at = strlen(rungs);
        snprintf(rungs + at, sizeof rungs - at, ", %s", shmrt_kernels_rung(i));
    }
    return shmrt_error_set(error_out, rc, "SHMRT_KERNEL=%s %s; known are auto%s",
                           comm->options.kernel,
                           rc == -ENOTSUP ? "asks for instructions that this CPU does not have"
                                          : "is not a rung of kernels",
                           rungs);
}

static int make_fork_guard(struct shmrt_comm *comm, struct shmrt_error *error_out)
{
    size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
    void *page = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return shmrt_error_set(error_out, -errno, "mapping one page failed: %s", strerror(errno));
    comm->fork_guard = page;
    comm->fork_guard[0] = 1;
    /* Kernels before 4.14 lack it; a use after fork then meets the missing mappings instead. */
    (void)madvise(page, bytes, MADV_WIPEONFORK);
    return 0;
}

/* On the nodes of the segment; where those could not be had, that has been said. */
static int create_pool(struct shmrt_comm *comm, const struct shmrt_params *params,
                       const struct shmrt_logger *logger, struct shmrt_error *error_out)
{
    const struct shmrt_segment *own = &comm->segments[params->rank];
    return shmrt_pool_create(comm->options.pool_bytes,
                             (enum shmrt_page_kind)comm->options.huge_pages,
                             shmrt_nodeset_is_empty(&own->file.bound_nodes) ? NULL : &own->nodes,
                             logger, &comm->pools[params->rank], error_out);
}

/* What is shared with the others; nothing where that is switched off. */
static int take_memory(struct shmrt_comm *comm, const struct shmrt_params *params,
                       const struct shmrt_logger *logger, struct shmrt_error *error_out)
{
    if (comm->options.disable)
        return 0;
    int rc = shmrt_segment_create(params->rank, &comm->options, logger,
                                  &comm->segments[params->rank], error_out);
    return rc ? rc : create_pool(comm, params, logger, error_out);
}

/* Threads of this rank that can run at once; more lanes than that would wait for each other. */
static uint64_t usable_lanes(int size)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    long share = cpus > size ? cpus / size : 1;
    long threads = shmrt_team_threads();
    return (uint64_t)(threads < share ? threads : share);
}

/* Whether the CPUs of the machine can't hold all ranks at once. */
static bool is_crowded(int size)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    return cpus > 0 && size > cpus;
}

/* Room for what is shown at once; a threshold that is measured may use all of it. */
static size_t small_bytes(const struct shmrt_options *options)
{
    enum { MOST = 64 * 1024, SHARE = 16 };
    if (options->oneshot_max_bytes != SHMRT_AUTO)
        return (size_t)options->oneshot_max_bytes;
    size_t share = (size_t)options->segment_bytes / SHARE;
    return share < MOST ? share : MOST;
}

static struct shmrt_hello make_hello(const struct shmrt_comm *comm,
                                     const struct shmrt_params *params,
                                     const struct shmrt_error *trouble)
{
    const struct shmrt_options *options = &comm->options;
    enum shmrt_absent absent = options->disable ? SHMRT_SWITCHED_OFF
                               : trouble->code  ? SHMRT_IN_TROUBLE
                                                : SHMRT_PRESENT;
    struct shmrt_hello hello = {
        .head = shmrt_message_head_make(SHMRT_MESSAGE_HELLO),
        .rank = params->rank,
        .size = params->size,
        .pid = getpid(),
        .membarrier = shmrt_sync_has_membarrier(),
        .segment_bytes = options->segment_bytes,
        .absent = absent,
        .pool_bytes = absent ? 0 : options->pool_bytes,
        .chunk_bytes = options->chunk_bytes,
        .oneshot_max_bytes = small_bytes(options),
        .lanes = options->lanes ? options->lanes : usable_lanes(params->size),
        .mapping = (uintptr_t)comm->segments[params->rank].file.base,
        .pool_mapping = (uintptr_t)comm->pools[params->rank],
    };
    snprintf(hello.version, sizeof hello.version, "%s", shmrt_version());
    return hello;
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
                                  small_bytes(options), options->chunk_bytes, &comm->group.layout,
                                  error_out);
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
    sync->crowded = is_crowded(params->size);
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

/* Everything after the ranks have met and before they agree. */
static int build_group(struct shmrt_comm *comm, const struct shmrt_params *params,
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

static int choose_tuning(struct shmrt_comm *comm, struct shmrt_hello *mine,
                         struct shmrt_error *error_out)
{
    struct shmrt_tuning tuning;
    int rc = shmrt_tune_choose(comm, mine->size, mine->lanes, is_crowded(mine->size), &tuning,
                               error_out);
    if (rc)
        return rc;
    mine->tuned = (uint64_t)tuning.tuned;
    mine->tuning[0] = tuning.oneshot_max_bytes;
    mine->tuning[1] = tuning.exchange_max_bytes;
    mine->tuning[2] = tuning.lane_bytes;
    return 0;
}

static int choose_groups(struct shmrt_comm *comm, struct shmrt_hello *mine,
                         struct shmrt_error *error_out)
{
    const char *order = comm->options.sum_order;
    mine->rank_order = strcmp(order, "rank") == 0;
    memcpy(mine->groups, comm->options.groups, sizeof mine->groups);
    if (!mine->rank_order && strcmp(order, "placement") != 0)
        return shmrt_error_set(error_out, -EINVAL, "SHMRT_SUM_ORDER=%s is not placement or rank",
                               order);
    return shmrt_groups_own(&comm->options, mine->rank, mine->size, &mine->group, error_out);
}

/* All have met: every rank finds the same ranks switched off, and gives up. */
static int check_enabled(const struct shmrt_comm *comm, const struct shmrt_hello *mine,
                         struct shmrt_error *error_out)
{
    uint64_t off = 0;
    int count = 0;
    char list[160];
    for (int r = 0; r < mine->size; r++)
        if ((r == mine->rank ? mine : &comm->links[r].hello)->absent == SHMRT_SWITCHED_OFF) {
            off |= UINT64_C(1) << r;
            count++;
        }
    if (count == 0)
        return 0;
    shmrt_list_format(&off, SHMRT_MAX_RANKS, list, sizeof list);
    return shmrt_error_set(error_out, -ECONNREFUSED,
                           "shared memory is switched off (SHMRT_DISABLE=1) on rank%s %s of %d: "
                           "%suse another backend",
                           count > 1 ? "s" : "", list, mine->size,
                           count < mine->size ? "unset it there, or set it on all ranks and "
                                              : "unset it, or ");
}

/* Of each rank its own: not in the words that are passed on to the others. */
static void add_waited(const struct shmrt_meeting *meeting, struct shmrt_error *error_out)
{
    size_t length = error_out ? strlen(error_out->text) : 0;
    if (error_out && (error_out->code == -ECONNABORTED || error_out->code == -EPROTO ||
                      error_out->code == -ECANCELED))
        snprintf(error_out->text + length, sizeof error_out->text - length,
                 "; rank %d had waited %.3g s", meeting->rank,
                 (double)(shmrt_now_ns() - meeting->start_ns) / 1e9);
}

/* Whether a rank has nothing to share, of which its verdict will tell. */
static bool any_in_trouble(const struct shmrt_comm *comm, const struct shmrt_hello *mine)
{
    for (int r = 0; r < mine->size; r++)
        if (r != mine->rank && comm->links[r].hello.absent)
            return true;
    return false;
}

/* All have met. */
static int use_meeting(struct shmrt_comm *comm, const struct shmrt_params *params,
                       const struct shmrt_hello *mine, struct shmrt_error *error_out)
{
    int rc = check_enabled(comm, mine, error_out);
    if (rc || any_in_trouble(comm, mine))
        return rc;
    return build_group(comm, params, mine, error_out);
}

/* Nobody else may ever come: what is waited for is only to tell. */
static void stay_to_tell(struct shmrt_meeting *meeting, const struct shmrt_error *trouble)
{
    if (meeting->timeout_ns > TELL_NS)
        meeting->timeout_ns = TELL_NS;
    meeting->warn_ns = TELL_NS;
    if (meeting->size > 1)
        shmrt_log(&meeting->logger, SHMRT_LOG_WARNING,
                  "rank %d can't take part, and waits for the others to tell them, %.3g s at most: "
                  "%s",
                  meeting->rank, (double)meeting->timeout_ns / 1e9, trouble->text);
}

/* Meets the others, then tells them how it went here (@trouble: code 0, or why it won't go on) and
 * hears how it went with them. */
static int join_ranks(struct shmrt_comm *comm, const struct shmrt_params *params,
                      const struct shmrt_notices *notices, const struct shmrt_error *trouble,
                      struct shmrt_error *error_out)
{
    struct shmrt_hello mine = make_hello(comm, params, trouble);
    shmrt_notices_show(notices, &mine);
    struct shmrt_meeting meeting = {
        .job = mine.job,
        .rank = params->rank,
        .size = params->size,
        .start_ns = shmrt_now_ns(),
        .timeout_ns = (int64_t)comm->options.rendezvous_timeout_ms * 1000000,
        .warn_ns = (int64_t)comm->options.warn_ms * 1000000,
        .logger = {params->log, params->log_arg},
        .interrupt = {params->interrupt, params->interrupt_arg},
    };
    struct shmrt_segment *own = &comm->segments[params->rank];
    const struct shmrt_pool *pool = comm->pools[params->rank];
    struct shmrt_error outcome = {0};
    int rc = shmrt_job_key(params->job, params->name, mine.job, error_out);
    if (rc == 0 && !mine.absent)
        rc = choose_groups(comm, &mine, error_out);
    if (rc == 0 && !mine.absent && mine.rank == 0)
        rc = choose_tuning(comm, &mine, error_out);
    if (rc)
        return rc;
    if (trouble->code)
        stay_to_tell(&meeting, trouble);
    rc = shmrt_rendezvous_meet(&meeting, &mine, mine.absent ? -1 : own->file.fd,
                               mine.absent || !pool ? -1 : pool->file.fd, &comm->listener,
                               comm->links, &outcome);
    if (trouble->code) {
        outcome = *trouble; /* however the meeting went */
        rc = trouble->code;
    }
    if (rc == 0)
        rc = use_meeting(comm, params, &mine, &outcome);
    shmrt_file_close_fd(&own->file);
    outcome.code = rc;
    rc = shmrt_rendezvous_agree(&meeting, &outcome, comm->links, error_out);
    if (rc)
        add_waited(&meeting, error_out);
    if (rc == 0)
        shmrt_notices_tell(notices, &mine, comm->links);
    if (rc == 0 && comm->group.tuning.tuned == SHMRT_TUNED_MEASURE)
        rc = shmrt_tune_measure(comm, mine.lanes, error_out);
    if (rc == 0)
        rc = shmrt_tune_groups(comm, mine.lanes, error_out);
    return rc;
}

/* A rank that gets no memory meets the others all the same, so that they hear of it. */
static int take_memory_and_join(struct shmrt_comm *comm, const struct shmrt_params *params,
                                struct shmrt_notices *notices, struct shmrt_error *error_out)
{
    const struct shmrt_logger logger = shmrt_notices_logger(notices);
    struct shmrt_error trouble = {0};
    trouble.code = take_memory(comm, params, &logger, &trouble);
    return join_ranks(comm, params, notices, &trouble, error_out);
}

static void free_comm(struct shmrt_comm *comm, bool bye)
{
    bool forked = comm->fork_guard && comm->fork_guard[0] == 0;
    int size = SHMRT_MAX_RANKS;
    /* A child only closes its copy: the name is its parent's. */
    if (forked && comm->listener >= 0)
        close(comm->listener);
    else
        shmrt_name_close(comm->listener);
    shmrt_links_close(comm->links, size, bye && !forked);
    for (int r = 0; r < size; r++) {
        shmrt_segment_release(&comm->segments[r], !forked);
        shmrt_pool_release(comm->pools[r], !forked);
    }
    if (comm->fork_guard)
        munmap(comm->fork_guard, (size_t)sysconf(_SC_PAGESIZE));
    shmrt_record_file_close(&comm->file, !forked);
    shmrt_requests_free(comm);
    free(comm->group.lanes);
    free(comm->group.pairs);
    free(comm->group.sync.stats);
    free(comm);
}

static struct shmrt_comm *allocate_comm(void)
{
    struct shmrt_comm *comm = calloc(1, sizeof *comm);
    if (comm)
        comm->listener = -1;
    for (int r = 0; comm && r < SHMRT_MAX_RANKS; r++) {
        comm->links[r] = (struct shmrt_link){.socket = -1, .memfd = -1, .poolfd = -1, .pidfd = -1};
        comm->segments[r].file.fd = -1;
    }
    return comm;
}

int shmrt_comm_build(const struct shmrt_params *params, const struct shmrt_options *options,
                     const struct shmrt_told *told, struct shmrt_comm **comm_out,
                     struct shmrt_error *error_out)
{
    struct shmrt_comm *comm = allocate_comm();
    if (!comm)
        return shmrt_error_set(error_out, -ENOMEM, "no memory for a communicator");
    struct shmrt_notices notices = {.logger = {params->log, params->log_arg}, .told = &comm->told};
    comm->options = *options;
    if (told)
        comm->told = *told;
    shmrt_order_make(&comm->group.order, NULL, params->size);
    comm->group.sum_order = comm->group.order;
    int rc;
    if ((rc = choose_kernels(comm, error_out)) != 0 ||
        (rc = make_fork_guard(comm, error_out)) != 0 ||
        (rc = take_memory_and_join(comm, params, &notices, error_out)) != 0) {
        shmrt_notices_tell_alone(&notices);
        free_comm(comm, false);
        return rc;
    }
    shmrt_notices_remember(&notices, &comm->told);
    *comm_out = comm;
    return 0;
}

int shmrt_comm_create(const struct shmrt_params *params, struct shmrt_comm **comm_out,
                      struct shmrt_error *error_out)
{
    struct shmrt_options options;
    int rc = check_params(params, error_out);
    if (rc == 0)
        rc = shmrt_options_load(params->settings, &options, error_out);
    return rc ? rc : shmrt_comm_build(params, &options, NULL, comm_out, error_out);
}

void shmrt_comm_destroy(struct shmrt_comm *comm)
{
    if (comm)
        free_comm(comm, true);
}
