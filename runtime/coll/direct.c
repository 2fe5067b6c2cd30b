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
#include <string.h>

/* Reduced into the first output, it goes to the others out of the first-level cache. */
enum { PIECE_BYTES = 8 * 1024 };

void shmrt_direct_prepare(struct shmrt_lane *l)
{
    const struct shmrt_coll *c = l->call->plan->coll;
    l->slice = shmrt_slice_cut(c->count, c->element_bytes, c->finish.unit, l->call->lanes, l->lane);
    l->rounds = 1;
}

static void reduce_piece(const struct shmrt_lane *l, struct shmrt_slice piece)
{
    struct shmrt_group *g = l->group;
    const struct shmrt_coll *c = l->call->plan->coll;
    size_t offset = piece.begin * c->element_bytes, bytes = piece.count * c->element_bytes;
    const void *terms[SHMRT_MAX_RANKS];
    for (int r = 0; r < g->sync.size; r++)
        terms[r] =
            (r == g->sync.rank ? c->in : g->pool[r] + shmrt_call_places(g, r).in_at) + offset;
    shmrt_kernels_reduce(&g->kernels, c->dtype, c->op, c->out + offset, terms, g->sync.size,
                         piece.count);
    for (int r = 0; r < g->sync.size; r++)
        if (r != g->sync.rank)
            memcpy(g->pool[r] + shmrt_call_places(g, r).out_at + offset, c->out + offset, bytes);
}

static void reduce_part(const struct shmrt_lane *l)
{
    const struct shmrt_coll *c = l->call->plan->coll;
    struct shmrt_slice part = shmrt_slice_cut(l->slice.count, c->element_bytes, 1,
                                              l->group->sync.size, l->group->sync.rank);
    part.begin += l->slice.begin;
    size_t count = PIECE_BYTES / c->element_bytes;
    for (uint64_t t = 0; t * count < part.count; t++)
        reduce_piece(l, shmrt_slice_piece(part, count, t));
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
