/* SPDX-License-Identifier: Apache-2.0 */
/* group.c - where counters begin, and what all algorithms do with the terms of all ranks. */
#include "first.h"

static void begin_lane(struct shmrt_group *group, int lane, uint64_t round)
{
    struct shmrt_lane_state *state = &group->lanes[lane];
    struct shmrt_lane_flags *flags =
        shmrt_flags_at(&group->layout, group->base[group->sync.rank], lane);
    _Atomic uint64_t *const words[] = {&flags->scattered, &flags->gathered, &flags->done,
                                       &flags->partial, &flags->relayed};
    state->rounds = round;
    for (int r = 0; r < group->sync.size; r++)
        state->done_seen[r] = round;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        atomic_store_explicit(words[i], round, memory_order_relaxed);
}

/* Peers see it all: the verdict that the ranks exchange after this goes through a socket. */
void shmrt_group_begin(struct shmrt_group *group, const char *job)
{
    const struct shmrt_first first = shmrt_first_numbers(job);
    char *own = group->base[group->sync.rank];
    group->epoch = group->entered = group->sync.warned_epoch = first.epoch;
    for (unsigned slot = 0; slot < SHMRT_CALL_SLOTS; slot++)
        atomic_store_explicit(&shmrt_call_at(&group->layout, own, slot)->epoch, first.epoch,
                              memory_order_relaxed);
    for (int lane = 0; lane < group->sync.lanes; lane++)
        begin_lane(group, lane, first.round);
    for (int r = 0; r < group->sync.size; r++) {
        struct shmrt_pair_flags *pair = shmrt_pair_at(&group->layout, own, r);
        atomic_store_explicit(&pair->sent, first.chunk, memory_order_relaxed);
        atomic_store_explicit(&pair->taken, first.chunk, memory_order_relaxed);
        group->pairs[r] =
            (struct shmrt_pair_state){first.chunk, first.chunk, first.message, first.message};
    }
}

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
