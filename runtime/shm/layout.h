/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layout.h - everything that lies in a shared segment (L1)
 *
 * A segment is a file format between processes: fixed-width fields, lengths in a header, offsets
 * asserted by a test. Each rank has one segment; "owner" is that rank. Every line has one writer,
 * the owner, with one exception: a sleep word, which a waker swaps back to zero.
 *
 *   offset 0   header            written before the segment is shared, constant afterwards
 *              abort record      why the owner gave up; read by all
 *              call line [2]     the owner's current call, alternating; carries tiny payloads
 *              lane flags [L]    progress of each lane in rounds
 *              lane sleep [L]    set by the sleeping owner, cleared by whoever wakes it
 *              pair flags [N]    progress of sends to, and receives from, each rank
 *              records           the owner's last calls, for reports; read also after its death
 *   page       small slot [2]    payloads of one-shot calls, alternating with the call lines
 *              channel [N]       per rank it sends to: SLOTS x (message head, chunk)
 *              ring [L]          per lane: slots x (size parts for each, 1 part for all)
 */
#ifndef SHMRT_LAYOUT_H
#define SHMRT_LAYOUT_H

#include "base/attributes.h"
#include "base/error.h"

#include <stdatomic.h>

/* "shmrtseg", little-endian */
#define SHMRT_SEGMENT_MAGIC UINT64_C(0x67657374726d6873)

enum {
    SHMRT_SEGMENT_VERSION = 4,
    SHMRT_CALL_SLOTS = 2,
    /* Rounds in flight. Exchange needs four, two-shot three (docs/protocol.md). More, where there
     * is room, give old lines the time to leave the readers' caches before they are written again:
     * 16 took 10 to 25 % off 32 and 64 KiB between two cores of a Xeon. */
    SHMRT_MIN_RING_SLOTS = 4,
    SHMRT_MAX_RING_SLOTS = 16,
    SHMRT_CHANNEL_SLOTS = 4,
    SHMRT_TINY_BYTES = 40,
    SHMRT_MAX_LANES = 256,
    SHMRT_MIN_CHUNK_BYTES = 256,
    SHMRT_MAX_FITTED_CHUNK_BYTES = 64 * 1024,
    SHMRT_PAGE_BYTES = 4096,
    SHMRT_RECORDS = 64, /* a power of two */
    SHMRT_RECORD_TAG_SHIFT = 48,
};

struct shmrt_segment_header {
    uint64_t magic;
    uint32_t version;
    uint32_t rank;
    uint64_t segment_bytes;
    uint64_t mapped_bytes;  /* of the file: up to a whole page of its kind */
    _Atomic uint32_t users; /* of one mapping; counts only in builds with SHMRT_SHARE_MAPPINGS */
};

enum shmrt_abort_state { SHMRT_ALIVE, SHMRT_ABORT_CLAIMED, SHMRT_ABORTED };

struct shmrt_abort_record {
    _Atomic uint32_t state; /* enum shmrt_abort_state; ABORTED is stored with release, last */
    int32_t code;           /* negative errno */
    char text[SHMRT_ERROR_TEXT_BYTES - 8];
};

/* What a rank is calling; two ranks agree when all of it is equal. */
struct shmrt_call {
    uint8_t collective; /* enum shmrt_collective */
    uint8_t dtype;
    uint8_t op;
    uint8_t root;
    /* Hash of the counts where they differ from rank to rank; columns of an all-reduce in rows,
     * which lanes are cut by; else 0. */
    uint32_t shape;
    uint64_t count;
};

#define SHMRT_NOWHERE UINT64_MAX

/* Where a rank's tensors lie in its pool, for peers that use them without a copy. */
struct shmrt_places {
    uint64_t in_at;   /* bytes from the start of the pool; SHMRT_NOWHERE: private memory */
    uint64_t out_at;  /* the same */
    uint64_t longest; /* elements of the longest block it sends; for all-to-all with counts */
};

struct shmrt_call_line {
    _Atomic uint64_t epoch; /* stored with release after the rest of the line and the small slot */
    struct shmrt_call call;
    union {
        unsigned char tiny[SHMRT_TINY_BYTES]; /* one-shot */
        struct shmrt_places places;           /* in rounds */
    };
};

/* Rounds are numbered on from call to call; each word counts those that are through. */
struct shmrt_lane_flags {
    _Alignas(SHMRT_APART_BYTES) _Atomic uint64_t scattered; /* first parts lie in the ring */
    _Atomic uint64_t gathered;                              /* results lie in the ring */
    _Atomic uint64_t done; /* the owner reads nothing of them any more, in any ring */
    /* Hierarchical: */
    _Atomic uint64_t partial; /* results of the owner's group alone lie in the ring */
    _Atomic uint64_t relayed; /* results of other groups lie in the ring */
};

/* Chunks to and from one other rank, of all messages so far. */
struct shmrt_pair_flags {
    _Alignas(SHMRT_APART_BYTES) _Atomic uint64_t sent;  /* chunks in the owner's channel to it */
    _Alignas(SHMRT_APART_BYTES) _Atomic uint64_t taken; /* chunks of its channel to the owner */
};

/* In front of each chunk of a channel: the message that it belongs to. */
struct shmrt_message_note {
    _Alignas(SHMRT_LINE_BYTES) uint64_t count;
    uint64_t dtype;
};

