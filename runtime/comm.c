/* SPDX-License-Identifier: Apache-2.0 */
/* comm.c - the entry points of a communicator, but for those of requests and splits. */
#include "comm.h"
#include "comm_who.h"

#include "shm/bind.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

int shmrt_comm_rank(const struct shmrt_comm *comm)
{
    return comm->group.sync.rank;
}

int shmrt_comm_size(const struct shmrt_comm *comm)
{
    return comm->group.sync.size;
}

int shmrt_comm_lanes(const struct shmrt_comm *comm)
{
    return comm->group.sync.lanes;
}

const char *shmrt_comm_kernel(const struct shmrt_comm *comm)
{
    return comm->group.kernels.name;
}

const struct shmrt_error *shmrt_comm_error(const struct shmrt_comm *comm)
{
    /* While one thread is in a call, who asks is one that was refused. */
    bool is_busy = atomic_load_explicit(&comm->busy, memory_order_relaxed);
    return is_busy && !shmrt_comm_is_forked(comm) ? &comm->refusal : &comm->error;
}

void shmrt_comm_abort(struct shmrt_comm *comm, const char *reason)
{
    if (!shmrt_comm_is_forked(comm))
        shmrt_fail(&comm->group.sync, -ECONNABORTED, "rank %d aborted: %s", comm->group.sync.rank,
                   reason ? reason : "no reason given");
}

int shmrt_comm_set_timeout(struct shmrt_comm *comm, double seconds)
{
    int rc = shmrt_options_set_timeout(&comm->options, seconds, &comm->error);
    if (rc == 0)
        comm->group.sync.timeout_ns = shmrt_timeout_ns(&comm->options);
    return rc;
}

void shmrt_comm_set_caller_only(struct shmrt_comm *comm, bool caller_only)
{
    comm->options.caller_only = caller_only; /* for those split off */
    comm->group.sync.caller_only = caller_only;
}

int shmrt_comm_check(struct shmrt_comm *comm)
{
    if (shmrt_unlikely(shmrt_comm_is_forked(comm)))
        return shmrt_error_set(
            &comm->error, -EINVAL,
            "this communicator was made before fork() and belongs to the parent; "
            "the child has to create its own, with SHMRT_LANES=1 since OpenMP's threads do not "
            "survive fork()");
    struct shmrt_error error;
    if (shmrt_unlikely(shmrt_has_failed(&comm->group.sync, &error))) {
        comm->error = error;
        return error.code;
    }
    return 0;
}

int shmrt_comm_refuse_entry(struct shmrt_comm *comm)
{
    if (shmrt_comm_is_forked(comm)) /* while another thread of the parent was in a call */
        return shmrt_comm_check(comm);
    return comm->refusal.code;
}

void shmrt_comm_word_refusal(struct shmrt_comm *comm)
{
    (void)shmrt_error_set(
        &comm->refusal, -EBUSY,
        "rank %d (pid %d) is in a call on this communicator already, in another thread or around "
        "this callback; let one thread at a time call, or make a communicator for each",
        comm->group.sync.rank, (int)getpid());
}

/* @work is NULL for messages, and for a rank alone. */
static const char *name_of_way(const struct shmrt_coll *coll, const struct shmrt_work *work)
{
    static const char *const names[] = {[SHMRT_WAY_ONESHOT] = "one-shot",
                                        [SHMRT_WAY_EXCHANGE] = "one pass",
                                        [SHMRT_WAY_TWOSHOT] = "two-shot",
                                        [SHMRT_WAY_DIRECT] = "direct",
                                        [SHMRT_WAY_HIERARCHY] = "by groups"};
    if (work)
        return names[work->way];
    return coll->collective == SHMRT_SEND || coll->collective == SHMRT_RECV ? "message" : "alone";
}

static void count(struct shmrt_comm *comm, const struct shmrt_coll *coll,
                  const struct shmrt_work *work)
{
    struct shmrt_counters *counters = &comm->counters;
    size_t elements = coll->count;
    for (int r = 0; coll->in_counts && r < comm->group.sync.size; r++)
        elements += coll->in_counts[r];
    comm->last =
        (struct shmrt_last_call){coll->collective, coll->dtype, coll->op, name_of_way(coll, work)};
    counters->calls++;
    counters->bytes += elements * coll->element_bytes;
    if (!work || coll->collective == SHMRT_BARRIER)
        return;
    counters->oneshot_calls += work->way == SHMRT_WAY_ONESHOT;
    counters->pipelined_calls += work->way != SHMRT_WAY_ONESHOT;
    counters->shared_calls += shmrt_work_was_shared(work);
}

int shmrt_comm_finish(struct shmrt_comm *comm, const struct shmrt_coll *coll,
                      const struct shmrt_work *work, int rc)
{
    if (shmrt_unlikely(rc)) {
        if (!shmrt_has_failed(&comm->group.sync, &comm->error))
            shmrt_error_set(&comm->error, rc, "%s", strerror(-rc));
        if (!comm->has_told_end) {
            shmrt_record_file_fail(&comm->file, &comm->error);
            shmrt_who_log(comm);
        }
        comm->has_told_end = true;
        return comm->error.code;
    }
    count(comm, coll, work);
    return 0;
}

