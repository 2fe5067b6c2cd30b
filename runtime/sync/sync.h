/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sync.h - flags, waits that end, and who is still there (L2)
 *
 * A flag is a 64-bit counter with one writer. Its writer posts it; others wait until it has reached
 * a value. A wait has three exits: success, an abort, the deadline.
 */
#ifndef SHMRT_SYNC_H
#define SHMRT_SYNC_H

#include "base/error.h"
#include "shm/layout.h"

/** What this rank knows of one rank (itself included) for waiting. */
struct shmrt_sync_peer {
    struct shmrt_abort_record *abort;
    struct shmrt_lane_sleep *sleep; /* one a lane */
    int socket;                     /* -1 for this rank itself */
    int pidfd;
    int pid;
};

/** The call a wait belongs to, for its messages. */
struct shmrt_call_context {
    struct shmrt_call call;
    uint64_t epoch;
    uint64_t record; /* its number among the records; 0: it has none */
};

struct shmrt_lane_stats {
    _Alignas(SHMRT_APART_BYTES) uint64_t wait_ns;
    uint64_t sleeps;
    int64_t woke_ns;            /* when it last woke somebody, who takes a while to come */
    int64_t disturbed_until_ns; /* another process has this CPU's time, too: do not yield to it */
    /* How long the latest wait that was not over at once took, and in which call. */
    struct shmrt_call_context waited_in;
    int64_t waited_ns;
    /* Of wait_ns, for each rank that had not entered the call. */
    uint64_t late_ns[SHMRT_MAX_RANKS];
};

enum { SHMRT_CALL_TEXT_BYTES = 128 };

/** All of it is constant after creation but the statistics, the warning mark, the words of this
 * rank's failure and what this rank may change between its calls: timeout_ns, caller_only. */
struct shmrt_sync {
    int rank;
    int size;
    int lanes;
    bool crowded;     /* ranks share CPUs with one another */
    bool fence;       /* some rank has no membarrier: writers pay a seq_cst fence instead */
    bool caller_only; /* the caller's thread serves all lanes of this rank */
    int64_t timeout_ns;
    int64_t warn_ns;
    int64_t spin_ns;
    int64_t yield_ns;
    struct shmrt_logger logger;
    struct shmrt_interrupt interrupt;
    struct shmrt_sync_peer peers[SHMRT_MAX_RANKS];
    uint64_t warned_epoch; /* caller's lane only */
    /* What this rank was doing when it failed, with the abort record: goes with its error, but not
     * to the others, who have words of their own. */
    char own_part[SHMRT_CALL_TEXT_BYTES + 64];
    struct shmrt_lane_stats *stats; /* one a lane */
    struct shmrt_wait_note *notes;  /* one a lane: copies in a file; NULL where none are kept */
};

/** What is waited for: @flag of rank @peer to reach @value, by @lane of this rank. */
struct shmrt_awaited {
    const _Atomic uint64_t *flag;
    uint64_t value;
    int peer;
    int lane;
    bool late; /* the flag tells that @peer has entered the call */
    const struct shmrt_call_context *context;
    /* NULL, or what to ask in place of the flag: any of several things may have come. Who posts
     * for another lane than @lane does not wake it; it looks again soon. */
    bool (*is_here)(void *arg);
    void *arg;
};

/** Whether this process can take the sleeper's side of the store-load race (wait.c) on itself. */
bool shmrt_sync_has_membarrier(void);

/* Counters may wrap: compare by distance. Acquire: pairs with the release in shmrt_post. */
static inline bool shmrt_flag_reached(const _Atomic uint64_t *flag, uint64_t value)
{
    return (int64_t)(atomic_load_explicit(flag, memory_order_acquire) - value) >= 0;
}

static inline bool shmrt_is_here(const struct shmrt_awaited *awaited)
{
    if (shmrt_unlikely(awaited->is_here != NULL))
        return awaited->is_here(awaited->arg);
    return shmrt_flag_reached(awaited->flag, awaited->value);
}

/** Who came back to look himself goes on: his note of what he waited for is out of date. */
void shmrt_wait_is_over(struct shmrt_sync *sync, int lane);

/** Wake @lane of @rank if it still sleeps; whether this call did. Any thread may. */
bool shmrt_wake(struct shmrt_sync *sync, int rank, int lane);

/** The same by the thread that serves @lane here: the slow part of shmrt_post. */
void shmrt_wake_peer(struct shmrt_sync *sync, int rank, int lane);

/**
 * shmrt_post - publish all earlier writes of this thread: set @flag to @value, wake sleepers
 *
 * The load of a sleep word must not pass the store of the flag. Usually the sleeper makes sure of
 * that, with membarrier, and nothing is needed here but the compiler's order.
 */
