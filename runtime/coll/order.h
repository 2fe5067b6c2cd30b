/* SPDX-License-Identifier: Apache-2.0 */
/*
 * order.h - ranks in groups, and the order in which their terms are combined (L3, pure)
 *
 * A group is the ranks of one socket or NUMA node. Groups are numbered by their lowest rank, and
 * ranks are in ascending order in each; terms go in that order, group by group: within the groups
 * first, then the groups' results. With one group, or with as many groups as ranks, that is rank
 * order.
 */
#ifndef SHMRT_ORDER_H
#define SHMRT_ORDER_H

#include "kernels/kernels.h"

struct shmrt_order {
    int size;
    int groups;
    int group_of[SHMRT_MAX_RANKS];  /* of each rank */
    int place_of[SHMRT_MAX_RANKS];  /* of each rank's term, 0 .. size - 1 */
    int rank_at[SHMRT_MAX_RANKS];   /* the other way round */
    int begin[SHMRT_MAX_RANKS + 1]; /* of each group: its first place; at the end size */
};

/** shmrt_order_make - from any numbers that are equal for ranks of one group; NULL: one group */
void shmrt_order_make(struct shmrt_order *order, const int *group_ids, int size);

/** Whether a group has several ranks, and there is more than one. */
bool shmrt_order_has_levels(const struct shmrt_order *order);

static inline struct shmrt_grouping shmrt_order_grouping(const struct shmrt_order *order)
{
    return (struct shmrt_grouping){order->groups, order->begin};
}

static inline int shmrt_order_group_size(const struct shmrt_order *order, int group)
{
    return order->begin[group + 1] - order->begin[group];
}

#endif
