/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call.c - every collective begins here, whatever its algorithm: the epoch advances, and the ranks
 * compare what they call.
 *
 * Two call lines alternate, and with them two small slots. Rank A rewrites those of epoch e in
 * e + 2, and only when every peer has entered e + 1, so that every peer has left e. Most
 * collectives look at all lines anyway; after one that does not (a broadcast's root waits for
 * nobody) shmrt_call_may_begin looks, and compares, then.
 */
#include "group.h"

#include <errno.h>
#include <string.h>

static unsigned slot_of(uint64_t epoch)
{
    return (unsigned)(epoch % SHMRT_CALL_SLOTS);
}

static struct shmrt_call_line *line_of(const struct shmrt_group *group, int rank, uint64_t epoch)
{
    return shmrt_call_at(&group->layout, group->base[rank], slot_of(epoch));
}

/* FNV-1a, never 0: tells lists of counts apart. */
static uint32_t hash_counts(const size_t *counts, int n)
{
    uint32_t hash = 2166136261u;
    for (int i = 0; i < n; i++)
        for (size_t left = counts[i], byte = 0; byte < sizeof left; byte++, left >>= 8)
            hash = (hash ^ (uint32_t)(left & 0xff)) * 16777619u;
    return hash ? hash : 1;
}

static uint32_t shape_of(const struct shmrt_coll *coll, int size)
{
    if (!coll->in_counts)
        return coll->finish.fn ? (uint32_t)coll->finish.unit : 0;
    if (coll->collective == SHMRT_ALLTOALL) /* compared pair by pair */
        return 1;
    return hash_counts(coll->in_counts, size);
}

struct shmrt_call shmrt_call_of(const struct shmrt_group *group, const struct shmrt_coll *coll)
{
    return (struct shmrt_call){
        .collective = (uint8_t)coll->collective,
        .dtype = (uint8_t)coll->dtype,
        .op = (uint8_t)coll->op,
        .root = (uint8_t)coll->root,
        .shape = shape_of(coll, group->sync.size),
        .count = coll->in_counts ? 0 : coll->count,
    };
}

struct shmrt_call_context shmrt_call_begin(struct shmrt_group *group, struct shmrt_call call,
                                           const struct shmrt_shown *shown)
{
    uint64_t epoch = ++group->epoch;
    int own = group->sync.rank;
    struct shmrt_call_line *line = line_of(group, own, epoch);
    line->call = call;
    if (shown->payload && shown->bytes <= SHMRT_TINY_BYTES && !shown->places)
        memcpy(line->tiny, shown->payload, shown->bytes);
    else if (shown->payload)
        memcpy(shmrt_small_at(&group->layout, group->base[own], slot_of(epoch)), shown->payload,
               shown->bytes);
    if (shown->places)
        line->places = *shown->places;
    shmrt_post(&group->sync, &line->epoch, epoch, 0);
    /* Behind the post: nobody waits for the record, and this rank is about to wait itself. 3.0 ns
     * by itself, and in a 64-byte all-reduce within the noise (docs/design.md). */
    uint64_t record = shmrt_record_begin(&group->recorder, &call, epoch);
    return (struct shmrt_call_context){.call = call, .epoch = epoch, .record = record};
}

static int disagree(struct shmrt_group *group, const struct shmrt_call_context *context, int peer,
                    int lane, const struct shmrt_call *theirs)
{
    struct shmrt_call_context other = {.call = *theirs, .epoch = context->epoch};
    char own_text[SHMRT_CALL_TEXT_BYTES], peer_text[SHMRT_CALL_TEXT_BYTES];
    bool counts = theirs->collective == context->call.collective && theirs->shape != 0 &&
                  context->call.shape != 0;
    return shmrt_fail_after(
        &group->sync, -EPROTO, context, lane,
        "the ranks disagree: rank %d calls %s, rank %d calls %s%s; all ranks have to "
        "make the same calls in the same order",
        group->sync.rank, shmrt_call_describe(context, own_text), peer,
        shmrt_call_describe(&other, peer_text), counts ? " with other counts for the ranks" : "");
}

int shmrt_call_check(struct shmrt_group *group, const struct shmrt_call_context *context, int peer,
                     int lane, struct shmrt_awaited *awaited_out)
{
    const struct shmrt_call_line *line = line_of(group, peer, context->epoch);
    if (!shmrt_flag_reached(&line->epoch, context->epoch)) {
        *awaited_out = (struct shmrt_awaited){.flag = &line->epoch,
                                              .value = context->epoch,
                                              .peer = peer,
                                              .lane = lane,
                                              .late = true,
                                              .context = context};
        return -EAGAIN;
    }
    if (shmrt_unlikely(memcmp(&line->call, &context->call, sizeof line->call) != 0))
        return disagree(group, context, peer, lane, &line->call);
    return 0;
}

int shmrt_call_may_begin(struct shmrt_group *group, int *peer, struct shmrt_awaited *awaited_out)
{
    if (shmrt_likely(group->entered == group->epoch))
        return 0;
    /* This rank's own line still says what it called. */
    group->last = (struct shmrt_call_context){
        .call = line_of(group, group->sync.rank, group->epoch)->call, .epoch = group->epoch};
    for (; *peer < group->sync.size; ++*peer) {
        if (*peer == group->sync.rank)
            continue;
        int rc = shmrt_call_check(group, &group->last, *peer, 0, awaited_out);
        if (rc)
            return rc;
    }
    group->entered = group->epoch;
    return 0;
}

const char *shmrt_call_payload(const struct shmrt_group *group, int rank, size_t bytes)
{
    if (bytes <= SHMRT_TINY_BYTES)
        return (const char *)line_of(group, rank, group->epoch)->tiny;
    return shmrt_call_slot(group, rank);
}

const char *shmrt_call_slot(const struct shmrt_group *group, int rank)
{
    return shmrt_small_at(&group->layout, group->base[rank], slot_of(group->epoch));
}

struct shmrt_places shmrt_call_places(const struct shmrt_group *group, int rank)
{
    /* Volatile: no later use may read the line again. */
    const volatile struct shmrt_places *shown = &line_of(group, rank, group->epoch)->places;
    return (struct shmrt_places){
        .in_at = shown->in_at, .out_at = shown->out_at, .longest = shown->longest};
}
