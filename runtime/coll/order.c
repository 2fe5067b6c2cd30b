/* SPDX-License-Identifier: Apache-2.0 */
/* order.c - sorts ranks into their groups. */
#include "order.h"

#include <string.h>

/* The group of the first rank with this one's id; a new one if that is @rank itself. */
static int find_group(struct shmrt_order *order, const int *group_ids, int rank)
{
    for (int r = 0; r < rank; r++)
        if (!group_ids || group_ids[r] == group_ids[rank])
            return order->group_of[r];
    return order->groups++;
}

void shmrt_order_make(struct shmrt_order *order, const int *group_ids, int size)
{
    memset(order, 0, sizeof *order);
    order->size = size;
    for (int r = 0; r < size; r++)
        order->group_of[r] = find_group(order, group_ids, r);
    int place = 0;
    for (int g = 0; g < order->groups; g++) {
        order->begin[g] = place;
        for (int r = 0; r < size; r++) {
            if (order->group_of[r] != g)
                continue;
            order->place_of[r] = place;
            order->rank_at[place++] = r;
        }
    }
    order->begin[order->groups] = place;
}

bool shmrt_order_has_levels(const struct shmrt_order *order)
{
    return order->groups > 1 && order->groups < order->size;
}
