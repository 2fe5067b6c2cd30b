/* SPDX-License-Identifier: Apache-2.0 */
/*
 * comm_request.c - what was started and is not yet done.
 *
 * A communicator's requests are a list in the order of their start. Collectives go one after the
 * other; sends, and receives, go one after the other for each rank; these queues pass one another.
 * progress() steps the first of each queue.
 */
#include "comm.h"

#include "base/clock.h"
#include "shm/message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A test looks for deaths and deadlines this often. */
#define CHECK_NS INT64_C(1000000)

struct shmrt_request {
    struct shmrt_request *next;
    struct shmrt_comm *comm;
    struct shmrt_coll coll;
    bool done;
    bool waiting;       /* for awaited(), after a step */
    int64_t waiting_ns; /* since when, for tests; 0: not known yet */
    int64_t checked_ns; /* when a test last looked for deaths and deadlines */
    union {
        struct shmrt_work work;
        struct shmrt_pair_work pair;
    };
    size_t in_counts[SHMRT_MAX_RANKS];
    size_t out_counts[SHMRT_MAX_RANKS];
};

static bool is_pair(const struct shmrt_request *q)
{
    return q->coll.collective == SHMRT_SEND || q->coll.collective == SHMRT_RECV;
}

static const struct shmrt_awaited *awaited(const struct shmrt_request *q)
{
    return is_pair(q) ? &q->pair.awaited : &q->work.awaited;
}

static void free_request(struct shmrt_request *q)
{
    struct shmrt_request **at = &q->comm->requests;
    while (*at != q)
        at = &(*at)->next;
    *at = q->next;
    if (!is_pair(q))
        shmrt_work_free(&q->work);
    free(q);
}

void shmrt_requests_free(struct shmrt_comm *comm)
{
    while (comm->requests)
        free_request(comm->requests);
}

/* The wait that tests have noted, if there is one. */
static void end_wait(struct shmrt_request *q)
{
    if (q->waiting_ns)
        shmrt_wait_is_over(&q->comm->group.sync, 0);
    q->waiting_ns = 0;
}

/* A rank alone has its result at once; else -EAGAIN until the peers have come. */
static int step(struct shmrt_request *q)
{
    struct shmrt_comm *comm = q->comm;
    if (!is_pair(q) && comm->group.sync.size == 1) {
        q->done = true;
        return shmrt_comm_run_alone(comm, &q->coll);
    }
    struct shmrt_awaited before = *awaited(q);
    int rc = is_pair(q) ? shmrt_pair_step(&q->pair) : shmrt_work_step(&q->work);
    q->waiting = rc == -EAGAIN;
    bool went_on = before.flag != awaited(q)->flag || before.value != awaited(q)->value;
    if (rc == 0 || went_on)
        end_wait(q); /* and a new one may begin */
    if (rc == -EAGAIN)
        return rc;
    /* The others are in this call and can't be told to leave it out. */
    if (rc == -ENOMEM)
        rc = shmrt_fail(&comm->group.sync, rc, "rank %d has no memory for the lanes of a request",
                        comm->group.sync.rank);
    q->done = true;
    return shmrt_comm_finish(comm, &q->coll, is_pair(q) ? NULL : &q->work, rc);
}

/* The queues that have an unfinished request in front of the one that is looked at. */
struct busy {
    bool collectives;
    uint64_t sends;
    uint64_t receives;
};

/* Whether @q has to wait for one before it; marks its queue otherwise. */
static bool is_behind(const struct shmrt_request *q, struct busy *busy)
{
    uint64_t bit = UINT64_C(1) << q->coll.root;
    bool behind;
    if (!is_pair(q)) {
        behind = busy->collectives;
        busy->collectives = true;
        return behind;
    }
    uint64_t *mask = q->coll.collective == SHMRT_SEND ? &busy->sends : &busy->receives;
    behind = (*mask & bit) != 0;
    *mask |= bit;
    return behind;
}

static int progress(struct shmrt_comm *comm)
{
    struct busy busy = {0};
    for (struct shmrt_request *q = comm->requests; q; q = q->next) {
        if (q->done)
            continue;
        /* A queue's next comes on in the same sweep when the one before it is done. */
        struct busy before = busy;
        if (is_behind(q, &busy))
            continue;
        int rc = step(q);
        if (rc && rc != -EAGAIN)
            return rc;
        if (q->done)
            busy = before;
    }
    return 0;
}

/* struct shmrt_awaited.is_here: whether anything that some request waits for has come. */
static bool anything_is_here(void *arg)
{
    const struct shmrt_comm *comm = arg;
    for (const struct shmrt_request *q = comm->requests; q; q = q->next)
        if (!q->done && q->waiting && shmrt_is_here(awaited(q)))
            return true;
    return false;
}

static bool has_pairs(const struct shmrt_comm *comm)
{
    for (const struct shmrt_request *q = comm->requests; q; q = q->next)
        if (!q->done && is_pair(q))
            return true;
    return false;
}

