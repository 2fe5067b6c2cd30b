/* SPDX-License-Identifier: Apache-2.0 */
/* ties.c - sets of ranks that have to do with one. */
#include "ties.h"

void shmrt_ties_make(struct shmrt_ties *ties, const struct shmrt_order *order, int rank)
{
    int own = order->group_of[rank];
    *ties = (struct shmrt_ties){0};
    for (int r = 0; r < order->size; r++) {
        int group = order->group_of[r];
        if (r == rank)
            continue;
        if (group == own)
            ties->members |= shmrt_rank_bit(r);
        else if (shmrt_stand_in(order, own, r) == rank)
            ties->wards |= shmrt_rank_bit(r);
        if (group != own && shmrt_stand_in(order, group, rank) == r)
            ties->stand_ins |= shmrt_rank_bit(r);
    }
}