/* What the owner waits for, once a wait is long; runtime/diag/record.h has the rules. */
struct shmrt_wait_note {
    _Atomic uint64_t whom;   /* bits 56 to 63: rank + 1; below: since when, in us; 0: nobody */
    _Atomic uint64_t record; /* number of the call that it waits in; 0: none that is recorded */
    _Atomic uint64_t until;  /* when it gave up, in us; 0: it has not */
};

struct shmrt_lane_sleep {
    _Alignas(SHMRT_LINE_BYTES) _Atomic uint32_t asleep; /* futex: 1 while the lane sleeps */
    struct shmrt_wait_note note;
};

/*
 * One call of the owner, the latest in a ring. Bits 48 to 63 of each word are the low bits of the
 * record's number: words of two calls do not pass for one.
 */
struct shmrt_record {
    _Atomic uint64_t call;  /* bytes from the lowest: collective, dtype, op, root */
    _Atomic uint64_t count; /* as in struct shmrt_call */
    _Atomic uint64_t epoch; /* its sequence number */
    _Atomic uint64_t end;   /* 0: under way, 1: done */
};

struct shmrt_records {
    _Alignas(SHMRT_APART_BYTES) _Atomic uint64_t newest; /* number of records so far */
    _Alignas(SHMRT_LINE_BYTES) struct shmrt_record ring[SHMRT_RECORDS];
};

/** Where things lie in every segment of a communicator; the same on all ranks. */
struct shmrt_layout {
    int size;
    int lanes;
    size_t abort_offset;
    size_t call_offset;
    size_t flags_offset;
    size_t sleep_offset;
    size_t pair_offset;
    size_t records_offset;
    size_t small_offset;
    size_t small_bytes; /* of one slot */
    size_t channel_offset;
    size_t channel_chunk_bytes;
    size_t ring_offset;
    size_t chunk_bytes;     /* of one part */
    size_t lane_ring_bytes; /* of one lane's ring */
    unsigned ring_slots;
    size_t used_bytes;
};

/**
 * shmrt_layout_compute - lay a segment out (pure)
 * @chunk_bytes: 0 fits the largest power of two, up to 64 KiB, for which all lanes' rings fit
 *
 * Return: 0, or -EINVAL with what does not fit in @error_out.
 */
int shmrt_layout_compute(int size, int lanes, size_t segment_bytes, size_t oneshot_max_bytes,
                         size_t chunk_bytes, struct shmrt_layout *out,
                         struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

static inline struct shmrt_abort_record *shmrt_abort_at(const struct shmrt_layout *l, char *base)
{
    return (struct shmrt_abort_record *)(base + l->abort_offset);
}

static inline struct shmrt_call_line *shmrt_call_at(const struct shmrt_layout *l, char *base,
                                                    unsigned slot)
{
    return (struct shmrt_call_line *)(base + l->call_offset + (size_t)slot * SHMRT_APART_BYTES);
}

static inline struct shmrt_lane_flags *shmrt_flags_at(const struct shmrt_layout *l, char *base,
                                                      int lane)
{
    return (struct shmrt_lane_flags *)(base + l->flags_offset) + lane;
}

static inline struct shmrt_lane_sleep *shmrt_sleep_at(const struct shmrt_layout *l, char *base,
                                                      int lane)
{
    return (struct shmrt_lane_sleep *)(base + l->sleep_offset) + lane;
}

static inline struct shmrt_pair_flags *shmrt_pair_at(const struct shmrt_layout *l, char *base,
                                                     int rank)
{
    return (struct shmrt_pair_flags *)(base + l->pair_offset) + rank;
}

static inline struct shmrt_records *shmrt_records_at(const struct shmrt_layout *l, char *base)
{
    return (struct shmrt_records *)(base + l->records_offset);
}

/* The note of chunk @chunk on its owner's channel to @rank; its bytes follow. */
static inline struct shmrt_message_note *shmrt_channel_at(const struct shmrt_layout *l, char *base,
                                                          int rank, uint64_t chunk)
{
    size_t slot = (size_t)rank * SHMRT_CHANNEL_SLOTS + (size_t)(chunk % SHMRT_CHANNEL_SLOTS);
    size_t stride = sizeof(struct shmrt_message_note) + l->channel_chunk_bytes;
    return (struct shmrt_message_note *)(base + l->channel_offset + slot * stride);
}

static inline char *shmrt_small_at(const struct shmrt_layout *l, char *base, unsigned slot)
{
    return base + l->small_offset + slot * l->small_bytes;
}

/* The part of round @round that its owner has for @rank, in @lane. */
static inline char *shmrt_scatter_at(const struct shmrt_layout *l, char *base, int lane,
                                     uint64_t round, int rank)
{
    size_t slot = (size_t)(round % l->ring_slots) * (size_t)(l->size + 1) + (size_t)rank;
    return base + l->ring_offset + (size_t)lane * l->lane_ring_bytes + slot * l->chunk_bytes;
}

/* The owner's part of round @round that is for all. */
static inline char *shmrt_gather_at(const struct shmrt_layout *l, char *base, int lane,
                                    uint64_t round)
{
    return shmrt_scatter_at(l, base, lane, round, l->size);
}

#endif