/* A rank alone moves its own input to its own output. */
int shmrt_comm_run_alone(struct shmrt_comm *comm, const struct shmrt_coll *coll)
{
    struct shmrt_plan plan;
    const void *term = coll->in;
    shmrt_plan_make(&plan, coll, 1, 0);
    if (plan.combine) {
        size_t elements = shmrt_plan_block(&plan, 0, 0).count;
        void *out = coll->out;
        shmrt_group_reduce(&comm->group, coll, &out, 1, &term, elements);
        if (coll->finish.fn)
            coll->finish.fn(coll->finish.arg, 0, elements);
    } else if (coll->collective != SHMRT_BARRIER) {
        shmrt_plan_copy_own(&plan);
    }
    return shmrt_comm_finish(comm, coll, NULL, 0);
}

static int run_pair(struct shmrt_comm *comm, const struct shmrt_coll *coll)
{
    struct shmrt_pair_work work;
    int rc;
    shmrt_pair_make(&work, &comm->group, coll);
    while ((rc = shmrt_pair_step(&work)) == -EAGAIN)
        if ((rc = shmrt_await(&comm->group.sync, &work.awaited)) != 0)
            break;
    return shmrt_comm_finish(comm, coll, NULL, rc);
}

int shmrt_comm_run(struct shmrt_comm *comm, const struct shmrt_coll *coll)
{
    if (shmrt_unlikely(comm->requests != NULL))
        return shmrt_requests_run(comm, coll);
    if (coll->collective == SHMRT_SEND || coll->collective == SHMRT_RECV)
        return run_pair(comm, coll);
    if (comm->group.sync.size == 1)
        return shmrt_comm_run_alone(comm, coll);
    struct shmrt_work work;
    shmrt_work_make(&work, &comm->group, coll);
    int rc = shmrt_work_run(&work);
    return shmrt_comm_finish(comm, coll, &work, rc);
}

/* Check, then run. */
int shmrt_comm_call(struct shmrt_comm *comm, const struct shmrt_args *args)
{
    struct shmrt_coll coll;
    int rc = shmrt_comm_check(comm);
    if (rc == 0)
        rc = shmrt_args_check(comm, args, &coll);
    return rc ? rc : shmrt_comm_run(comm, &coll);
}

static int call(struct shmrt_comm *comm, const struct shmrt_args *args)
{
    int rc = shmrt_comm_enter(comm);
    if (rc)
        return rc;
    rc = shmrt_comm_call(comm, args);
    shmrt_comm_leave(comm);
    return rc;
}

int shmrt_allreduce(struct shmrt_comm *comm, const void *in, void *out, size_t count,
                    enum shmrt_dtype dtype, enum shmrt_op op)
{
    return call(comm, &(struct shmrt_args){.collective = SHMRT_ALLREDUCE,
                                           .in = in,
                                           .out = out,
                                           .count = count,
                                           .dtype = dtype,
                                           .op = op});
}

int shmrt_barrier(struct shmrt_comm *comm)
{
    return call(comm, &(struct shmrt_args){.collective = SHMRT_BARRIER});
}

int shmrt_broadcast(struct shmrt_comm *comm, void *buffer, size_t count, enum shmrt_dtype dtype,
                    int root)
{
    return call(comm, &(struct shmrt_args){.collective = SHMRT_BROADCAST,
                                           .out = buffer,
                                           .count = count,
                                           .dtype = dtype,
                                           .peer = root});
}

int shmrt_reduce(struct shmrt_comm *comm, const void *in, void *out, size_t count,
                 enum shmrt_dtype dtype, enum shmrt_op op, int root)
{
    return call(comm, &(struct shmrt_args){.collective = SHMRT_REDUCE,
                                           .in = in,
                                           .out = out,
                                           .count = count,
                                           .dtype = dtype,
                                           .op = op,
                                           .peer = root});
}

int shmrt_allgather(struct shmrt_comm *comm, const void *in, void *out, size_t count,
                    enum shmrt_dtype dtype)
{
    return call(
        comm,
        &(struct shmrt_args){
            .collective = SHMRT_ALLGATHER, .in = in, .out = out, .count = count, .dtype = dtype});
}

static int refuse_no_counts(struct shmrt_comm *comm)
{
    return shmrt_error_set(&comm->error, -EINVAL,
                           "the counts are NULL; give one for each of the %d ranks",
                           comm->group.sync.size);
}

int shmrt_allgatherv(struct shmrt_comm *comm, const void *in, void *out, const size_t *counts,
                     enum shmrt_dtype dtype)
{
    if (!counts)
        return refuse_no_counts(comm);
    return call(comm, &(struct shmrt_args){.collective = SHMRT_ALLGATHER,
                                           .in = in,
                                           .out = out,
                                           .in_counts = counts,
                                           .dtype = dtype});
}

