/* SPDX-License-Identifier: Apache-2.0 */
/*
 * twoshot.c - all-reduce and reduce in two passes: reduce-scatter, then all-gather, in rounds that
 * stay in cache.
 *
 * In round t each rank writes its terms of the others' parts into its ring (scatter), reduces its
 * own part from the others' rings and its private input, writes the result to the ring (reduce),
 * and copies the others' results out (gather). A lane runs scatter(t), reduce(t-1), gather(t-2),
 * so that what it waits for was posted about a step ago. There is no barrier.
 *
 * A tensor in its rank's pool makes a pass shorter, rank by rank: an input there is read in place,
 * and into an output there the others push their results.
 *
 * A ring slot is written again at least four rounds later, without asking:
 *  - scatter(t) overwrites round t-4, whose readers are the peers' reduce(t-4). This lane has done
 *    gather(t-3), for which every peer had posted its reduce(t-3).
 *  - reduce(t) overwrites the result of t-4, whose readers are the peers' gather(t-4). This lane
 *    has waited for every peer's scatter(t), which comes after its gather(t-3).
 * Before the first rounds of a call shmrt_lane_may_write asks: the call before may have been of
 * another kind. docs/protocol.md has the table; three slots would do.
 */
#include "lane.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

enum stage { SCATTER, CHECK, REDUCE, GATHER };

void shmrt_twoshot_prepare(struct shmrt_lane *l)
{
    const struct shmrt_coll *c = l->call->plan->coll;
    l->slice = shmrt_slice_cut(c->count, c->element_bytes, c->finish.unit, l->call->lanes, l->lane);
    l->spread = shmrt_slice_rounds(l->slice, c->element_bytes, l->group->sync.size,
                                   l->group->tuning.chunk_bytes);
    l->rounds = l->spread.rounds;
}

static size_t offset_bytes(const struct shmrt_lane *l, struct shmrt_slice part)
{
    return part.begin * l->call->plan->coll->element_bytes;
}

static size_t part_bytes(const struct shmrt_lane *l, struct shmrt_slice part)
{
    return part.count * l->call->plan->coll->element_bytes;
}

static void scatter(const struct shmrt_lane *l, uint64_t t)
{
    struct shmrt_group *g = l->group;
    int own = g->sync.rank;
    for (int r = 0; r < g->sync.size && l->call->own.in_at == SHMRT_NOWHERE; r++) {
        struct shmrt_slice part = shmrt_slice_part(&l->spread, t, r);
        if (r != own)
            memcpy(shmrt_scatter_at(&g->layout, g->base[own], l->lane, l->first + t, r),
                   l->call->plan->coll->in + offset_bytes(l, part), part_bytes(l, part));
    }
    shmrt_post(&g->sync, &shmrt_lane_flags_of(l, own)->scattered, l->first + t + 1, l->lane);
}

/*
 * Where the result of this rank's part of round @t goes: the own output, the outputs that lie in
 * pools, and the ring for those that do not. Who does not keep the result starts with the ring.
 * Return: how many.
 */
static int list_outputs(const struct shmrt_lane *l, uint64_t t, size_t offset, size_t bytes,
                        void *outs[SHMRT_MAX_RANKS + 1])
{
    struct shmrt_group *g = l->group;
    const struct shmrt_plan *plan = l->call->plan;
    int own = g->sync.rank, n = 0;
    bool ring = false;
    if (shmrt_plan_reads(plan, own))
        outs[n++] = plan->coll->out + offset;
    for (int r = 0; r < g->sync.size; r++) {
        if (r == own || !shmrt_plan_reads(plan, r))
            continue;
        uint64_t at = l->state->places[r].out_at;
        if (at == SHMRT_NOWHERE) {
            ring = true;
            continue;
        }
        outs[n++] = g->pool[r] + at + offset;
        l->state->written_to[r] += bytes;
    }
    if (ring)
        outs[n++] = shmrt_gather_at(&g->layout, g->base[own], l->lane, l->first + t);
    return n;
}

