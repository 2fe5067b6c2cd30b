/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hierarchy.c - collectives of ranks in several groups, a socket or a NUMA node each: what has to
 * get from one group to another goes there once, and is handed on within.
 *
 * A round has one part a rank. Part k is rank k's own; in each group without k one member stands in
 * for it (ties.h). An all-reduce has five stages:
 *   write    own ring: the terms of parts that others of the group combine
 *   combine  own ring: the group's terms of the own part, and of those stood in for, as partial
 *            results
 *   total    the own part of all groups, from the stand-ins' rings; to own ring and output
 *   relay    the totals that are stood in for, from their owners; to own ring and output
 *   collect  everything else, from rings of the own group
 * Only total and relay read across: each part comes to its owner once from each other group, and
 * goes back once. A reduce-scatter ends with the totals. All-gather and broadcast have no more than
 * write, relay and collect.
 *
 * A lane runs its stages for rounds t, t-1, t-2 and so on, so that what it waits for was posted
 * about a step ago. A tensor in its rank's pool is read there, and written there, by ranks of its
 * own group; a block or vector that is not to be combined is read there by stand-ins as well.
 *
 * Before a lane writes over a slot it knows, or asks by `done`, that who read it has. What it knows
 * without asking is in docs/protocol.md.
 */
#include "lane.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#define FLAG(name) offsetof(struct shmrt_lane_flags, name)

/* Elements, and where they are in bytes. */
struct part {
    size_t count;
    size_t from; /* in the input of who has it */
    size_t to;   /* in the output */
};

static enum shmrt_collective collective_of(const struct shmrt_lane *l)
{
    return l->call->plan->coll->collective;
}

/* Parts are cut from one vector, or each from its rank's block. */
static bool is_of_vector(enum shmrt_collective collective)
{
    return collective == SHMRT_ALLREDUCE || collective == SHMRT_BROADCAST;
}

bool shmrt_hierarchy_can(enum shmrt_collective collective)
{
    return is_of_vector(collective) || collective == SHMRT_REDUCE_SCATTER ||
           collective == SHMRT_ALLGATHER;
}

static struct shmrt_slice cut_block(const struct shmrt_lane *l, size_t count, int lane)
{
    const struct shmrt_coll *c = l->call->plan->coll;
    return shmrt_slice_cut(count, c->element_bytes, c->finish.unit, l->call->lanes, lane);
}

static size_t partial_bytes(const struct shmrt_plan *plan)
{
    const struct shmrt_coll *c = plan->coll;
    return plan->combine ? shmrt_kernels_partial_bytes(c->dtype, c->op) : c->element_bytes;
}

void shmrt_hierarchy_prepare(struct shmrt_lane *l)
{
    const struct shmrt_plan *plan = l->call->plan;
    const struct shmrt_coll *c = plan->coll;
    /* A part's partial result has to fit where the part does. */
    size_t chunk_bytes = l->group->tuning.chunk_bytes / partial_bytes(plan) * c->element_bytes;
    shmrt_ties_make(&l->ties, &l->group->order, plan->rank);
    l->slice = cut_block(l, l->call->longest, l->lane);
    if (is_of_vector(c->collective)) {
        l->spread = shmrt_slice_rounds(l->slice, c->element_bytes, plan->size, chunk_bytes);
        l->rounds = l->spread.rounds;
        return;
    }
    /* Lane 0 has the longest slice of any block, so its rounds are enough for all. */
    size_t longest = cut_block(l, l->call->longest, 0).count;
    l->part_count = shmrt_slice_part_count(longest, c->element_bytes, chunk_bytes);
    l->rounds = (longest + l->part_count - 1) / l->part_count;
}

