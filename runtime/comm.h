/* SPDX-License-Identifier: Apache-2.0 */
/* comm.h - inside of a communicator (L4), for the comm*.c files */
#ifndef SHMRT_COMM_H
#define SHMRT_COMM_H

#include "comm_notices.h"

#include "base/options.h"
#include "coll/pair.h"
#include "coll/work.h"
#include "diag/record_file.h"
#include "shm/pool.h"
#include "shm/rendezvous.h"
#include "shm/segment.h"

struct shmrt_comm {
    struct shmrt_group group;
    struct shmrt_options options;
    struct shmrt_link links[SHMRT_MAX_RANKS];
    struct shmrt_segment segments[SHMRT_MAX_RANKS];
    struct shmrt_pool *pools[SHMRT_MAX_RANKS];
    int listener; /* holds this rank's rendezvous name; -1: none */
    struct shmrt_error error;
    struct shmrt_error refusal; /* constant: threads that are refused write nothing */
    struct shmrt_counters counters;
    struct shmrt_last_call last;
    struct shmrt_told told;            /* warnings of its creation */
    bool has_told_end;                 /* what it died of is in the log */
    struct shmrt_record_file file;     /* of records, where one was asked for */
    struct shmrt_request *requests;    /* started and not yet freed, in order */
    int64_t probed_ns;                 /* when a probe last looked for deaths */
    int64_t asked_ns[SHMRT_MAX_RANKS]; /* when one last looked whether this rank has left */
    /* One private page holding 1, which a fork sets to 0 in the child (MADV_WIPEONFORK). */
    unsigned char *fork_guard;
    _Atomic bool busy; /* a thread is in a call: see shmrt_comm_enter */
};

static inline int64_t shmrt_timeout_ns(const struct shmrt_options *options)
{
    return (int64_t)options->timeout_ms * 1000000;
}

/** A child of fork() has a copy that it may not use. */
static inline bool shmrt_comm_is_forked(const struct shmrt_comm *comm)
{
    return comm->fork_guard[0] == 0;
}

/**
 * shmrt_job_key - the key at which the ranks of this communicator meet
 *
 * @job and @name as in struct shmrt_params. Return: 0, or -EINVAL when it is too long.
 */
int shmrt_job_key(const char *job, const char *name, char out[SHMRT_JOB_BYTES],
                  struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

/**
 * shmrt_comm_build - shmrt_comm_create with options that are known already
 * @trouble: code 0, or why this rank can't take part: then the others are told, and it is returned
 * @told: lines that were told already, or NULL
 */
int shmrt_comm_build(const struct shmrt_params *params, const struct shmrt_options *options,
                     const struct shmrt_error *trouble, const struct shmrt_told *told,
                     struct shmrt_comm **comm_out, struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

/**
 * shmrt_tune_choose - rank 0: the thresholds, or that they have to be measured
 * @lanes:   that this rank can give
 * @crowded: ranks share CPUs
 *
 * Return: 0, or -EINVAL (SHMRT_TUNE is none of its words).
 */
int shmrt_tune_choose(struct shmrt_comm *comm, int ranks, uint64_t lanes, bool crowded,
                      struct shmrt_tuning *out, struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

/** shmrt_tune_measure - all ranks together, before any other call; @lanes as rank 0 chose with. */
int shmrt_tune_measure(struct shmrt_comm *comm, uint64_t lanes,
                       struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

/** Nanoseconds of each of @calls calls of @coll, begun together. */
int shmrt_tune_time(struct shmrt_comm *comm, const struct shmrt_coll *coll, int calls,
                    double *ns_out) SHMRT_WARN_UNUSED;

/** Logs why the thresholds could not be kept; @rc as of shmrt_tuning_write. */
void shmrt_tune_tell_kept(const struct shmrt_comm *comm, const char *path, int rc);

/** shmrt_tune_groups - from which size on to go by groups; all ranks together, after the above */
int shmrt_tune_groups(struct shmrt_comm *comm, uint64_t lanes,
                      struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

/** shmrt_groups_own - the group of this rank, or -EINVAL (SHMRT_GROUPS can't be read or followed)
 */
int shmrt_groups_own(const struct shmrt_options *options, int rank, int size, int64_t *group_out,
                     struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

/** shmrt_groups_set - all ranks have met: the groups, and the order of summation */
void shmrt_groups_set(struct shmrt_comm *comm, const struct shmrt_hello *mine);

/** Refuses every call on a communicator that can't be used (any more). */
int shmrt_comm_check(struct shmrt_comm *comm) SHMRT_WARN_UNUSED;

/** The words of a refusal, before anybody can be refused. */
void shmrt_comm_word_refusal(struct shmrt_comm *comm);

/** Why shmrt_comm_enter refuses. */
int shmrt_comm_refuse_entry(struct shmrt_comm *comm) SHMRT_WARN_UNUSED;

/**
 * shmrt_comm_enter - begin a call of this thread; every one that returns 0 ends with
 * shmrt_comm_leave
 *
 * Refuses a second thread, and a callback that calls what it was called from, with -EBUSY. A plain
 * load and store: two threads that begin within the same few nanoseconds are not told from one.
 * An exchange would tell, at some 20 cycles a call; a program whose threads collide does so often.
 */
static inline int shmrt_comm_enter(struct shmrt_comm *comm)
{
    if (shmrt_unlikely(atomic_load_explicit(&comm->busy, memory_order_relaxed)))
        return shmrt_comm_refuse_entry(comm);
    atomic_store_explicit(&comm->busy, true, memory_order_relaxed);
    return 0;
}

static inline void shmrt_comm_leave(struct shmrt_comm *comm)
{
    atomic_store_explicit(&comm->busy, false, memory_order_relaxed);
}

/** A call of the thread that has entered. */
int shmrt_comm_call(struct shmrt_comm *comm, const struct shmrt_args *args) SHMRT_WARN_UNUSED;

/** @args as a collective to run; or -EINVAL, -ENOTSUP with the reason in the communicator. */
int shmrt_args_check(struct shmrt_comm *comm, const struct shmrt_args *args,
                     struct shmrt_coll *coll_out) SHMRT_WARN_UNUSED;

/** Run a checked collective to its end, waiting as needed; behind what was started. */
int shmrt_comm_run(struct shmrt_comm *comm, const struct shmrt_coll *coll) SHMRT_WARN_UNUSED;

/** The same for the only rank of a communicator; not for messages. */
int shmrt_comm_run_alone(struct shmrt_comm *comm, const struct shmrt_coll *coll) SHMRT_WARN_UNUSED;

/** After a collective: counts it, or makes the error that the communicator died of its last. */
int shmrt_comm_finish(struct shmrt_comm *comm, const struct shmrt_coll *coll,
                      const struct shmrt_work *work, int rc) SHMRT_WARN_UNUSED;

/** Run a checked collective to its end while the requests that were started go on too. */
int shmrt_requests_run(struct shmrt_comm *comm, const struct shmrt_coll *coll) SHMRT_WARN_UNUSED;

/** Frees what was started and never waited for. */
void shmrt_requests_free(struct shmrt_comm *comm);

#endif
