/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exchange.c - every collective, in one pass through the ring: what a rank has for others is
 * written there part by part, and readers copy or combine it.
 *
 * In round t a lane writes part t of each of its blocks, then reads part t-1 of what the others
 * wrote. Where a tensor lies in its rank's pool, readers take it from there and nothing is
 * written. All-reduce comes this way when the ranks are few: with two, every byte is written once
 * and read once, and there is one flag a round.
 *
 * A slot is rewritten when every rank has done the round that used it. Where everyone writes for
 * everyone that follows from the waits: a peer that has posted round t has read round t-2.
 */
#include "lane.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

enum stage { WRITE, CHECK, READ, NEXT };

static struct shmrt_slice part_of(const struct shmrt_lane *l, size_t block_count, uint64_t t)
{
    const struct shmrt_coll *c = l->call->plan->coll;
    struct shmrt_slice lane =
        shmrt_slice_cut(block_count, c->element_bytes, c->finish.unit, l->call->lanes, l->lane);
    return shmrt_slice_piece(lane, l->part_count, t);
}

void shmrt_exchange_prepare(struct shmrt_lane *l)
{
    const struct shmrt_coll *c = l->call->plan->coll;
    const struct shmrt_tuning *tuning = &l->group->tuning;
    /* Lane 0 has the longest slice of any block, so its rounds are enough for all. */
    struct shmrt_slice longest =
        shmrt_slice_cut(l->call->longest, c->element_bytes, c->finish.unit, l->call->lanes, 0);
    l->slice = shmrt_slice_cut(l->call->longest, c->element_bytes, c->finish.unit, l->call->lanes,
                               l->lane);
    l->part_count = shmrt_slice_part_count(longest.count, c->element_bytes, tuning->chunk_bytes);
    l->rounds = (longest.count + l->part_count - 1) / l->part_count;
}

/*
 * Where a writer's input can be read in its pool. Not where it is also its output: in this one pass
 * peers read the one while the owner writes the other.
 */
static uint64_t input_at(const struct shmrt_lane *l, struct shmrt_places places)
{
    bool in_place = l->call->plan->combine && places.in_at == places.out_at;
    return in_place ? SHMRT_NOWHERE : places.in_at;
}

/* Where @writer's part of round @t lies in its ring. */
static char *slot_of(const struct shmrt_lane *l, int writer, int reader, uint64_t t)
{
    const struct shmrt_layout *layout = &l->group->layout;
    char *base = l->group->base[writer];
    return l->call->plan->each ? shmrt_scatter_at(layout, base, l->lane, l->first + t, reader)
                               : shmrt_gather_at(layout, base, l->lane, l->first + t);
}

static void write_part(const struct shmrt_lane *l, int reader, uint64_t t)
{
    const struct shmrt_plan *plan = l->call->plan;
    size_t element = plan->coll->element_bytes;
    struct shmrt_block block = shmrt_plan_block(plan, plan->rank, reader);
    struct shmrt_slice part = part_of(l, block.count, t);
    if (part.count)
        memcpy(slot_of(l, plan->rank, reader, t),
               plan->coll->in + (block.from + part.begin) * element, part.count * element);
}

static void write_round(const struct shmrt_lane *l, uint64_t t)
{
    const struct shmrt_plan *plan = l->call->plan;
    if (plan->each) {
        for (int r = 0; r < plan->size; r++)
            if (r != plan->rank)
                write_part(l, r, t);
    } else if (plan->reader != plan->rank) {
        write_part(l, plan->rank, t);
    }
}

/* What @writer has for this rank in round @t, which is going to be read. */
static const char *source_of(const struct shmrt_lane *l, int writer, struct shmrt_block block,
                             struct shmrt_slice part, uint64_t t)
{
    const struct shmrt_plan *plan = l->call->plan;
    size_t offset = (block.from + part.begin) * plan->coll->element_bytes;
    if (writer == plan->rank)
        return plan->coll->in + offset;
    l->state->read_from[writer] += part.count * plan->coll->element_bytes;
    uint64_t at = input_at(l, l->state->places[writer]);
    return at == SHMRT_NOWHERE ? slot_of(l, writer, plan->rank, t)
                               : l->group->pool[writer] + at + offset;
}

