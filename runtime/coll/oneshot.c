/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oneshot.c - small collectives: each writer shows all it has once, and each reader takes what it
 * needs, on the caller's thread.
 *
 * Up to 40 bytes travel in the line that carries the flag, so that one miss brings both. The own
 * term comes straight from private memory. Reuse of the slots is safe for the reason given in
 * call.c. A barrier is a one-shot of nothing.
 */
#include "oneshot.h"

#include <errno.h>
#include <string.h>

struct shmrt_shown shmrt_oneshot_shown(const struct shmrt_plan *plan)
{
    size_t bytes = plan->reader == plan->rank ? 0 : shmrt_plan_payload(plan, plan->rank);
    bytes *= plan->coll->element_bytes;
    return (struct shmrt_shown){.payload = bytes ? plan->coll->in : NULL, .bytes = bytes};
}

static void combine(const struct shmrt_oneshot *o, size_t payload_bytes)
{
    const struct shmrt_coll *c = o->plan->coll;
    struct shmrt_group *g = o->group;
    int own = g->sync.rank;
    const void *terms[SHMRT_MAX_RANKS];
    struct shmrt_block block = shmrt_plan_block(o->plan, own, own);
    for (int r = 0; r < g->sync.size; r++) {
        terms[r] = (r == own ? c->in : shmrt_call_payload(g, r, payload_bytes)) +
                   block.from * c->element_bytes;
        if (r != own)
            g->lanes[0].read_from[r] += block.count * c->element_bytes;
    }
    void *out = c->out;
    shmrt_group_reduce(g, c, &out, 1, terms, block.count);
    if (c->finish.fn)
        c->finish.fn(c->finish.arg, 0, block.count);
}

/* Return: bytes. */
static size_t copy_block(const struct shmrt_plan *plan, const char *in, int writer)
{
    const struct shmrt_coll *c = plan->coll;
    struct shmrt_block block = shmrt_plan_block(plan, writer, plan->rank);
    const char *from = in + block.from * c->element_bytes;
    char *to = c->out + block.to * c->element_bytes;
    if (from != to && block.count)
        memcpy(to, from, block.count * c->element_bytes);
    return block.count * c->element_bytes;
}

void shmrt_plan_copy_own(const struct shmrt_plan *plan)
{
    if (shmrt_plan_writes(plan, plan->rank) && shmrt_plan_reads(plan, plan->rank))
        copy_block(plan, plan->coll->in, plan->rank);
}

/* What a writer shows decides where it lies, so its payload counts here, not the reader's. */
static size_t payload_bytes_of(const struct shmrt_plan *plan, int writer)
{
    size_t count = plan->each ? shmrt_plan_largest_payload(plan)
                              : shmrt_plan_block(plan, writer, plan->rank).count;
    return count * plan->coll->element_bytes;
}

int shmrt_oneshot_step(struct shmrt_oneshot *o, struct shmrt_awaited *awaited_out)
{
    struct shmrt_group *g = o->group;
    const struct shmrt_plan *plan = o->plan;
    if (!shmrt_plan_reads(plan, plan->rank))
        return 0;
    for (; o->peer < plan->size; o->peer++) {
        if (o->peer == plan->rank || !shmrt_plan_writes(plan, o->peer))
            continue;
        int rc = shmrt_call_check(g, o->context, o->peer, 0, awaited_out);
        if (rc)
            return rc;
    }
    if (shmrt_plan_is_symmetric(plan))
        g->entered = g->epoch;
    if (plan->coll->collective == SHMRT_BARRIER)
        return 0;
    if (plan->combine) {
        combine(o, payload_bytes_of(plan, plan->rank));
        return 0;
    }
    shmrt_plan_copy_own(plan);
    for (int r = 0; r < plan->size; r++)
        if (r != plan->rank && shmrt_plan_writes(plan, r))
            g->lanes[0].read_from[r] +=
                copy_block(plan, shmrt_call_payload(g, r, payload_bytes_of(plan, r)), r);
    return 0;
}
