/* SPDX-License-Identifier: Apache-2.0 */
/* layout.c - pure arithmetic of what lies where in a segment. */
#include "layout.h"

#include <errno.h>

static size_t round_up(size_t value, size_t unit)
{
    return (value + unit - 1) / unit * unit;
}

/* The largest power of two, in [min, max], of which @parts fit in @room; 0 when none does. */
static size_t fit_chunk(size_t room, size_t parts)
{
    size_t chunk = SHMRT_MAX_FITTED_CHUNK_BYTES;
    while (chunk >= SHMRT_MIN_CHUNK_BYTES && chunk * parts > room)
        chunk /= 2;
    return chunk >= SHMRT_MIN_CHUNK_BYTES ? chunk : 0;
}

/* Channels get an eighth of the segment, and in a small one what is least. */
static size_t place_channels(struct shmrt_layout *l, size_t at, size_t segment_bytes)
{
    size_t slots = (size_t)l->size * SHMRT_CHANNEL_SLOTS;
    size_t chunk = fit_chunk(segment_bytes / 8, slots);
    l->channel_offset = at;
    l->channel_chunk_bytes = chunk ? chunk : SHMRT_MIN_CHUNK_BYTES;
    return at + slots * (l->channel_chunk_bytes + sizeof(struct shmrt_message_note));
}

int shmrt_layout_compute(int size, int lanes, size_t segment_bytes, size_t oneshot_max_bytes,
                         size_t chunk_bytes, struct shmrt_layout *out,
                         struct shmrt_error *error_out)
{
    struct shmrt_layout l = {.size = size, .lanes = lanes};
    size_t at = round_up(sizeof(struct shmrt_segment_header), SHMRT_APART_BYTES);
    l.abort_offset = at;
    at += round_up(sizeof(struct shmrt_abort_record), SHMRT_APART_BYTES);
    l.call_offset = at;
    at += SHMRT_CALL_SLOTS * (size_t)SHMRT_APART_BYTES;
    l.flags_offset = at;
    at += (size_t)lanes * sizeof(struct shmrt_lane_flags);
    l.sleep_offset = at;
    at += (size_t)lanes * sizeof(struct shmrt_lane_sleep);
    l.pair_offset = round_up(at, SHMRT_APART_BYTES);
    l.records_offset = l.pair_offset + (size_t)size * sizeof(struct shmrt_pair_flags);
    at = l.records_offset + sizeof(struct shmrt_records);
    l.small_offset = round_up(at, SHMRT_PAGE_BYTES);
    /* All-to-all with counts shows them here, whatever the limit. */
    size_t counts_bytes = (size_t)size * sizeof(uint64_t);
    l.small_bytes = round_up(oneshot_max_bytes > counts_bytes ? oneshot_max_bytes : counts_bytes,
                             SHMRT_APART_BYTES);
    at = round_up(l.small_offset + SHMRT_CALL_SLOTS * l.small_bytes, SHMRT_PAGE_BYTES);
    l.ring_offset = round_up(place_channels(&l, at, segment_bytes), SHMRT_PAGE_BYTES);

    size_t parts = (size_t)lanes * SHMRT_MIN_RING_SLOTS * (size_t)(size + 1);
    size_t room = segment_bytes > l.ring_offset ? segment_bytes - l.ring_offset : 0;
    l.chunk_bytes = chunk_bytes ? round_up(chunk_bytes, SHMRT_LINE_BYTES) : fit_chunk(room, parts);
    l.ring_slots = SHMRT_MIN_RING_SLOTS;
    while (l.ring_slots < SHMRT_MAX_RING_SLOTS &&
           2 * l.ring_slots / SHMRT_MIN_RING_SLOTS * parts * l.chunk_bytes <= room)
        l.ring_slots *= 2;
    l.lane_ring_bytes = l.chunk_bytes * l.ring_slots * (size_t)(size + 1);
    l.used_bytes = l.ring_offset + (size_t)lanes * l.lane_ring_bytes;
    if (l.chunk_bytes == 0 || l.used_bytes > segment_bytes)
        return shmrt_error_set(
            error_out, -EINVAL,
            "a segment of %zu bytes is too small for %d ranks with %d lanes, one-shot up to %zu "
            "bytes and parts of %zu: it needs %zu; raise SHMRT_SEGMENT, or lower SHMRT_LANES, "
            "SHMRT_CHUNK or SHMRT_ONESHOT_MAX",
            segment_bytes, size, lanes, oneshot_max_bytes,
            l.chunk_bytes ? l.chunk_bytes : (size_t)SHMRT_MIN_CHUNK_BYTES,
            l.ring_offset + parts * (l.chunk_bytes ? l.chunk_bytes : SHMRT_MIN_CHUNK_BYTES));
    *out = l;
    return 0;
}
