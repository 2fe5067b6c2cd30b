/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pair.c - send and receive: a ring of chunks for each ordered pair of ranks, in the sender's
 * segment.
 *
 * The epoch can't serve here, since the other ranks don't take part: each pair counts its own
 * chunks. `sent` is written by the sender, `taken` by the receiver; chunk t is written when
 * chunk t - SLOTS has been taken. Each chunk carries its message's count and type, so that a
 * receive that expects another one is an error on both sides. A message of nothing is one empty
 * chunk.
 */
#include "pair.h"

#include <errno.h>
#include <string.h>

void shmrt_pair_make(struct shmrt_pair_work *w, struct shmrt_group *group,
                     const struct shmrt_coll *coll)
{
    *w = (struct shmrt_pair_work){.group = group, .coll = *coll};
}

static struct shmrt_pair_state *state_of(const struct shmrt_pair_work *w)
{
    return &w->group->pairs[w->coll.root];
}

static void begin(struct shmrt_pair_work *w)
{
    struct shmrt_pair_state *state = state_of(w);
    bool sends = w->coll.collective == SHMRT_SEND;
    w->context = (struct shmrt_call_context){
        .call = {.collective = (uint8_t)w->coll.collective,
                 .dtype = (uint8_t)w->coll.dtype,
                 .root = (uint8_t)w->coll.root,
                 .count = w->coll.count},
        .epoch = sends ? ++state->sends : ++state->recvs,
    };
    w->context.record = shmrt_record_begin(&w->group->recorder, &w->context.call, w->context.epoch);
    w->begun = true;
}

static bool has(struct shmrt_pair_work *w, const _Atomic uint64_t *flag, uint64_t value)
{
    if (shmrt_flag_reached(flag, value))
        return true;
    w->awaited = (struct shmrt_awaited){
        .flag = flag, .value = value, .peer = w->coll.root, .context = &w->context};
    return false;
}

/* Elements of the next chunk. */
static size_t next_count(const struct shmrt_pair_work *w)
{
    size_t most = w->group->layout.channel_chunk_bytes / w->coll.element_bytes;
    size_t left = w->coll.count - w->moved;
    return left < most ? left : most;
}

static int disagree(const struct shmrt_pair_work *w, const struct shmrt_message_note *note)
{
    char text[SHMRT_CALL_TEXT_BYTES];
    const char *dtype = shmrt_dtype_name((enum shmrt_dtype)note->dtype);
    return shmrt_fail_after(
        &w->group->sync, -EPROTO, &w->context, 0,
        "the ranks disagree: rank %d calls %s, but what rank %d sent is %llu %s",
        w->group->sync.rank, shmrt_call_describe(&w->context, text), w->coll.root,
        (unsigned long long)note->count, dtype ? dtype : "of an unknown type");
}

static int send_chunk(struct shmrt_pair_work *w)
{
    struct shmrt_group *g = w->group;
    struct shmrt_pair_state *state = state_of(w);
    int own = g->sync.rank, peer = w->coll.root;
    const struct shmrt_pair_flags *theirs = shmrt_pair_at(&g->layout, g->base[peer], own);
    if (!has(w, &theirs->taken, state->sent + 1 - SHMRT_CHANNEL_SLOTS))
        return -EAGAIN;
    size_t count = next_count(w), element = w->coll.element_bytes;
    struct shmrt_message_note *note = shmrt_channel_at(&g->layout, g->base[own], peer, state->sent);
    note->count = w->coll.count;
    note->dtype = (uint64_t)w->coll.dtype;
    if (count)
        memcpy(note + 1, w->coll.in + w->moved * element, count * element);
    w->moved += count;
    shmrt_post(&g->sync, &shmrt_pair_at(&g->layout, g->base[own], peer)->sent, ++state->sent, 0);
    return 0;
}

static int take_chunk(struct shmrt_pair_work *w)
{
    struct shmrt_group *g = w->group;
    struct shmrt_pair_state *state = state_of(w);
    int own = g->sync.rank, peer = w->coll.root;
    const struct shmrt_pair_flags *theirs = shmrt_pair_at(&g->layout, g->base[peer], own);
    if (!has(w, &theirs->sent, state->taken + 1))
        return -EAGAIN;
    size_t count = next_count(w), element = w->coll.element_bytes;
    const struct shmrt_message_note *note =
        shmrt_channel_at(&g->layout, g->base[peer], own, state->taken);
    if (note->count != w->coll.count || note->dtype != (uint64_t)w->coll.dtype)
        return disagree(w, note);
    if (count)
        memcpy(w->coll.out + w->moved * element, note + 1, count * element);
    g->lanes[0].read_from[peer] += count * element;
    w->moved += count;
    shmrt_post(&g->sync, &shmrt_pair_at(&g->layout, g->base[own], peer)->taken, ++state->taken, 0);
    return 0;
}

int shmrt_pair_step(struct shmrt_pair_work *w)
{
    int rc;
    if (!w->begun)
        begin(w);
    do {
        rc = w->coll.collective == SHMRT_SEND ? send_chunk(w) : take_chunk(w);
    } while (rc == 0 && w->moved < w->coll.count);
    if (rc == 0)
        shmrt_record_end(&w->group->recorder, w->context.record);
    return rc;
}

int shmrt_pair_next(struct shmrt_pair_work *w)
{
    struct shmrt_group *g = w->group;
    const struct shmrt_pair_state *state = state_of(w);
    w->context.call =
        (struct shmrt_call){.collective = SHMRT_CALL_PROBE, .root = (uint8_t)w->coll.root};
    const struct shmrt_pair_flags *theirs =
        shmrt_pair_at(&g->layout, g->base[w->coll.root], g->sync.rank);
    return has(w, &theirs->sent, state->taken + 1) ? 0 : -EAGAIN;
}