static void combine_round(const struct shmrt_lane *l, uint64_t t)
{
    const struct shmrt_plan *plan = l->call->plan;
    const struct shmrt_coll *c = plan->coll;
    struct shmrt_block block = shmrt_plan_block(plan, plan->rank, plan->rank);
    struct shmrt_slice part = part_of(l, block.count, t);
    const void *terms[SHMRT_MAX_RANKS];
    for (int r = 0; r < plan->size; r++)
        terms[r] = source_of(l, r, block, part, t);
    void *out = c->out + part.begin * c->element_bytes;
    shmrt_group_reduce(l->group, c, &out, 1, terms, part.count);
}

static void copy_round(const struct shmrt_lane *l, uint64_t t)
{
    const struct shmrt_plan *plan = l->call->plan;
    size_t element = plan->coll->element_bytes;
    for (int r = 0; r < plan->size; r++) {
        if (!shmrt_plan_writes(plan, r))
            continue;
        struct shmrt_block block = shmrt_plan_block(plan, r, plan->rank);
        struct shmrt_slice part = part_of(l, block.count, t);
        const char *from = source_of(l, r, block, part, t);
        char *to = plan->coll->out + (block.to + part.begin) * element;
        if (from != to && part.count)
            memcpy(to, from, part.count * element);
    }
}

/* Whether the writers have posted round @t. */
static bool writers_have(struct shmrt_lane *l, uint64_t t)
{
    const struct shmrt_plan *plan = l->call->plan;
    if (plan->writer < 0)
        return shmrt_lane_has_all(l, offsetof(struct shmrt_lane_flags, scattered),
                                  l->first + t + 1);
    return plan->writer == plan->rank ||
           shmrt_lane_has(l, plan->writer, &shmrt_lane_flags_of(l, plan->writer)->scattered,
                          l->first + t + 1);
}

static bool do_write(struct shmrt_lane *l)
{
    const struct shmrt_plan *plan = l->call->plan;
    if (l->t >= l->rounds || !shmrt_plan_writes(plan, plan->rank))
        return true;
    if (input_at(l, l->call->own) == SHMRT_NOWHERE) {
        if ((l->t == 0 || !shmrt_plan_is_symmetric(plan)) && !shmrt_lane_may_write(l, l->t))
            return false;
        write_round(l, l->t);
    }
    shmrt_post(&l->group->sync, &shmrt_lane_flags_of(l, plan->rank)->scattered, l->first + l->t + 1,
               l->lane);
    return true;
}

static bool do_read(struct shmrt_lane *l)
{
    const struct shmrt_plan *plan = l->call->plan;
    if (l->t == 0)
        return true;
    uint64_t t = l->t - 1;
    if (shmrt_plan_reads(plan, plan->rank)) {
        if (!writers_have(l, t))
            return false;
        if (plan->combine)
            combine_round(l, t);
        else
            copy_round(l, t);
        shmrt_lane_finish(l, (size_t)l->t * l->part_count < l->slice.count
                                 ? (size_t)l->t * l->part_count
                                 : l->slice.count);
    }
    if (!shmrt_plan_is_symmetric(plan) || l->t == l->rounds)
        shmrt_lane_post_done(l, t);
    return true;
}

/* Of a peer that has posted the last round, t, we know that it has read round t-2. */
static void note_progress(struct shmrt_lane *l)
{
    if (shmrt_plan_is_symmetric(l->call->plan) && l->rounds >= 2)
        for (int r = 0; r < l->group->sync.size; r++)
            l->state->done_seen[r] = l->first + l->rounds - 2;
}

int shmrt_exchange_step(struct shmrt_lane *l)
{
    const struct shmrt_plan *plan = l->call->plan;
    bool reads = shmrt_plan_reads(plan, plan->rank);
    int rc;
    for (; l->t <= l->rounds; l->t++, l->stage = WRITE) {
        if (l->stage == WRITE && !do_write(l))
            return -EAGAIN;
        l->stage = l->stage == WRITE ? CHECK : l->stage;
        if (l->stage == CHECK && reads && !l->checked && (rc = shmrt_lane_check(l, false)) != 0)
            return rc;
        l->stage = READ;
        if (!do_read(l))
            return -EAGAIN;
    }
    /* Peers may still read this rank's tensor where it lies. */
    if (input_at(l, l->call->own) != SHMRT_NOWHERE && shmrt_plan_writes(plan, plan->rank) &&
        !shmrt_lane_has_all(l, offsetof(struct shmrt_lane_flags, done), l->first + l->rounds))
        return -EAGAIN;
    note_progress(l);
    return 0;
}