static struct part part_of(const struct shmrt_lane *l, uint64_t t, int rank)
{
    const struct shmrt_plan *plan = l->call->plan;
    size_t element = plan->coll->element_bytes;
    if (is_of_vector(collective_of(l))) {
        struct shmrt_slice part = shmrt_slice_part(&l->spread, t, rank);
        return (struct part){part.count, part.begin * element, part.begin * element};
    }
    struct shmrt_block block = plan->each ? shmrt_plan_block(plan, plan->rank, rank)
                                          : shmrt_plan_block(plan, rank, plan->rank);
    struct shmrt_slice piece =
        shmrt_slice_piece(cut_block(l, block.count, l->lane), l->part_count, t);
    return (struct part){piece.count, (block.from + piece.begin) * element,
                         (block.to + piece.begin) * element};
}

static int group_of(const struct shmrt_lane *l, int rank)
{
    return l->group->order.group_of[rank];
}

static int own_group(const struct shmrt_lane *l)
{
    return group_of(l, l->call->plan->rank);
}

/* Who of the own group has part @part. */
static int holder_of(const struct shmrt_lane *l, int part)
{
    return shmrt_stand_in(&l->group->order, own_group(l), part);
}

static bool is_held_here(const struct shmrt_lane *l, int part)
{
    return holder_of(l, part) == l->call->plan->rank;
}

/* The place of part @part of round @t in @rank's ring; there is one more, for all. */
static char *slot_of(const struct shmrt_lane *l, int rank, int part, uint64_t t)
{
    return shmrt_scatter_at(&l->group->layout, l->group->base[rank], l->lane, l->first + t, part);
}

static char *slot_for_all(const struct shmrt_lane *l, int rank, uint64_t t)
{
    return shmrt_gather_at(&l->group->layout, l->group->base[rank], l->lane, l->first + t);
}

static void post(const struct shmrt_lane *l, size_t flag, uint64_t t)
{
    int own = l->call->plan->rank;
    char *flags = (char *)shmrt_lane_flags_of(l, own);
    shmrt_post(&l->group->sync, (_Atomic uint64_t *)(void *)(flags + flag), l->first + t + 1,
               l->lane);
}

static void count_read(const struct shmrt_lane *l, int rank, size_t bytes)
{
    if (rank != l->call->plan->rank)
        l->state->read_from[rank] += bytes;
}

static void write_part(const struct shmrt_lane *l, char *slot, struct part part)
{
    const struct shmrt_coll *c = l->call->plan->coll;
    if (part.count)
        memcpy(slot, c->in + part.from, part.count * c->element_bytes);
}

/* All-reduce and reduce-scatter. By now this lane has combined round t-2, for which its group had
 * written: its members have combined round t-4, and read no more of that. */
static bool write_terms(struct shmrt_lane *l, uint64_t t)
{
    if (t == 0 && !shmrt_lane_may_write(l, 0))
        return false;
    int own = l->call->plan->rank;
    for (int k = 0; k < l->call->plan->size && l->call->own.in_at == SHMRT_NOWHERE; k++)
        if (!is_held_here(l, k))
            write_part(l, slot_of(l, own, k, t), part_of(l, t, k));
    post(l, FLAG(scattered), t);
    return true;
}

static bool write_block(struct shmrt_lane *l, uint64_t t)
{
    int own = l->call->plan->rank;
    if (l->call->own.in_at == SHMRT_NOWHERE) {
        if (t == 0 ? !shmrt_lane_may_write(l, 0)
                   : !shmrt_lane_may_write_for(l, t, l->ties.members | l->ties.stand_ins))
            return false;
        write_part(l, slot_for_all(l, own, t), part_of(l, t, own));
    }
    post(l, FLAG(scattered), t);
    return true;
}

static bool write_vector(struct shmrt_lane *l, uint64_t t)
{
    const struct shmrt_plan *plan = l->call->plan;
    if (plan->rank != plan->writer)
        return true;
    if (l->call->own.in_at == SHMRT_NOWHERE) {
        if (!shmrt_lane_may_write(l, t))
            return false;
        for (int k = 0; k < plan->size; k++)
            write_part(l, slot_of(l, plan->rank, k, t), part_of(l, t, k));
    }
    post(l, FLAG(scattered), t);
    return true;
}