int shmrt_reduce_scatter(struct shmrt_comm *comm, const void *in, void *out, size_t count,
                         enum shmrt_dtype dtype, enum shmrt_op op)
{
    return call(comm, &(struct shmrt_args){.collective = SHMRT_REDUCE_SCATTER,
                                           .in = in,
                                           .out = out,
                                           .count = count,
                                           .dtype = dtype,
                                           .op = op});
}

int shmrt_reduce_scatterv(struct shmrt_comm *comm, const void *in, void *out, const size_t *counts,
                          enum shmrt_dtype dtype, enum shmrt_op op)
{
    if (!counts)
        return refuse_no_counts(comm);
    return call(comm, &(struct shmrt_args){.collective = SHMRT_REDUCE_SCATTER,
                                           .in = in,
                                           .out = out,
                                           .in_counts = counts,
                                           .dtype = dtype,
                                           .op = op});
}

int shmrt_alltoall(struct shmrt_comm *comm, const void *in, void *out, size_t count,
                   enum shmrt_dtype dtype)
{
    return call(
        comm,
        &(struct shmrt_args){
            .collective = SHMRT_ALLTOALL, .in = in, .out = out, .count = count, .dtype = dtype});
}

int shmrt_alltoallv(struct shmrt_comm *comm, const void *in, const size_t *in_counts, void *out,
                    const size_t *out_counts, enum shmrt_dtype dtype)
{
    if (!in_counts || !out_counts)
        return refuse_no_counts(comm);
    return call(comm, &(struct shmrt_args){.collective = SHMRT_ALLTOALL,
                                           .in = in,
                                           .out = out,
                                           .in_counts = in_counts,
                                           .out_counts = out_counts,
                                           .dtype = dtype});
}

int shmrt_gather(struct shmrt_comm *comm, const void *in, void *out, size_t count,
                 enum shmrt_dtype dtype, int root)
{
    return call(comm, &(struct shmrt_args){.collective = SHMRT_GATHER,
                                           .in = in,
                                           .out = out,
                                           .count = count,
                                           .dtype = dtype,
                                           .peer = root});
}

int shmrt_scatter(struct shmrt_comm *comm, const void *in, void *out, size_t count,
                  enum shmrt_dtype dtype, int root)
{
    return call(comm, &(struct shmrt_args){.collective = SHMRT_SCATTER,
                                           .in = in,
                                           .out = out,
                                           .count = count,
                                           .dtype = dtype,
                                           .peer = root});
}

int shmrt_send(struct shmrt_comm *comm, const void *in, size_t count, enum shmrt_dtype dtype,
               int to)
{
    return call(
        comm, &(struct shmrt_args){
                  .collective = SHMRT_SEND, .in = in, .count = count, .dtype = dtype, .peer = to});
}

int shmrt_recv(struct shmrt_comm *comm, void *out, size_t count, enum shmrt_dtype dtype, int from)
{
    return call(
        comm,
        &(struct shmrt_args){
            .collective = SHMRT_RECV, .out = out, .count = count, .dtype = dtype, .peer = from});
}

void shmrt_comm_traffic(const struct shmrt_comm *comm, struct shmrt_traffic *out)
{
    const struct shmrt_group *group = &comm->group;
    *out = (struct shmrt_traffic){.groups = group->order.groups};
    memcpy(out->group_of, group->order.group_of, sizeof out->group_of);
    for (int lane = 0; lane < group->layout.lanes; lane++)
        for (int r = 0; r < group->sync.size; r++) {
            out->read_from[r] += group->lanes[lane].read_from[r];
            out->written_to[r] += group->lanes[lane].written_to[r];
        }
}

void shmrt_comm_counters(const struct shmrt_comm *comm, struct shmrt_counters *out)
{
    uint64_t late_ns[SHMRT_MAX_RANKS];
    *out = comm->counters;
    for (int lane = 0; lane < comm->group.sync.lanes; lane++) {
        out->wait_ns += comm->group.sync.stats[lane].wait_ns;
        out->sleeps += comm->group.sync.stats[lane].sleeps;
    }
    shmrt_comm_skew(comm, late_ns);
    for (int r = 0; r < comm->group.sync.size; r++)
        out->late_ns += late_ns[r];
}

void shmrt_comm_last_call(const struct shmrt_comm *comm, struct shmrt_last_call *out)
{
    *out = comm->last;
    if (!out->way)
        out->way = "";
}

void shmrt_comm_skew(const struct shmrt_comm *comm, uint64_t late_ns_out[SHMRT_MAX_RANKS])
{
    memset(late_ns_out, 0, SHMRT_MAX_RANKS * sizeof *late_ns_out);
    for (int lane = 0; lane < comm->group.sync.lanes; lane++)
        for (int r = 0; r < comm->group.sync.size; r++)
            late_ns_out[r] += comm->group.sync.stats[lane].late_ns[r];
}