static inline void shmrt_post(struct shmrt_sync *sync, _Atomic uint64_t *flag, uint64_t value,
                              int lane)
{
    /* Pairs with the acquire in shmrt_flag_reached. */
    atomic_store_explicit(flag, value, memory_order_release);
    if (shmrt_unlikely(sync->fence))
        atomic_thread_fence(memory_order_seq_cst);
    else
        atomic_signal_fence(memory_order_seq_cst);
    for (int r = 0; r < sync->size; r++)
        if (shmrt_unlikely(
                atomic_load_explicit(&sync->peers[r].sleep[lane].asleep, memory_order_relaxed)) &&
            r != sync->rank)
            shmrt_wake_peer(sync, r, lane);
}

/** The slow part of shmrt_await: spin, yield, sleep. */
int shmrt_await_slow(struct shmrt_sync *sync,
                     const struct shmrt_awaited *awaited) SHMRT_WARN_UNUSED;

/** shmrt_await - return 0 once it is there, or the error that the communicator died of */
static inline int shmrt_await(struct shmrt_sync *sync, const struct shmrt_awaited *awaited)
{
    if (shmrt_likely(shmrt_is_here(awaited)))
        return 0;
    return shmrt_await_slow(sync, awaited);
}

/**
 * shmrt_await_check - what a wait does now and then, for one who comes back to look himself
 * @start_ns: when the waiting began, for the deadline
 *
 * Return: 0, or the error that the communicator died of.
 */
int shmrt_await_check(struct shmrt_sync *sync, const struct shmrt_awaited *awaited,
                      int64_t start_ns) SHMRT_WARN_UNUSED;

/**
 * shmrt_fail - this rank gives up: publish why, wake everyone
 *
 * The first caller of a rank wins. Return: the code this rank failed with.
 */
int shmrt_fail(struct shmrt_sync *sync, int code, const char *format, ...) SHMRT_PRINTF(3, 4);

/** The same in a wait: this rank's error also says in which call it was, and how long it waited. */
int shmrt_fail_waiting(struct shmrt_sync *sync, int code, const struct shmrt_awaited *awaited,
                       int64_t waited_ns, const char *format, ...) SHMRT_PRINTF(5, 6);

/** The same for what a rank finds in @context, where its wait, if there was one, is over. */
int shmrt_fail_after(struct shmrt_sync *sync, int code, const struct shmrt_call_context *context,
                     int lane, const char *format, ...) SHMRT_PRINTF(5, 6);

/** How a rank is, as far as the kernel and its goodbye tell. */
enum shmrt_presence { SHMRT_HERE, SHMRT_LEFT, SHMRT_GONE };

enum shmrt_presence shmrt_presence_of(const struct shmrt_sync *sync, int rank);

/** Whether this rank has failed; then its error is in @error_out (may be NULL). */
bool shmrt_has_failed(const struct shmrt_sync *sync, struct shmrt_error *error_out);

/**
 * shmrt_check_aborts - if some rank has failed, fail with its words
 * @awaited:   what this rank waits for; its peer is -1 where that is nobody
 * @waited_ns: so far; negative where it does not wait
 *
 * Return: 0 or this rank's code.
 */
int shmrt_check_aborts(struct shmrt_sync *sync, const struct shmrt_awaited *awaited,
                       int64_t waited_ns) SHMRT_WARN_UNUSED;

/** If a rank has died, or the awaited one left, and it is still missing, fail. As above. */
int shmrt_check_peers(struct shmrt_sync *sync, const struct shmrt_awaited *awaited,
                      int64_t waited_ns) SHMRT_WARN_UNUSED;

/**
 * shmrt_confirm_reads - at the end of a call that has read other ranks' tensors where they lie
 *
 * A rank that gives up has its tensors back, and may write to them while others still read. So what
 * was read counts only if no rank had given up by then. Return: 0, or this rank's code.
 */
int shmrt_confirm_reads(struct shmrt_sync *sync,
                        const struct shmrt_call_context *context) SHMRT_WARN_UNUSED;

/* As the collective of a call that is only to be described. */
enum { SHMRT_CALL_PROBE = SHMRT_COLLECTIVE_END, SHMRT_CALL_SPLIT };

/** Who keeps the @awaited rank waiting, and so this one: it itself, or another one. */
int shmrt_find_missing(const struct shmrt_sync *sync, const struct shmrt_awaited *awaited);

/** "all-reduce #12 (sum of 1000 float32)", "broadcast #3 (1000 float32, root 0)" */
const char *shmrt_call_describe(const struct shmrt_call_context *context,
                                char out[SHMRT_CALL_TEXT_BYTES]);

#endif