/* Where the term of @rank, of the own group, lies for part @k. */
static const char *term_of(const struct shmrt_lane *l, int rank, int k, size_t from, uint64_t t)
{
    if (rank == l->call->plan->rank)
        return l->call->plan->coll->in + from;
    uint64_t at = l->state->places[rank].in_at;
    return at == SHMRT_NOWHERE ? slot_of(l, rank, k, t) : l->group->pool[rank] + at + from;
}

static void combine_part(const struct shmrt_lane *l, int k, uint64_t t)
{
    const struct shmrt_order *order = &l->group->order;
    const struct shmrt_coll *c = l->call->plan->coll;
    const void *terms[SHMRT_MAX_RANKS];
    struct part part = part_of(l, t, k);
    int own = own_group(l), n = 0;
    for (int place = order->begin[own]; place < order->begin[own + 1]; place++) {
        int r = order->rank_at[place];
        terms[n++] = term_of(l, r, k, part.from, t);
        count_read(l, r, part.count * c->element_bytes);
    }
    if (part.count)
        shmrt_kernels_partial(&l->group->kernels, c->dtype, c->op,
                              slot_of(l, l->call->plan->rank, k, t), terms, n, part.count);
}

/*
 * What is overwritten here was read by the group, when it was a total that this rank relayed, or in
 * a reduce-scatter by those for whom it stands in.
 */
static bool combine(struct shmrt_lane *l, uint64_t t)
{
    bool relays = collective_of(l) == SHMRT_ALLREDUCE;
    if (!shmrt_lane_has_of(l, l->ties.members, FLAG(scattered), l->first + t + 1) ||
        !shmrt_lane_may_write_for(l, t, relays ? l->ties.members : l->ties.wards))
        return false;
    for (int k = 0; k < l->call->plan->size; k++)
        if (is_held_here(l, k))
            combine_part(l, k, t);
    post(l, FLAG(partial), t);
    return true;
}

/*
 * Where a final part goes, in this order: the own output, outputs of the group that lie in pools,
 * and @slot if somebody has to read it there. Return: how many.
 */
static int list_outputs(const struct shmrt_lane *l, struct part part, char *slot, bool is_read,
                        void *outs[SHMRT_MAX_RANKS + 1])
{
    const struct shmrt_coll *c = l->call->plan->coll;
    int n = 0;
    outs[n++] = c->out + part.to;
    for (int r = 0; r < l->call->plan->size && c->collective == SHMRT_ALLREDUCE; r++) {
        if (!(l->ties.members & shmrt_rank_bit(r)))
            continue;
        uint64_t at = l->state->places[r].out_at;
        if (at == SHMRT_NOWHERE) {
            is_read = true;
            continue;
        }
        outs[n++] = l->group->pool[r] + at + part.to;
        l->state->written_to[r] += part.count * c->element_bytes;
    }
    if (is_read)
        outs[n++] = slot;
    return n;
}

static void add_up_groups(const struct shmrt_lane *l, uint64_t t)
{
    const struct shmrt_order *order = &l->group->order;
    const struct shmrt_plan *plan = l->call->plan;
    const struct shmrt_coll *c = plan->coll;
    struct part part = part_of(l, t, plan->rank);
    const void *partials[SHMRT_MAX_RANKS];
    void *outs[SHMRT_MAX_RANKS + 1];
    for (int g = 0; g < order->groups; g++) {
        int r = shmrt_stand_in(order, g, plan->rank);
        partials[g] = slot_of(l, r, plan->rank, t);
        count_read(l, r, part.count * partial_bytes(plan));
    }
    /* The stand-ins read what is to be relayed. */
    int n = list_outputs(l, part, slot_for_all(l, plan->rank, t), c->collective == SHMRT_ALLREDUCE,
                         outs);
    if (part.count)
        shmrt_kernels_total(&l->group->kernels, c->dtype, c->op, outs, n, partials, order->groups,
                            plan->size, part.count);
}