static void reduce(const struct shmrt_lane *l, uint64_t t)
{
    struct shmrt_group *g = l->group;
    const struct shmrt_coll *c = l->call->plan->coll;
    int own = g->sync.rank;
    struct shmrt_slice part = shmrt_slice_part(&l->spread, t, own);
    size_t offset = offset_bytes(l, part), bytes = part_bytes(l, part);
    const void *terms[SHMRT_MAX_RANKS];
    void *outs[SHMRT_MAX_RANKS + 1];
    for (int r = 0; r < g->sync.size; r++) {
        uint64_t at = r == own ? SHMRT_NOWHERE : l->state->places[r].in_at;
        const char *slot = shmrt_scatter_at(&g->layout, g->base[r], l->lane, l->first + t, own);
        terms[r] = r == own              ? c->in + offset
                   : at == SHMRT_NOWHERE ? slot
                                         : g->pool[r] + at + offset;
        if (r != own)
            l->state->read_from[r] += bytes;
    }
    int n = list_outputs(l, t, offset, bytes, outs);
    shmrt_group_reduce(g, c, outs, n, terms, part.count);
    shmrt_post(&g->sync, &shmrt_lane_flags_of(l, own)->gathered, l->first + t + 1, l->lane);
}

static void gather(struct shmrt_lane *l, uint64_t t)
{
    struct shmrt_group *g = l->group;
    const struct shmrt_coll *c = l->call->plan->coll;
    for (int r = 0; r < g->sync.size && l->call->own.out_at == SHMRT_NOWHERE; r++) {
        struct shmrt_slice part = shmrt_slice_part(&l->spread, t, r);
        if (r == g->sync.rank)
            continue;
        memcpy(c->out + offset_bytes(l, part),
               shmrt_gather_at(&g->layout, g->base[r], l->lane, l->first + t), part_bytes(l, part));
        l->state->read_from[r] += part_bytes(l, part);
    }
    size_t end = (size_t)(t + 1) * l->spread.round_count;
    shmrt_lane_finish(l, end < l->slice.count ? end : l->slice.count);
}

static bool do_scatter(struct shmrt_lane *l)
{
    if (l->t >= l->rounds)
        return true;
    if (l->t == 0 && !shmrt_lane_may_write(l, 0))
        return false;
    scatter(l, l->t);
    return true;
}

static bool do_reduce(struct shmrt_lane *l)
{
    if (l->t < 1 || l->t - 1 >= l->rounds)
        return true;
    if (!shmrt_lane_has_all(l, offsetof(struct shmrt_lane_flags, scattered), l->first + l->t))
        return false;
    reduce(l, l->t - 1);
    return true;
}

/* Who does not read the results waits for them all the same: its ring and its input are free then.
 */
static bool do_gather(struct shmrt_lane *l)
{
    if (l->t < 2)
        return true;
    if (!shmrt_lane_has_all(l, offsetof(struct shmrt_lane_flags, gathered), l->first + l->t - 1))
        return false;
    if (shmrt_plan_reads(l->call->plan, l->group->sync.rank))
        gather(l, l->t - 2);
    return true;
}

/* A peer that has posted its last reduce, of round t, has gathered round t-2. */
static void leave(struct shmrt_lane *l)
{
    for (int r = 0; r < l->group->sync.size && l->rounds >= 2; r++)
        l->state->done_seen[r] = l->first + l->rounds - 2;
    shmrt_lane_post_done(l, l->rounds - 1);
}

int shmrt_twoshot_step(struct shmrt_lane *l)
{
    int rc;
    for (; l->rounds > 0 && l->t < l->rounds + 2; l->t++, l->stage = SCATTER) {
        if (l->stage == SCATTER && !do_scatter(l))
            return -EAGAIN;
        l->stage = l->stage == SCATTER ? CHECK : l->stage;
        if (!l->checked && (rc = shmrt_lane_check(l, true)) != 0)
            return rc;
        l->stage = l->stage == CHECK ? REDUCE : l->stage;
        if (l->stage == REDUCE && !do_reduce(l))
            return -EAGAIN;
        l->stage = GATHER;
        if (!do_gather(l))
            return -EAGAIN;
    }
    if (l->rounds > 0)
        leave(l);
    return 0;
}
