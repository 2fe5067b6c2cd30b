/* SPDX-License-Identifier: Apache-2.0 */
/* kills_rank.c - a rank of a job in which one is killed: its steps, and what it does afterwards. */
#include "kills.h"

#include "calls.h"
#include "stress.h"
#include "values.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { IN_FLIGHT = 4, SHARED = 1000, COLUMNS = 96 };

/* A communicator, and the order in which it combines terms. */
struct joined {
    struct shmrt_comm *comm;
    int groups[SHMRT_MAX_RANKS];
    bool grouped;
};

struct walk {
    struct kills_job *job;
    struct kills_record *record;
    int rank;
    struct joined all, part;
    bool has_parts; /* all was split, though this rank may have no part */
    uint64_t naps;
    struct shmrt_comm *failed; /* in whose call an error came; NULL: in a meeting */
};

/* The time is written down before: the kernel may be late, but an error never comes before it. */
static void set_off(struct walk *w)
{
    if (w->rank != w->job->plan.victim || atomic_load(&w->record->step) != w->job->plan.kill_step ||
        atomic_load(&w->job->killed_ns))
        return;
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL,
                             .sigev_signo = w->job->plan.stops ? SIGSTOP : SIGKILL};
    int64_t at_ns = now_ns() + w->job->plan.kill_after_ns;
    atomic_store(&w->job->killed_ns, at_ns);
    struct itimerspec when = {
        .it_value = {.tv_sec = at_ns / 1000000000, .tv_nsec = at_ns % 1000000000}};
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) ||
        timer_settime(timer, TIMER_ABSTIME, &when, NULL))
        abort();
}

/* Around what the library does of a step; the victim's time counts from there. */
static void enter(struct walk *w, int collective)
{
    w->record->entered_ns = now_ns();
    atomic_store(&w->record->collective, collective);
    atomic_store(&w->record->inside, true);
    set_off(w);
}

static int leave(struct walk *w, int rc)
{
    atomic_store(&w->record->inside, false);
    return rc;
}

static void take_groups(struct joined *joined)
{
    struct shmrt_traffic traffic;
    shmrt_comm_traffic(joined->comm, &traffic);
    memcpy(joined->groups, traffic.group_of, sizeof joined->groups);
    joined->grouped = traffic.groups > 1;
}

static int create(struct walk *w)
{
    struct shmrt_params params = {.rank = w->rank,
                                  .size = w->job->plan.size,
                                  .job = w->job->key,
                                  .settings = w->job->plan.settings};
    enter(w, 0);
    int rc = leave(w, shmrt_comm_create(&params, &w->all.comm, &w->record->error));
    w->record->by_meeting = rc != 0;
    if (rc == 0)
        take_groups(&w->all);
    return rc;
}

/* A rank that fails ends its other communicator as well, as a program would, for the same reason.
 */
static void destroy(struct walk *w, const char *reason)
{
    struct joined *const both[] = {&w->part, &w->all};
    enter(w, 0);
    for (int i = 0; i < 2; i++)
        if (both[i]->comm && reason)
            shmrt_comm_abort(both[i]->comm, reason);
    for (int i = 0; i < 2; i++) {
        shmrt_comm_destroy(both[i]->comm);
        both[i]->comm = NULL;
    }
    w->has_parts = false;
    leave(w, 0);
}

static int note_failure(struct walk *w, struct joined *joined, int rc)
{
    w->failed = joined->comm;
    w->record->error = *shmrt_comm_error(joined->comm);
    if (w->record->error.code != rc)
        snprintf(w->record->error.text, sizeof w->record->error.text, "code %d, but %d is told", rc,
                 w->record->error.code);
    return rc;
}

static int check_result(struct walk *w, const struct side *side)
{
    if (!side_is_right(side))
        w->record->wrong_results++;
    return 0;
}

