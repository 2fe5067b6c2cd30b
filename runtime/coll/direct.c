/* SPDX-License-Identifier: Apache-2.0 */
/*
 * direct.c - all-reduce of tensors that lie in the pools of all ranks, inputs and outputs: nothing
 * is copied.
 *
 * Each rank reduces its part of the vector from all inputs where they lie, and pushes the sum into
 * all outputs, piece by piece while it is in cache; then all wait for all. A part is read and
 * written by its own rank only, so input and output may be the same. When a peer has posted, it has
 * read its part of this rank's input and written its part of this rank's output; when all have,
 * the tensors are the caller's again.
 */
#include "lane.h"

#include <errno.h>
#include <stddef.h>

void shmrt_direct_prepare(struct shmrt_lane *l)
{
    const struct shmrt_coll *c = l->call->plan->coll;
    l->slice = shmrt_slice_cut(c->count, c->element_bytes, c->finish.unit, l->call->lanes, l->lane);
    l->rounds = 1;
}

static void reduce_part(const struct shmrt_lane *l)
{
    struct shmrt_group *g = l->group;
    const struct shmrt_coll *c = l->call->plan->coll;
    int size = g->sync.size, own = g->sync.rank;
    struct shmrt_slice part = shmrt_slice_cut(l->slice.count, c->element_bytes, 1, size, own);
    size_t offset = (l->slice.begin + part.begin) * c->element_bytes;
    const void *terms[SHMRT_MAX_RANKS];
    void *outs[SHMRT_MAX_RANKS] = {c->out + offset};
    for (int r = 0, n = 1; r < size; r++) {
        struct shmrt_places places = g->lanes[0].places[r]; /* as all lanes were chosen by */
        terms[r] = (r == own ? c->in : g->pool[r] + places.in_at) + offset;
        if (r == own)
            continue;
        outs[n++] = g->pool[r] + places.out_at + offset;
        l->state->read_from[r] += part.count * c->element_bytes;
        l->state->written_to[r] += part.count * c->element_bytes;
    }
    shmrt_group_reduce(g, c, outs, size, terms, part.count);
}

int shmrt_direct_step(struct shmrt_lane *l)
{
    if (l->stage == 0) {
        reduce_part(l);
        shmrt_post(&l->group->sync, &shmrt_lane_flags_of(l, l->group->sync.rank)->gathered,
                   l->first + 1, l->lane);
        l->stage = 1;
    }
    if (!shmrt_lane_has_all(l, offsetof(struct shmrt_lane_flags, gathered), l->first + 1))
        return -EAGAIN;
    shmrt_lane_finish(l, l->slice.count);
    shmrt_lane_post_done(l, 0);
    return 0;
}
