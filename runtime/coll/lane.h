/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lane.h - one lane of a collective that goes through the ring in rounds (L3)
 *
 * A lane is a state machine: a step goes on until something of a peer is missing, says what, and
 * can be called again. So one thread may wait in it, or come back to it later (shmrt_test).
 */
#ifndef SHMRT_LANE_H
#define SHMRT_LANE_H

#include "plan.h"
#include "slices.h"
#include "ties.h"

#define SHMRT_ALL_RANKS UINT64_MAX

/** What all lanes of a call share; constant while they run. */
struct shmrt_round_call {
    struct shmrt_group *group;
    const struct shmrt_plan *plan;
    struct shmrt_call_context context;
    struct shmrt_places own; /* where this rank's tensors are */
    size_t longest;          /* elements of the longest block, of any rank */
    int lanes;               /* in use; the others' rings and round numbers stay */
};

struct shmrt_lane {
    const struct shmrt_round_call *call;
    struct shmrt_group *group;
    struct shmrt_lane_state *state;
    int lane;
    uint64_t first;             /* number of the call's first round */
    uint64_t rounds;            /* of this lane */
    uint64_t t;                 /* round of the call that is being begun */
    int stage;                  /* within that round */
    int peer;                   /* where to go on within the stage */
    bool checked;               /* all lines that matter have been seen */
    size_t finished;            /* elements handed to finish so far, from the lane's first */
    struct shmrt_slice slice;   /* of the lane, where the vector is one */
    struct shmrt_rounds spread; /* two-shot */
    size_t part_count;          /* exchange: elements of a full part */
    struct shmrt_ties ties;     /* hierarchy */
    struct shmrt_awaited awaited;
};

/** Runs a lane: 0 (done), -EAGAIN (see lane->awaited), or an error. */
typedef int (*shmrt_lane_step)(struct shmrt_lane *lane);

/** Ready @lane for one of these algorithms. */
void shmrt_exchange_prepare(struct shmrt_lane *lane);
void shmrt_twoshot_prepare(struct shmrt_lane *lane);
void shmrt_direct_prepare(struct shmrt_lane *lane);
void shmrt_hierarchy_prepare(struct shmrt_lane *lane);

int shmrt_direct_step(struct shmrt_lane *lane) SHMRT_WARN_UNUSED;
int shmrt_exchange_step(struct shmrt_lane *lane) SHMRT_WARN_UNUSED;
int shmrt_twoshot_step(struct shmrt_lane *lane) SHMRT_WARN_UNUSED;
int shmrt_hierarchy_step(struct shmrt_lane *lane) SHMRT_WARN_UNUSED;

/** Whether there is a hierarchical way for it. */
bool shmrt_hierarchy_can(enum shmrt_collective collective);

static inline struct shmrt_lane_flags *shmrt_lane_flags_of(const struct shmrt_lane *l, int rank)
{
    return shmrt_flags_at(&l->group->layout, l->group->base[rank], l->lane);
}

/** Whether @flag of @peer has come; if not, lane->awaited says what to wait for. */
static inline bool shmrt_lane_has(struct shmrt_lane *l, int peer, const _Atomic uint64_t *flag,
                                  uint64_t value)
{
    if (shmrt_likely(shmrt_flag_reached(flag, value)))
        return true;
    l->awaited = (struct shmrt_awaited){
        .flag = flag, .value = value, .peer = peer, .lane = l->lane, .context = &l->call->context};
    return false;
}

/** Whether @flag_offset of the flags of all @ranks but this one has come; goes on at lane->peer. */
bool shmrt_lane_has_of(struct shmrt_lane *lane, uint64_t ranks, size_t flag_offset, uint64_t value);

/** Whether every other rank's @flag_offset of its flags has come; goes on at lane->peer. */
bool shmrt_lane_has_all(struct shmrt_lane *lane, size_t flag_offset, uint64_t value);

/** Whether round @t's slot of the own ring can be written: nobody reads what lies there. */
bool shmrt_lane_may_write(struct shmrt_lane *lane, uint64_t t);

/** The same where none but @ranks may be reading there. */
bool shmrt_lane_may_write_for(struct shmrt_lane *lane, uint64_t t, uint64_t ranks);

/** The lines of the writers, or with @all of all ranks: 0, -EAGAIN or -EPROTO. */
int shmrt_lane_check(struct shmrt_lane *lane, bool all);

/** Take down where @peer says that its tensors lie, if that is within its pool: 0 or -EPROTO. */
int shmrt_places_take(struct shmrt_group *group, const struct shmrt_plan *plan, int peer,
                      struct shmrt_places *out);

/** This rank reads no ring any more, up to the end of round @t. */
void shmrt_lane_post_done(struct shmrt_lane *lane, uint64_t t);

/** Elements from the lane's first up to @end are final: hand whole units to finish. */
void shmrt_lane_finish(struct shmrt_lane *lane, size_t end);

#endif
