/* SPDX-License-Identifier: Apache-2.0 */
/* group.c - what all algorithms do with the terms of all ranks. */
#include "group.h"

void shmrt_group_reduce(const struct shmrt_group *group, const struct shmrt_coll *coll,
                        void *const *outs, int outs_n, const void *const *terms, size_t count)
{
    const struct shmrt_order *order = &group->sum_order;
    struct shmrt_grouping grouping = shmrt_order_grouping(order);
    const void *in_order[SHMRT_MAX_RANKS];
    for (int p = 0; p < order->size; p++)
        in_order[p] = terms[order->rank_at[p]];
    shmrt_kernels_reduce_to(&group->kernels, coll->dtype, coll->op, outs, outs_n, in_order,
                            &grouping, order->size, count);
}
