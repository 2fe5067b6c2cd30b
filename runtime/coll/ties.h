/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ties.h - who does what for whom when ranks lie in groups (L3, pure)
 *
 * Part k of a round is rank k's own in its group. In every other group one member stands in for k.
 * Sets of ranks are bits.
 */
#ifndef SHMRT_TIES_H
#define SHMRT_TIES_H

#include "order.h"

#include <stdint.h>

/** What a rank has to do with others. */
struct shmrt_ties {
    uint64_t members;   /* the others of its group */
    uint64_t stand_ins; /* who stand in for it, one in each other group */
    uint64_t wards;     /* ranks of other groups for whom it stands in */
};

static inline uint64_t shmrt_rank_bit(int rank)
{
    return UINT64_C(1) << rank;
}

/** Who has part @part in @group. Groups of one size give each rank one partner in each other. */
static inline int shmrt_stand_in(const struct shmrt_order *order, int group, int part)
{
    if (order->group_of[part] == group)
        return part;
    int index = order->place_of[part] % shmrt_order_group_size(order, group);
    return order->rank_at[order->begin[group] + index];
}

void shmrt_ties_make(struct shmrt_ties *ties, const struct shmrt_order *order, int rank);

#endif