/* A stand-in that has combined round t has relayed round t-4 of this rank; and who else read that
 * has been asked for before the last thing this lane combined. */
static bool total(struct shmrt_lane *l, uint64_t t)
{
    if (!shmrt_lane_has_of(l, l->ties.stand_ins, FLAG(partial), l->first + t + 1))
        return false;
    add_up_groups(l, t);
    post(l, FLAG(gathered), t);
    if (collective_of(l) == SHMRT_REDUCE_SCATTER)
        post(l, FLAG(done), t);
    return true;
}

/* Who has part @part first, before it is relayed. */
static int origin_of(const struct shmrt_lane *l, int part)
{
    const struct shmrt_plan *plan = l->call->plan;
    return plan->writer < 0 ? part : plan->writer;
}

/* What an origin posts when its parts of a round are there. */
static size_t origin_flag(const struct shmrt_lane *l)
{
    return l->call->plan->combine ? FLAG(gathered) : FLAG(scattered);
}

/* Part @k where @origin, another rank, has it. */
static const char *source_of(const struct shmrt_lane *l, int origin, int k, size_t from, uint64_t t)
{
    const struct shmrt_plan *plan = l->call->plan;
    uint64_t at = plan->combine ? SHMRT_NOWHERE : l->state->places[origin].in_at;
    if (at != SHMRT_NOWHERE)
        return l->group->pool[origin] + at + from;
    return plan->writer < 0 ? slot_for_all(l, origin, t) : slot_of(l, origin, k, t);
}

static void relay_part(const struct shmrt_lane *l, int k, uint64_t t)
{
    const struct shmrt_plan *plan = l->call->plan;
    struct part part = part_of(l, t, k);
    size_t bytes = part.count * plan->coll->element_bytes;
    int origin = origin_of(l, k);
    void *outs[SHMRT_MAX_RANKS + 1];
    if (bytes == 0)
        return;
    bool is_read = plan->coll->collective != SHMRT_ALLREDUCE && l->ties.members;
    int n = list_outputs(l, part, slot_of(l, plan->rank, k, t), is_read, outs);
    memcpy(outs[0], source_of(l, origin, k, part.from, t), bytes);
    count_read(l, origin, bytes);
    for (int i = 1; i < n; i++)
        memcpy(outs[i], outs[0], bytes);
}

/* Whether the own group gets anything from others: not that of a broadcast's root. */
static bool is_relayed(const struct shmrt_lane *l)
{
    int root = l->call->plan->writer;
    return root < 0 || group_of(l, root) != own_group(l);
}

/* Those of other groups from whom this rank takes parts. */
static uint64_t far_origins(const struct shmrt_lane *l)
{
    int root = l->call->plan->writer;
    return root < 0 ? l->ties.wards : shmrt_rank_bit(root);
}

/*
 * An owner that has added up has read this rank's partial result, whose place its total takes. In a
 * broadcast nobody but the root is known to have entered the call, so its first rounds ask all.
 */
static bool relay(struct shmrt_lane *l, uint64_t t)
{
    const struct shmrt_plan *plan = l->call->plan;
    bool ask_all = plan->writer >= 0 && t < l->group->layout.ring_slots;
    if (!is_relayed(l))
        return true;
    if (!shmrt_lane_has_of(l, far_origins(l), origin_flag(l), l->first + t + 1) ||
        !shmrt_lane_may_write_for(l, t, ask_all ? SHMRT_ALL_RANKS : l->ties.members))
        return false;
    for (int k = 0; k < plan->size; k++)
        if (group_of(l, origin_of(l, k)) != own_group(l) && is_held_here(l, k))
            relay_part(l, k, t);
    post(l, FLAG(relayed), t);
    return true;
}