/* Of several calls the first error counts; what is under way is left to destroy. */
static int call_requests(struct walk *w, struct joined *j, uint64_t seed)
{
    struct side sides[IN_FLIGHT];
    struct shmrt_request *requests[IN_FLIGHT] = {NULL};
    int size = shmrt_comm_size(j->comm), rank = shmrt_comm_rank(j->comm), rc = 0;
    for (int i = 0; i < IN_FLIGHT && rc == 0; i++) {
        struct call call = call_random(&seed, size, w->job->plan.most, size > 1);
        call.groups = j->grouped ? j->groups : NULL;
        sides[i].in_memory = NULL;
        if (!call_concerns(&call, rank))
            continue;
        if (!side_make(&sides[i], &call, j->comm))
            return note_failure(w, j, shmrt_barrier(j->comm));
        enter(w, 0);
        rc = leave(w, side_start(&sides[i], j->comm, &requests[i]));
    }
    for (int i = 0; i < IN_FLIGHT && rc == 0; i++) {
        nap_at_random(&w->naps);
        if (!requests[i])
            continue;
        bool done = false;
        enter(w, 0);
        for (int tries = 0; i % 2 && tries < 20 && !done && rc == 0; tries++)
            rc = shmrt_test(requests[i], &done);
        if (rc == 0 && !done)
            rc = shmrt_wait(requests[i]);
        leave(w, rc);
        if (rc == 0) {
            check_result(w, &sides[i]);
            side_free(&sides[i]);
        }
    }
    return rc ? note_failure(w, j, rc) : 0;
}

static int call_random_one(struct walk *w, struct joined *j, uint64_t seed)
{
    int size = shmrt_comm_size(j->comm);
    struct call call = call_random(&seed, size, w->job->plan.most, size > 1);
    struct side side;
    call.groups = j->grouped ? j->groups : NULL;
    if (!call_concerns(&call, shmrt_comm_rank(j->comm)))
        return 0;
    if (!side_make(&side, &call, j->comm))
        return note_failure(w, j, shmrt_barrier(j->comm));
    enter(w, (int)call.collective);
    int rc = leave(w, side_call(&side, j->comm));
    if (rc)
        return note_failure(w, j, rc);
    check_result(w, &side);
    side_free(&side);
    return 0;
}

/* The sum has to be right to the bit; the norm to what rounding makes of it. */
static bool norm_is_right(const float *sum, const float *out, const float *expected, size_t rows)
{
    if (memcmp(sum, expected, rows * COLUMNS * sizeof *sum) != 0)
        return false;
    for (size_t row = 0; row < rows; row++) {
        double squares = 0;
        for (size_t i = row * COLUMNS; i < (row + 1) * COLUMNS; i++)
            squares += (double)sum[i] * sum[i];
        double scale = 1 / sqrt(squares / COLUMNS + 1e-5);
        for (size_t i = row * COLUMNS; i < (row + 1) * COLUMNS; i++)
            if (fabs(out[i] - sum[i] * scale) > 1e-4 * (1 + fabs(out[i])))
                return false;
    }
    return true;
}

static int call_norm(struct walk *w, struct joined *j, uint64_t seed)
{
    size_t rows = seed % 4 ? seed % 5 : seed % (w->job->plan.most / COLUMNS + 1);
    size_t count = rows * COLUMNS;
    float *memory = malloc((4 * count + COLUMNS) * sizeof *memory);
    if (!memory)
        abort();
    float *in = memory, *sum = in + count, *out = sum + count, *expected = out + count;
    float *weight = expected + count;
    for (int i = 0; i < COLUMNS; i++)
        weight[i] = 1;
    values_fill(in, 0, count, SHMRT_FLOAT32, shmrt_comm_rank(j->comm), (unsigned)seed);
    values_reduce_grouped(expected, 0, count, SHMRT_FLOAT32, SHMRT_SUM, shmrt_comm_size(j->comm),
                          j->grouped ? j->groups : NULL, (unsigned)seed);
    struct shmrt_norm_args args = {.in = in,
                                   .sum_out = sum,
                                   .out = out,
                                   .weight = weight,
                                   .rows = rows,
                                   .columns = COLUMNS,
                                   .dtype = SHMRT_FLOAT32,
                                   .norm = SHMRT_RMS_NORM,
                                   .epsilon = 1e-5};
    enter(w, 0);
    int rc = leave(w, shmrt_allreduce_norm(j->comm, &args));
    if (rc)
        return note_failure(w, j, rc);
    w->record->wrong_results += !norm_is_right(sum, out, expected, rows);
    free(memory);
    return 0;
}