/* Without sends and receives under way a collective may block, on all its lanes. */
static int run_collectives(struct shmrt_request *until)
{
    struct shmrt_comm *comm = until->comm;
    for (struct shmrt_request *q = comm->requests; q && !until->done; q = q->next) {
        if (q->done)
            continue;
        int rc = shmrt_work_run(&q->work);
        if (rc == 0)
            end_wait(q);
        q->done = true;
        if ((rc = shmrt_comm_finish(comm, &q->coll, &q->work, rc)) != 0)
            return rc;
    }
    return 0;
}

/* The first of @q's queue, on which @q waits or which it is. */
static struct shmrt_request *front_of(struct shmrt_request *q)
{
    struct shmrt_request *front = q->comm->requests;
    while (front != q && (front->done || is_pair(front) != is_pair(q) ||
                          (is_pair(q) && (front->coll.collective != q->coll.collective ||
                                          front->coll.root != q->coll.root))))
        front = front->next;
    return front;
}

/* Until something comes that lets any request go on. This is the caller's thread, whichever lane
 * it serves: callbacks may be called. */
static int await_any(struct shmrt_request *q)
{
    struct shmrt_comm *comm = q->comm;
    struct shmrt_awaited any = *awaited(q);
    any.lane = 0;
    any.is_here = anything_is_here;
    any.arg = comm;
    int rc = shmrt_await(&comm->group.sync, &any);
    return rc ? shmrt_comm_finish(comm, &q->coll, NULL, rc) : 0;
}

static int run_until(struct shmrt_request *q)
{
    struct shmrt_comm *comm = q->comm;
    int rc = 0;
    while (rc == 0 && !q->done) {
        if (!has_pairs(comm) && comm->group.sync.size > 1) {
            rc = run_collectives(q);
            continue;
        }
        rc = progress(comm);
        if (rc == 0 && !q->done && front_of(q)->waiting)
            rc = await_any(front_of(q));
    }
    return rc;
}

static int check_now_and_then(struct shmrt_request *q)
{
    struct shmrt_request *front = front_of(q);
    int64_t now_ns = shmrt_now_ns();
    if (front->waiting && front->waiting_ns == 0)
        front->waiting_ns = now_ns;
    if (!front->waiting || now_ns - front->checked_ns < CHECK_NS)
        return 0;
    front->checked_ns = now_ns;
    struct shmrt_awaited caller = *awaited(front);
    caller.lane = 0; /* as in await_any */
    int rc = shmrt_await_check(&q->comm->group.sync, &caller, front->waiting_ns);
    return rc ? shmrt_comm_finish(q->comm, &front->coll, NULL, rc) : 0;
}

static void keep_counts(struct shmrt_request *q, int size)
{
    size_t bytes = (size_t)size * sizeof q->in_counts[0];
    if (q->coll.in_counts)
        q->coll.in_counts = memcpy(q->in_counts, q->coll.in_counts, bytes);
    if (q->coll.out_counts)
        q->coll.out_counts = memcpy(q->out_counts, q->coll.out_counts, bytes);
}

/* Behind all that was started; @request_out is untouched after an error. */
static int begin(struct shmrt_comm *comm, const struct shmrt_coll *coll,
                 struct shmrt_request **request_out)
{
    struct shmrt_request *q = malloc(sizeof *q);
    if (!q)
        return shmrt_error_set(&comm->error, -ENOMEM, "no memory for a request");
    *q = (struct shmrt_request){.comm = comm, .coll = *coll};
    keep_counts(q, comm->group.sync.size);
    if (is_pair(q))
        shmrt_pair_make(&q->pair, &comm->group, &q->coll);
    else
        shmrt_work_make(&q->work, &comm->group, &q->coll);
    struct shmrt_request **at = &comm->requests;
    while (*at)
        at = &(*at)->next;
    *at = q;
    int rc = progress(comm);
    if (rc)
        free_request(q);
    else
        *request_out = q;
    return rc;
}

/* To its end; it is freed. */
static int end(struct shmrt_request *q)
{
    int rc = q->done ? 0 : shmrt_comm_check(q->comm);
    if (rc == 0)
        rc = run_until(q);
    free_request(q);
    return rc;
}

int shmrt_requests_run(struct shmrt_comm *comm, const struct shmrt_coll *coll)
{
    struct shmrt_request *q;
    int rc = begin(comm, coll, &q);
    return rc ? rc : end(q);
}

int shmrt_start(struct shmrt_comm *comm, const struct shmrt_args *args,
                struct shmrt_request **request_out)
{
    struct shmrt_coll coll;
    int rc = shmrt_comm_enter(comm);
    if (rc)
        return rc;
    rc = shmrt_comm_check(comm);
    if (rc == 0)
        rc = shmrt_args_check(comm, args, &coll);
    if (rc == 0)
        rc = begin(comm, &coll, request_out);
    shmrt_comm_leave(comm);
    return rc;
}

