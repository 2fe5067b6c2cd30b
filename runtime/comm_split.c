/* SPDX-License-Identifier: Apache-2.0 */
/*
 * comm_split.c - subgroups: the ranks tell each other their colors, then each group meets as a
 * communicator of its own. So it has its own segments, epoch and failures: what happens in one
 * group does not reach another.
 *
 * The groups meet at a key that rank 0 draws: no earlier split can be in the way of it.
 */
#include "comm.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

/* A group that has not met by then may have lost a member. */
#define GRACE_NS INT64_C(200000000)

struct wish {
    int32_t color;
    int32_t key;
    uint64_t draw; /* rank 0's is used */
};

/* Fills rank and size of the new communicator: by key, then by rank here. */
static void take_place(const struct wish *wishes, int size, int rank, struct shmrt_params *params)
{
    const struct wish *own = &wishes[rank];
    for (int r = 0; r < size; r++) {
        if (wishes[r].color != own->color)
            continue;
        params->size++;
        params->rank += wishes[r].key < own->key || (wishes[r].key == own->key && r < rank);
    }
}

static bool is_never_here(void *arg)
{
    (void)arg;
    return false;
}

struct meeting {
    struct shmrt_comm *parent;
    int64_t start_ns;
};

/* Looks for a death, too. */
static bool has_parent_failed(const struct meeting *meeting)
{
    struct shmrt_comm *parent = meeting->parent;
    int64_t waited_ns = shmrt_now_ns() - meeting->start_ns;
    struct shmrt_call_context context = {.call = {.collective = SHMRT_CALL_SPLIT},
                                         .epoch = parent->group.epoch};
    struct shmrt_awaited nobody = {.peer = -1, .context = &context, .is_here = is_never_here};
    return shmrt_check_aborts(&parent->group.sync, &nobody, waited_ns) ||
           shmrt_check_peers(&parent->group.sync, &nobody, waited_ns);
}

/*
 * struct shmrt_params.interrupt while a group meets: ranks of it that have not met yet have no
 * link, but the parent has one to each, and notices a death. A group that meets as it should is
 * through long before that is looked at, and a death right after it is for its own calls.
 */
static int check_parent(void *arg)
{
    const struct meeting *meeting = arg;
    struct shmrt_comm *parent = meeting->parent;
    if (shmrt_now_ns() - meeting->start_ns < GRACE_NS)
        return shmrt_interrupted(&parent->group.sync.interrupt);
    return shmrt_interrupted(&parent->group.sync.interrupt) || has_parent_failed(meeting);
}

static int meet(struct shmrt_comm *parent, const struct wish *wishes, struct shmrt_comm **comm_out)
{
    const struct shmrt_sync *sync = &parent->group.sync;
    char job[48];
    struct meeting meeting = {parent, shmrt_now_ns()};
    struct shmrt_params params = {.job = job,
                                  .log = sync->logger.log,
                                  .log_arg = sync->logger.arg,
                                  .interrupt = check_parent,
                                  .interrupt_arg = &meeting};
    snprintf(job, sizeof job, "split-%016" PRIx64 "-%d", wishes[0].draw, wishes[sync->rank].color);
    take_place(wishes, sync->size, sync->rank, &params);
    struct shmrt_options options = parent->options;
    options.parent_group = parent->group.order.group_of[sync->rank];
    /* One rank's SHMRT_SUM_ORDER=rank holds for all, and it may not be in this part. */
    if (shmrt_order_has_levels(&parent->group.order) && parent->group.sum_order.groups == 1)
        snprintf(options.sum_order, sizeof options.sum_order, "rank");
    const struct shmrt_error trouble = {0};
    int rc = shmrt_comm_build(&params, &options, &trouble, &parent->told, comm_out, &parent->error);
    if (rc == 0)
        (*comm_out)->group.sync.interrupt = sync->interrupt;
    else if (has_parent_failed(&meeting) && shmrt_has_failed(sync, &parent->error))
        rc = parent->error.code; /* another may have told no more than that it gave up */
    return rc;
}

/* The others are about to wait for this rank, so its failure is theirs. */
static int draw(struct shmrt_comm *comm, uint64_t *out)
{
    ssize_t got;
    do
        got = getrandom(out, sizeof *out, 0);
    while (got < 0 && errno == EINTR);
    if (got == (ssize_t)sizeof *out)
        return 0;
    int code = got < 0 ? -errno : -EIO;
    (void)shmrt_fail(&comm->group.sync, code, "splitting a communicator failed in getrandom: %s",
                     strerror(-code));
    return shmrt_comm_check(comm);
}

static int split(struct shmrt_comm *comm, int color, int key, struct shmrt_comm **comm_out)
{
    struct wish own = {.color = color, .key = key}, all[SHMRT_MAX_RANKS];
    int rc = shmrt_comm_check(comm);
    if (rc == 0 && comm->group.sync.rank == 0)
        rc = draw(comm, &own.draw);
    if (rc == 0)
        rc = shmrt_comm_call(comm, &(struct shmrt_args){.collective = SHMRT_ALLGATHER,
                                                        .in = &own,
                                                        .out = all,
                                                        .count = sizeof own,
                                                        .dtype = SHMRT_UINT8});
    if (rc)
        return rc;
    if (color >= 0)
        return meet(comm, all, comm_out);
    *comm_out = NULL;
    return 0;
}

int shmrt_comm_split(struct shmrt_comm *comm, int color, int key, struct shmrt_comm **comm_out)
{
    int rc = shmrt_comm_enter(comm);
    if (rc)
        return rc;
    rc = split(comm, color, key, comm_out);
    shmrt_comm_leave(comm);
    return rc;
}