/* Two parts, or one that leaves some out; a part that there was before is destroyed. */
static int split(struct walk *w, uint64_t seed)
{
    shmrt_comm_destroy(w->part.comm);
    w->part.comm = NULL;
    int color = seed % 3 == 0 ? w->rank % 2 : seed % 3 == 1 ? w->rank / 2 % 2 : w->rank % 3 - 1;
    int key = seed % 2 ? -w->rank : 0;
    enter(w, 0);
    int rc = leave(w, shmrt_comm_split(w->all.comm, color, key, &w->part.comm));
    if (rc)
        note_failure(w, &w->all, rc);
    /* A deadline of the part's meeting leaves the whole alive: no next call says the same. */
    if (rc && strstr(w->record->error.text, "(job split-"))
        w->failed = NULL;
    if (rc)
        return rc;
    w->has_parts = true;
    if (w->part.comm)
        take_groups(&w->part);
    return 0;
}

static int do_step(struct walk *w, const struct kills_step *step)
{
    bool calls =
        step->kind == KILLS_CALL || step->kind == KILLS_NORM || step->kind == KILLS_REQUESTS;
    bool by_part = calls && step->on_part && w->has_parts;
    struct joined *j = by_part ? &w->part : &w->all;
    int rc;
    if (by_part && !w->part.comm)
        return 0;
    switch (step->kind) {
    case KILLS_CREATE:
        return create(w);
    case KILLS_CALL:
        return call_random_one(w, j, step->seed);
    case KILLS_NORM:
        return call_norm(w, j, step->seed);
    case KILLS_REQUESTS:
        return call_requests(w, j, step->seed);
    case KILLS_SPLIT:
        return split(w, step->seed);
    case KILLS_RECREATE:
        destroy(w, NULL);
        return create(w);
    case KILLS_LAST:
        enter(w, 0);
        rc = leave(w, shmrt_barrier(w->all.comm));
        return rc ? note_failure(w, &w->all, rc) : 0;
    case KILLS_DESTROY:
        destroy(w, NULL);
        return 0;
    default:
        nap_at_random(&w->naps);
        return 0;
    }
}

static int walk(struct walk *w)
{
    const struct kills_plan *plan = &w->job->plan;
    for (int i = 0; i < plan->steps_n; i++) {
        const struct kills_step *step = &plan->steps[i];
        atomic_store(&w->record->step, i);
        atomic_store(&w->record->collective, 0);
        w->record->entered_ns = now_ns();
        int rc = do_step(w, step);
        if (rc) {
            w->record->failed_ns = now_ns();
            w->record->failed_entered_ns = w->record->entered_ns;
            w->record->failed_step = i;
            return rc;
        }
        set_off(w); /* where this rank had nothing to do */
        nap_at_random(&w->naps);
    }
    return 0;
}

/* The survivors' own communicator, and a call in it. */
static bool renew(struct walk *w)
{
    const struct kills_plan *plan = &w->job->plan;
    const char *const own[] = {"segment=256K", "pool=1M", "rendezvous_timeout=60", NULL};
    struct shmrt_comm *comm = NULL;
    struct shmrt_params params = {.rank = w->rank - (w->rank > plan->victim),
                                  .size = plan->size - 1,
                                  .job = w->job->key,
                                  .name = "survivors",
                                  .settings = own};
    if (shmrt_comm_create(&params, &comm, &w->record->renew_error))
        return false;
    int32_t one = 1;
    int rc = shmrt_allreduce(comm, &one, &one, 1, SHMRT_INT32, SHMRT_SUM);
    if (rc)
        w->record->renew_error = *shmrt_comm_error(comm);
    shmrt_comm_destroy(comm);
    return rc == 0 && one == plan->size - 1;
}

void kills_rank_run(struct kills_job *job, int rank)
{
    struct walk w = {.job = job,
                     .record = &job->records[rank],
                     .rank = rank,
                     .naps = job->plan.seed * 31 + (uint64_t)rank};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    w.record->again.code = 1;
    bool failed = walk(&w) != 0;
    if (failed && w.failed) {
        (void)!shmrt_barrier(w.failed);
        w.record->again = *shmrt_comm_error(w.failed);
    }
    atomic_store(&w.record->end, failed ? KILLS_FAILED : KILLS_ENDED_WELL);
    destroy(&w, failed ? w.record->error.text : NULL);
    /* A victim that was too slow to meet never comes to the step that kills it. */
    if (rank == job->plan.victim && failed && atomic_load(&job->killed_ns) == 0)
        _exit(0);
    while (rank == job->plan.victim)
        pause();
    atomic_store(&w.record->renewed, renew(&w) ? 1 : -1);
    _exit(0);
}