static int test(struct shmrt_request *q, bool *done_out)
{
    int rc = q->done ? 0 : shmrt_comm_check(q->comm);
    if (rc == 0 && !q->done)
        rc = progress(q->comm);
    if (rc == 0 && !q->done)
        rc = check_now_and_then(q);
    *done_out = rc || q->done;
    if (*done_out)
        free_request(q);
    return rc;
}

int shmrt_test(struct shmrt_request *q, bool *done_out)
{
    struct shmrt_comm *comm = q->comm;
    *done_out = false;
    int rc = shmrt_comm_enter(comm);
    if (rc)
        return rc;
    rc = test(q, done_out);
    shmrt_comm_leave(comm);
    return rc;
}

int shmrt_wait(struct shmrt_request *q)
{
    struct shmrt_comm *comm = q->comm;
    int rc = shmrt_comm_enter(comm);
    if (rc)
        return rc;
    rc = end(q);
    shmrt_comm_leave(comm);
    return rc;
}

static bool is_receiving(const struct shmrt_comm *comm, int from)
{
    for (const struct shmrt_request *q = comm->requests; q; q = q->next)
        if (!q->done && q->coll.collective == SHMRT_RECV && q->coll.root == from)
            return true;
    return false;
}

/* As a test does, but with no deadline and no callbacks; whoever has left may do so. */
static int check_for_deaths(struct shmrt_comm *comm, const struct shmrt_awaited *awaited,
                            int64_t now_ns)
{
    if (now_ns - comm->probed_ns < CHECK_NS)
        return 0;
    comm->probed_ns = now_ns;
    struct shmrt_awaited nobody = *awaited;
    nobody.peer = -1;
    int rc = shmrt_check_aborts(&comm->group.sync, &nobody, -1);
    return rc ? rc : shmrt_check_peers(&comm->group.sync, &nobody, -1);
}

/*
 * Whether rank @from has said goodbye, with nothing left in its channel. Each rank has a time of
 * its own: the probes of one must not use up the looks at another. Once told, it is told always.
 */
static bool has_left(struct shmrt_comm *comm, int from, const struct shmrt_awaited *awaited,
                     int64_t now_ns)
{
    if (comm->asked_ns[from] != INT64_MAX) {
        if (from == comm->group.sync.rank || now_ns - comm->asked_ns[from] < CHECK_NS)
            return false;
        comm->asked_ns[from] = now_ns;
        if (shmrt_message_peek(comm->group.sync.peers[from].socket) != SHMRT_MESSAGE_BYE)
            return false;
        comm->asked_ns[from] = INT64_MAX;
    }
    return !shmrt_is_here(awaited); /* its last message may have come just before */
}

static int probe(struct shmrt_comm *comm, int from, const struct shmrt_coll *coll, bool *there_out)
{
    struct shmrt_pair_work next;
    char text[SHMRT_CALL_TEXT_BYTES];
    shmrt_pair_make(&next, &comm->group, coll);
    *there_out = shmrt_pair_next(&next) == 0;
    if (*there_out)
        return 0;
    int64_t now_ns = shmrt_now_ns();
    int rc = check_for_deaths(comm, &next.awaited, now_ns);
    if (rc)
        return shmrt_comm_finish(comm, coll, NULL, rc);
    if (!has_left(comm, from, &next.awaited, now_ns))
        return 0;
    rc =
        shmrt_check_aborts(&comm->group.sync, &next.awaited, -1); /* it may have said why it went */
    if (rc)
        return shmrt_comm_finish(comm, coll, NULL, rc);
    return shmrt_error_set(&comm->error, -ENOTCONN,
                           "rank %d (pid %d) has destroyed its communicator; rank %d was in %s",
                           from, comm->group.sync.peers[from].pid, comm->group.sync.rank,
                           shmrt_call_describe(next.awaited.context, text));
}

static int probe_for(struct shmrt_comm *comm, int from, bool *there_out)
{
    struct shmrt_coll coll = {.collective = SHMRT_RECV, .root = from};
    int rc = shmrt_comm_check(comm);
    if (rc == 0 && (from < 0 || from >= comm->group.sync.size))
        return shmrt_error_set(&comm->error, -EINVAL, "rank %d is not from 0 to %d", from,
                               comm->group.sync.size - 1);
    if (rc == 0)
        rc = progress(comm);
    if (rc || is_receiving(comm, from))
        return rc;
    return probe(comm, from, &coll, there_out);
}

int shmrt_probe(struct shmrt_comm *comm, int from, bool *there_out)
{
    *there_out = false;
    int rc = shmrt_comm_enter(comm);
    if (rc)
        return rc;
    rc = probe_for(comm, from, there_out);
    shmrt_comm_leave(comm);
    return rc;
}
