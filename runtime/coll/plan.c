/* SPDX-License-Identifier: Apache-2.0 */
/* plan.c - the table of collectives, and the arithmetic of blocks. */
#include "plan.h"

#include <string.h>

enum who { ALL, ROOT };

static const struct {
    bool each, combine;
    enum who writes, reads;
} table[SHMRT_COLLECTIVE_END] = {
    [SHMRT_BARRIER] = {false, false, ALL, ALL},      [SHMRT_ALLREDUCE] = {false, true, ALL, ALL},
    [SHMRT_REDUCE] = {false, true, ALL, ROOT},       [SHMRT_BROADCAST] = {false, false, ROOT, ALL},
    [SHMRT_ALLGATHER] = {false, false, ALL, ALL},    [SHMRT_GATHER] = {false, false, ALL, ROOT},
    [SHMRT_REDUCE_SCATTER] = {true, true, ALL, ALL}, [SHMRT_ALLTOALL] = {true, false, ALL, ALL},
    [SHMRT_SCATTER] = {true, false, ROOT, ALL},
};

static void sum_up(const size_t *counts, int size, size_t *begin)
{
    size_t at = 0;
    for (int r = 0; r < size; r++) {
        begin[r] = at;
        at += counts[r];
    }
}

void shmrt_plan_make(struct shmrt_plan *plan, const struct shmrt_coll *coll, int size, int rank)
{
    plan->coll = coll;
    plan->size = size;
    plan->rank = rank;
    plan->each = table[coll->collective].each;
    plan->combine = table[coll->collective].combine;
    plan->writer = table[coll->collective].writes == ROOT ? coll->root : -1;
    plan->reader = table[coll->collective].reads == ROOT ? coll->root : -1;
    if (coll->in_counts)
        sum_up(coll->in_counts, size, plan->in_begin);
    if (coll->out_counts)
        sum_up(coll->out_counts, size, plan->out_begin);
}

static size_t count_of(const struct shmrt_plan *plan, const size_t *counts, int rank)
{
    return counts ? counts[rank] : plan->coll->count;
}

static size_t begin_of(const struct shmrt_plan *plan, const size_t *counts, const size_t *begin,
                       int rank)
{
    return counts ? begin[rank] : (size_t)rank * plan->coll->count;
}

struct shmrt_block shmrt_plan_block(const struct shmrt_plan *plan, int writer, int reader)
{
    const struct shmrt_coll *c = plan->coll;
    struct shmrt_block block = {0};
    if (!plan->each) {
        block.count = count_of(plan, c->in_counts, writer);
        if (!plan->combine && c->collective != SHMRT_BROADCAST)
            block.to = begin_of(plan, c->in_counts, plan->in_begin, writer);
        return block;
    }
    bool incoming = c->out_counts && reader == plan->rank;
    block.count = incoming ? c->out_counts[writer] : count_of(plan, c->in_counts, reader);
    if (shmrt_plan_is_transparent(plan) || writer == plan->rank)
        block.from = begin_of(plan, c->in_counts, plan->in_begin, reader);
    if (c->collective == SHMRT_ALLTOALL && reader == plan->rank)
        block.to = begin_of(plan, c->out_counts, plan->out_begin, writer);
    return block;
}

static size_t total(const struct shmrt_plan *plan)
{
    size_t sum = 0;
    for (int r = 0; r < plan->size; r++)
        sum += count_of(plan, plan->coll->in_counts, r);
    return sum;
}

size_t shmrt_plan_longest(const struct shmrt_plan *plan)
{
    size_t longest = 0;
    for (int r = 0; r < plan->size; r++) {
        size_t count = count_of(plan, plan->coll->in_counts, r);
        longest = count > longest ? count : longest;
    }
    return longest;
}

size_t shmrt_plan_payload(const struct shmrt_plan *plan, int rank)
{
    if (!shmrt_plan_writes(plan, rank))
        return 0;
    return plan->each ? total(plan) : shmrt_plan_block(plan, rank, plan->rank).count;
}

size_t shmrt_plan_largest_payload(const struct shmrt_plan *plan)
{
    if (!shmrt_plan_is_transparent(plan))
        return SIZE_MAX;
    return plan->each ? total(plan) : shmrt_plan_longest(plan);
}

size_t shmrt_plan_vector(const struct shmrt_plan *plan)
{
    bool blocks = plan->each || plan->coll->collective == SHMRT_ALLGATHER ||
                  plan->coll->collective == SHMRT_GATHER;
    return blocks ? total(plan) : plan->coll->count;
}
