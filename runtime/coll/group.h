/* SPDX-License-Identifier: Apache-2.0 */
/*
 * group.h - what the algorithms of a communicator work on (L3)
 *
 *   slices.h    who works on which elements (pure)
 *   plan.h      what a collective moves from whom to whom (pure)
 *   order.h     ranks in groups, and the order in which terms are combined (pure)
 *   first.c     where all counters begin
 *   call.c      every collective begins here: the epoch, and agreement on what is called
 *   oneshot.c   small: shown in one slot, read by all
 *   exchange.c  larger: through the ring, in one pass; every collective
 *   twoshot.c   all-reduce and reduce: through the ring, in two passes
 *   hierarchy.c the same four ways: by groups of ranks, so that little goes from group to group
 *   direct.c    all-reduce of tensors that all lie in shared memory
 *   pair.c      send and receive
 *   work.c      chooses, and drives a collective to its end, waiting or coming back
 */
#ifndef SHMRT_GROUP_H
#define SHMRT_GROUP_H

#include "diag/record.h"
#include "order.h"
#include "shm/layout.h"
#include "shm/pool.h"
#include "sync/sync.h"

/** Private to a rank, one a lane; touched by the thread that serves the lane. */
struct shmrt_lane_state {
    _Alignas(SHMRT_APART_BYTES) uint64_t rounds; /* so far, of whatever call */
    uint64_t done_seen[SHMRT_MAX_RANKS];         /* each rank has done at least that many */
    /* Bytes of each other rank's memory, of whatever kind, that this lane's thread moved so far. */
    uint64_t read_from[SHMRT_MAX_RANKS], written_to[SHMRT_MAX_RANKS];
    /* Where the others' tensors of this call lie: taken once, and checked, since a rank can write
     * anything into its line at any time. */
    struct shmrt_places places[SHMRT_MAX_RANKS];
};

/** Private to a rank, one for each other: chunks of all messages so far. */
struct shmrt_pair_state {
    uint64_t sent, taken;  /* chunks */
    uint64_t sends, recvs; /* messages, for messages */
};

/** Where the thresholds come from. */
enum shmrt_tuned {
    SHMRT_TUNED_FIXED,    /* the same everywhere, or set by the user */
    SHMRT_TUNED_CACHED,   /* measured earlier on this machine */
    SHMRT_TUNED_MEASURE,  /* to be measured when the ranks have met */
    SHMRT_TUNED_MEASURED, /* just now */
};

/* hierarchy_min_bytes: more than any vector has. */
#define SHMRT_HIERARCHY_NEVER ((size_t)1 << 62)

/** Sizes at which one way of doing things gives way to another; the same on all ranks. */
struct shmrt_tuning {
    enum shmrt_tuned tuned;
    size_t oneshot_max_bytes;  /* largest vector in one shot */
    size_t exchange_max_bytes; /* largest all-reduce in one pass */
    /* Smallest vector that goes by groups, where ranks lie in several */
    size_t hierarchy_min_bytes;
    size_t chunk_bytes; /* of a part; at most the layout's */
    size_t lane_bytes;  /* a vector wakes one lane for each of these */
};

struct shmrt_group {
    struct shmrt_sync sync;
    struct shmrt_layout layout;
    struct shmrt_tuning tuning;
    char *base[SHMRT_MAX_RANKS]; /* every rank's segment, as mapped here */
    char *pool[SHMRT_MAX_RANKS]; /* every rank's pool, as mapped here; NULL where there is none */
    size_t pool_bytes;           /* of each */
    const struct shmrt_pool *own_pool;
    struct shmrt_kernels kernels;
    struct shmrt_order order;     /* where the ranks are */
    struct shmrt_order sum_order; /* in which terms are combined: that, or rank order */
    uint64_t epoch;               /* calls so far, of whatever kind */
    uint64_t entered; /* calls that every rank is known to have entered, and this one checked */
    struct shmrt_call_context last; /* the latest call, while that is being found out */
    struct shmrt_recorder recorder;
    struct shmrt_lane_state *lanes;
    struct shmrt_pair_state *pairs;
};

/** What is done with a final piece of the result, while it is in cache. */
struct shmrt_finish {
    /* Elements @begin .. @begin + @count of the result are final; both are multiples of unit.
     * Lanes call it side by side, for pieces of their own. */
    void (*fn)(void *arg, size_t begin, size_t count);
    void *arg;
    size_t unit;
};

/** One collective, its arguments checked. */
struct shmrt_coll {
    enum shmrt_collective collective;
    const char *in;
    char *out;
    size_t count;             /* elements of the vector, or of each block */
    const size_t *in_counts;  /* of each block; NULL: all are count */
    const size_t *out_counts; /* all-to-all: of each block that comes */
    size_t element_bytes;
    enum shmrt_dtype dtype;
    enum shmrt_op op;
    int root;                   /* or the other end of a send or receive */
    struct shmrt_finish finish; /* all-reduce only; fn may be NULL */
};

/** shmrt_group_reduce - combine all ranks' terms, by rank in @terms, into @outs_n vectors */
void shmrt_group_reduce(const struct shmrt_group *group, const struct shmrt_coll *coll,
                        void *const *outs, int outs_n, const void *const *terms, size_t count);

/** What all ranks have to agree on for @coll. */
struct shmrt_call shmrt_call_of(const struct shmrt_group *group, const struct shmrt_coll *coll);

/**
 * shmrt_call_may_begin - whether the next call's line can be written: every rank is in the last one
 * @peer: where to go on looking; 0 at first
 *
 * The collective before may have been one that waits for nobody. Return: 0, -EAGAIN (see
 * @awaited_out) or -EPROTO (that call was another one elsewhere).
 */
int shmrt_call_may_begin(struct shmrt_group *group, int *peer,
                         struct shmrt_awaited *awaited_out) SHMRT_WARN_UNUSED;

/** What a call's line carries beside the call: a payload, or places. */
struct shmrt_shown {
    const void *payload;               /* NULL: none */
    size_t bytes;                      /* at most the layout's small slot */
    const struct shmrt_places *places; /* NULL: none */
};

/** shmrt_call_begin - start the next call: tell all what it is, and show what goes with it */
struct shmrt_call_context shmrt_call_begin(struct shmrt_group *group, struct shmrt_call call,
                                           const struct shmrt_shown *shown);

/** Whether @peer is in the same call: 0, -EAGAIN (see @awaited_out) or -EPROTO. */
int shmrt_call_check(struct shmrt_group *group, const struct shmrt_call_context *context, int peer,
                     int lane, struct shmrt_awaited *awaited_out) SHMRT_WARN_UNUSED;

/** Where @rank's payload of the current call lies. */
const char *shmrt_call_payload(const struct shmrt_group *group, int rank, size_t bytes);

/** The same where places were shown too: it then never lies in the line. */
const char *shmrt_call_slot(const struct shmrt_group *group, int rank);

/** What @rank says now of where its tensors of the current call lie: not checked. */
struct shmrt_places shmrt_call_places(const struct shmrt_group *group, int rank);

#endif