static void collect_part(const struct shmrt_lane *l, int k, uint64_t t)
{
    const struct shmrt_plan *plan = l->call->plan;
    struct part part = part_of(l, t, k);
    size_t bytes = part.count * plan->coll->element_bytes;
    int own = plan->rank, origin = origin_of(l, k);
    bool is_near = group_of(l, origin) == own_group(l);
    int holder = is_near ? origin : holder_of(l, k);
    char *to = plan->coll->out + part.to;
    const char *from;
    if (holder == own)
        from = is_near && !plan->combine ? plan->coll->in + part.from : to;
    else
        from = is_near ? source_of(l, origin, k, part.from, t) : slot_of(l, holder, k, t);
    if (from == to || bytes == 0)
        return;
    memcpy(to, from, bytes);
    count_read(l, holder, bytes);
}

/* Whether the own group has everything of round @t. */
static bool group_has(struct shmrt_lane *l, uint64_t t)
{
    int root = l->call->plan->writer;
    uint64_t members = l->ties.members;
    uint64_t origins = root < 0 ? members : members & shmrt_rank_bit(root);
    return shmrt_lane_has_of(l, origins, origin_flag(l), l->first + t + 1) &&
           (!is_relayed(l) || shmrt_lane_has_of(l, members, FLAG(relayed), l->first + t + 1));
}

static bool collect(struct shmrt_lane *l, uint64_t t)
{
    const struct shmrt_plan *plan = l->call->plan;
    if (!group_has(l, t))
        return false;
    for (int k = 0; k < plan->size && l->call->own.out_at == SHMRT_NOWHERE; k++)
        collect_part(l, k, t);
    if (plan->coll->finish.fn) {
        size_t end = (size_t)(t + 1) * l->spread.round_count;
        shmrt_lane_finish(l, end < l->slice.count ? end : l->slice.count);
    }
    post(l, FLAG(done), t);
    return true;
}

typedef bool (*stage_fn)(struct shmrt_lane *lane, uint64_t t);

/* A stage is as many rounds behind as there are stages before it. */
static const struct program {
    int stages;
    stage_fn run[5];
} programs[SHMRT_COLLECTIVE_END] = {
    [SHMRT_ALLREDUCE] = {5, {write_terms, combine, total, relay, collect}},
    [SHMRT_REDUCE_SCATTER] = {3, {write_terms, combine, total}},
    [SHMRT_ALLGATHER] = {3, {write_block, relay, collect}},
    [SHMRT_BROADCAST] = {3, {write_vector, relay, collect}},
};

/* Peers may still read this rank's tensor where it lies. An all-reduce has waited for its group. */
static bool may_leave(struct shmrt_lane *l)
{
    const struct shmrt_plan *plan = l->call->plan;
    uint64_t readers = 0;
    if (l->call->own.in_at == SHMRT_NOWHERE || !shmrt_plan_writes(plan, plan->rank))
        return true;
    if (plan->writer >= 0)
        readers = SHMRT_ALL_RANKS;
    else if (collective_of(l) == SHMRT_REDUCE_SCATTER)
        readers = l->ties.members;
    else if (collective_of(l) == SHMRT_ALLGATHER)
        readers = l->ties.members | l->ties.stand_ins;
    return shmrt_lane_has_of(l, readers, FLAG(done), l->first + l->rounds);
}

int shmrt_hierarchy_step(struct shmrt_lane *l)
{
    const struct program *program = &programs[collective_of(l)];
    uint64_t steps = l->rounds ? l->rounds + (uint64_t)program->stages - 1 : 0;
    int rc;
    for (; l->t < steps; l->t++, l->stage = 0)
        for (; l->stage < program->stages; l->stage++) {
            uint64_t behind = (uint64_t)l->stage;
            if (behind == 1 && !l->checked && (rc = shmrt_lane_check(l, false)) != 0)
                return rc;
            if (l->t >= behind && l->t - behind < l->rounds &&
                !program->run[l->stage](l, l->t - behind))
                return -EAGAIN;
        }
    return may_leave(l) ? 0 : -EAGAIN;
}
