/* SPDX-License-Identifier: Apache-2.0 */
/* lane.c - what the algorithms in rounds have in common: waiting without blocking, ring credit. */
#include "lane.h"

#include <errno.h>

/*
 * What is finished at once: still in the second-level cache, and seldom. A rank that finishes posts
 * nothing, so that the others wait.
 */
enum { FINISH_BYTES = 256 * 1024 };

/* No process has an address space of more; a rank that names a longer block has lost its memory. */
#define BLOCK_MOST ((uint64_t)1 << 47)

bool shmrt_lane_has_of(struct shmrt_lane *l, uint64_t ranks, size_t flag_offset, uint64_t value)
{
    for (; l->peer < l->group->sync.size; l->peer++) {
        if (l->peer == l->group->sync.rank || !(ranks & shmrt_rank_bit(l->peer)))
            continue;
        const struct shmrt_lane_flags *flags = shmrt_lane_flags_of(l, l->peer);
        const char *flag = (const char *)flags + flag_offset;
        if (!shmrt_lane_has(l, l->peer, (const _Atomic uint64_t *)(const void *)flag, value))
            return false;
    }
    l->peer = 0;
    return true;
}

bool shmrt_lane_has_all(struct shmrt_lane *l, size_t flag_offset, uint64_t value)
{
    return shmrt_lane_has_of(l, SHMRT_ALL_RANKS, flag_offset, value);
}

/*
 * A slot is written again after as many rounds as there are slots. What a rank knows of its peers'
 * progress is kept: usually an earlier wait of this call or of the last one has told enough.
 */
bool shmrt_lane_may_write_for(struct shmrt_lane *l, uint64_t t, uint64_t ranks)
{
    uint64_t needed = l->first + t + 1 - l->group->layout.ring_slots;
    for (int r = 0; r < l->group->sync.size; r++) {
        if (r == l->group->sync.rank || !(ranks & shmrt_rank_bit(r)) ||
            (int64_t)(l->state->done_seen[r] - needed) >= 0)
            continue;
        const struct shmrt_lane_flags *flags = shmrt_lane_flags_of(l, r);
        if (!shmrt_lane_has(l, r, &flags->done, needed))
            return false;
        /* At least @needed, and loaded with acquire there. */
        l->state->done_seen[r] = needed;
    }
    return true;
}

bool shmrt_lane_may_write(struct shmrt_lane *l, uint64_t t)
{
    return shmrt_lane_may_write_for(l, t, SHMRT_ALL_RANKS);
}

static bool is_inside(uint64_t at, size_t bytes, size_t pool_bytes)
{
    return at == SHMRT_NOWHERE || (at <= pool_bytes && pool_bytes - at >= bytes);
}

int shmrt_places_take(struct shmrt_group *group, const struct shmrt_plan *plan, int peer,
                      struct shmrt_places *out)
{
    const struct shmrt_coll *c = plan->coll;
    struct shmrt_places places = shmrt_call_places(group, peer);
    size_t in_bytes = shmrt_plan_payload(plan, peer) * c->element_bytes;
    if (is_inside(places.in_at, in_bytes, group->pool_bytes) &&
        is_inside(places.out_at, c->count * c->element_bytes, group->pool_bytes) &&
        places.longest <= BLOCK_MOST / c->element_bytes) {
        *out = places;
        return 0;
    }
    return shmrt_fail(&group->sync, -EPROTO,
                      "rank %d says that its tensors lie outside of its pool of %zu bytes; its "
                      "memory is damaged",
                      peer, group->pool_bytes);
}

/* A rank that has entered this call reads nothing of the calls before it. */
static void note_entered(struct shmrt_lane *l, int rank)
{
    if ((int64_t)(l->state->done_seen[rank] - l->first) < 0)
        l->state->done_seen[rank] = l->first;
}

int shmrt_lane_check(struct shmrt_lane *l, bool all)
{
    for (; l->peer < l->group->sync.size; l->peer++) {
        if (l->peer == l->group->sync.rank || !(all || shmrt_plan_writes(l->call->plan, l->peer)))
            continue;
        int rc = shmrt_call_check(l->group, &l->call->context, l->peer, l->lane, &l->awaited);
        if (rc == 0)
            rc = shmrt_places_take(l->group, l->call->plan, l->peer, &l->state->places[l->peer]);
        if (rc)
            return rc;
        note_entered(l, l->peer);
    }
    l->peer = 0;
    l->checked = true;
    return 0;
}

void shmrt_lane_post_done(struct shmrt_lane *l, uint64_t t)
{
    shmrt_post(&l->group->sync, &shmrt_lane_flags_of(l, l->group->sync.rank)->done,
               l->first + t + 1, l->lane);
}

void shmrt_lane_finish(struct shmrt_lane *l, size_t end)
{
    const struct shmrt_finish *finish = &l->call->plan->coll->finish;
    if (!finish->fn)
        return;
    size_t whole = end / finish->unit * finish->unit;
    size_t left = (whole - l->finished) * l->call->plan->coll->element_bytes;
    if (whole <= l->finished || (left < FINISH_BYTES && end < l->slice.count))
        return;
    finish->fn(finish->arg, l->slice.begin + l->finished, whole - l->finished);
    l->finished = whole;
}
