/* SPDX-License-Identifier: Apache-2.0 */
/*
 * comm_join.c - what this rank tells the others in its hello, the meeting, and what comes of it.
 * Whatever fails is told to the ranks that were met.
 */
#include "comm_join.h"

#include "base/clock.h"
#include "base/list.h"
#include "team/team.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* So long a rank that can't take part stays to tell the others: ranks of a job start within seconds
 * of each other. Soon it says what it is waiting for. */
#define TELL_NS      INT64_C(5000000000)
#define TELL_WARN_NS INT64_C(300000000)

/* Threads of this rank that can run at once; more lanes than that would wait for each other. */
static uint64_t usable_lanes(int size)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    long share = cpus > size ? cpus / size : 1;
    long threads = shmrt_team_threads();
    return (uint64_t)(threads < share ? threads : share);
}

static struct shmrt_hello make_hello(const struct shmrt_comm *comm,
                                     const struct shmrt_params *params)
{
    const struct shmrt_options *options = &comm->options;
    struct shmrt_hello hello = {
        .head = shmrt_message_head_make(SHMRT_MESSAGE_HELLO),
        .rank = params->rank,
        .size = params->size,
        .pid = getpid(),
        .membarrier = shmrt_sync_has_membarrier(),
        .segment_bytes = options->segment_bytes,
        .absent = options->disable ? SHMRT_SWITCHED_OFF : SHMRT_PRESENT,
        .pool_bytes = options->disable ? 0 : options->pool_bytes,
        .chunk_bytes = options->chunk_bytes,
        .oneshot_max_bytes = shmrt_small_bytes(options),
        .lanes = options->lanes ? options->lanes : usable_lanes(params->size),
        .mapping = (uintptr_t)comm->segments[params->rank].file.base,
        .pool_mapping = (uintptr_t)comm->pools[params->rank],
    };
    snprintf(hello.version, sizeof hello.version, "%s", shmrt_version());
    return hello;
}

static int choose_tuning(struct shmrt_comm *comm, struct shmrt_hello *mine,
                         struct shmrt_error *error_out)
{
    struct shmrt_tuning tuning;
    int rc = shmrt_tune_choose(comm, mine->size, mine->lanes, shmrt_is_crowded(mine->size), &tuning,
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

/* What this rank says of itself; where that can't be made out it has nothing to show. */
static void complete_hello(struct shmrt_comm *comm, struct shmrt_hello *mine,
                           struct shmrt_error *trouble)
{
    if (!trouble->code && !mine->absent)
        trouble->code = choose_groups(comm, mine, trouble);
    if (!trouble->code && !mine->absent && mine->rank == 0)
        trouble->code = choose_tuning(comm, mine, trouble);
    if (!trouble->code)
        return;
    mine->absent = SHMRT_IN_TROUBLE;
    mine->pool_bytes = 0;
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

/* A rank that has nothing to share, of which its verdict will tell; or NULL. */
static const struct shmrt_hello *find_in_trouble(const struct shmrt_comm *comm,
                                                 const struct shmrt_hello *mine)
{
    for (int r = 0; r < mine->size; r++)
        if (r != mine->rank && comm->links[r].hello.absent)
            return &comm->links[r].hello;
    return NULL;
}

/* All verdicts are good: then every rank has shown what it shares. */
static int check_present(const struct shmrt_comm *comm, const struct shmrt_hello *mine,
                         struct shmrt_error *error_out)
{
    const struct shmrt_hello *absent = find_in_trouble(comm, mine);
    if (!absent)
        return 0;
    return shmrt_error_set(error_out, -EPROTO,
                           "rank %d (pid %d) shares no memory, and says that it can go on",
                           absent->rank, absent->pid);
}

/* All have met. */
static int use_meeting(struct shmrt_comm *comm, const struct shmrt_params *params,
                       const struct shmrt_hello *mine, struct shmrt_error *error_out)
{
    int rc = check_enabled(comm, mine, error_out);
    if (rc || find_in_trouble(comm, mine))
        return rc;
    return shmrt_comm_attach(comm, params, mine, error_out);
}

/* @trouble: nobody else may ever come then, what is waited for is only to tell. */
static struct shmrt_meeting make_meeting(const struct shmrt_comm *comm,
                                         const struct shmrt_params *params, const char *job,
                                         const struct shmrt_error *trouble)
{
    int64_t timeout_ns = (int64_t)comm->options.rendezvous_timeout_ms * 1000000;
    return (struct shmrt_meeting){
        .job = job,
        .rank = params->rank,
        .size = params->size,
        .start_ns = shmrt_now_ns(),
        .timeout_ns = trouble->code && timeout_ns > TELL_NS ? TELL_NS : timeout_ns,
        .warn_ns = trouble->code ? TELL_WARN_NS : (int64_t)comm->options.warn_ms * 1000000,
        .trouble = trouble->code ? trouble->text : NULL,
        .logger = {params->log, params->log_arg},
        .interrupt = {params->interrupt, params->interrupt_arg},
    };
}

/* From hellos to verdicts: 0 when all ranks go on. */
static int meet_and_agree(struct shmrt_comm *comm, const struct shmrt_params *params,
                          const struct shmrt_hello *mine, const struct shmrt_error *trouble,
                          struct shmrt_error *error_out)
{
    struct shmrt_meeting meeting = make_meeting(comm, params, mine->job, trouble);
    struct shmrt_segment *own = &comm->segments[params->rank];
    const struct shmrt_pool *pool = comm->pools[params->rank];
    struct shmrt_error outcome = {0};
    int rc = shmrt_rendezvous_meet(&meeting, mine, mine->absent ? -1 : own->file.fd,
                                   mine->absent || !pool ? -1 : pool->file.fd, &comm->listener,
                                   comm->links, &outcome);
    if (trouble->code) {
        outcome = *trouble; /* however the meeting went */
        rc = trouble->code;
    }
    if (rc == 0)
        rc = use_meeting(comm, params, mine, &outcome);
    shmrt_file_close_fd(&own->file);
    outcome.code = rc;
    rc = shmrt_rendezvous_agree(&meeting, &outcome, comm->links, error_out);
    if (rc == 0)
        rc = check_present(comm, mine, error_out);
    if (rc)
        add_waited(&meeting, error_out);
    return rc;
}

int shmrt_comm_join(struct shmrt_comm *comm, const struct shmrt_params *params,
                    const struct shmrt_notices *notices, const struct shmrt_error *trouble,
                    struct shmrt_error *error_out)
{
    struct shmrt_hello mine = make_hello(comm, params);
    struct shmrt_error why = *trouble;
    shmrt_notices_show(notices, &mine);
    int rc = shmrt_job_key(params->job, params->name, mine.job, error_out);
    if (rc)
        return rc;
    complete_hello(comm, &mine, &why);
    rc = meet_and_agree(comm, params, &mine, &why, error_out);
    if (rc == 0)
        shmrt_notices_tell(notices, &mine, comm->links);
    if (rc == 0 && comm->group.tuning.tuned == SHMRT_TUNED_MEASURE)
        rc = shmrt_tune_measure(comm, mine.lanes, error_out);
    if (rc == 0)
        rc = shmrt_tune_groups(comm, mine.lanes, error_out);
    return rc;
}
