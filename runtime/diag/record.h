/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.h - the flight recorder: the last calls of each rank, and what it waits for (L2)
 *
 * Each rank writes its own, in its segment; the others read them for reports, also when the writer
 * is dead. A reader believes nothing of a peer's memory: words that are not of one record, or not
 * possible, are left out.
 */
#ifndef SHMRT_RECORD_H
#define SHMRT_RECORD_H

#include "shm/layout.h"

#include <stdbool.h>

/** Private to a rank: where it writes. */
struct shmrt_recorder {
    struct shmrt_records *own;
    struct shmrt_records *file; /* a copy, NULL where none is kept */
    uint64_t number;            /* of the latest record; the first is 1 */
};

static inline void shmrt_record_write(struct shmrt_records *to, uint64_t number, uint64_t call,
                                      uint64_t count, uint64_t epoch)
{
    struct shmrt_record *record = &to->ring[number % SHMRT_RECORDS];
    uint64_t tag = number << SHMRT_RECORD_TAG_SHIFT;
    uint64_t most = (UINT64_C(1) << SHMRT_RECORD_TAG_SHIFT) - 1;
    atomic_store_explicit(&record->call, tag | call, memory_order_relaxed);
    atomic_store_explicit(&record->count, tag | (count & most), memory_order_relaxed);
    atomic_store_explicit(&record->epoch, tag | (epoch & most), memory_order_relaxed);
    atomic_store_explicit(&record->end, tag, memory_order_relaxed);
    /* Pairs with the acquire in shmrt_records_read. */
    atomic_store_explicit(&to->newest, number, memory_order_release);
}

/** shmrt_record_begin - the call @epoch begins; Return: the record's number */
static inline uint64_t shmrt_record_begin(struct shmrt_recorder *recorder,
                                          const struct shmrt_call *call, uint64_t epoch)
{
    uint64_t word = (uint64_t)call->collective | (uint64_t)call->dtype << 8 |
                    (uint64_t)call->op << 16 | (uint64_t)call->root << 24;
    shmrt_record_write(recorder->own, ++recorder->number, word, call->count, epoch);
    if (shmrt_unlikely(recorder->file != NULL))
        shmrt_record_write(recorder->file, recorder->number, word, call->count, epoch);
    return recorder->number;
}

/** shmrt_record_end - call @number is done; nothing where its place has been taken since */
static inline void shmrt_record_end(struct shmrt_recorder *recorder, uint64_t number)
{
    if (shmrt_unlikely(recorder->number - number >= SHMRT_RECORDS))
        return;
    uint64_t end = number << SHMRT_RECORD_TAG_SHIFT | 1, at = number % SHMRT_RECORDS;
    atomic_store_explicit(&recorder->own->ring[at].end, end, memory_order_relaxed);
    if (shmrt_unlikely(recorder->file != NULL))
        atomic_store_explicit(&recorder->file->ring[at].end, end, memory_order_relaxed);
}

/** A record as read. */
struct shmrt_record_seen {
    uint64_t number;
    struct shmrt_call call; /* without shape */
    uint64_t epoch;
    bool done;
};

/**
 * shmrt_records_read - what can be believed of a rank's records, the newest first
 * @size: ranks of the communicator, for what is possible
 *
 * Return: how many are in @out.
 */
int shmrt_records_read(const struct shmrt_records *records, int size,
                       struct shmrt_record_seen out[SHMRT_RECORDS]);

/** A wait as noted. */
struct shmrt_wait_seen {
    int rank; /* for whom */
    uint64_t record;
    uint64_t since_us, until_us; /* on shmrt_now_ns(); until: 0 while it goes on */
};

/** By the thread that serves the note's lane. */
void shmrt_wait_note_write(struct shmrt_wait_note *note, const struct shmrt_wait_seen *seen);

static inline void shmrt_wait_note_clear(struct shmrt_wait_note *note)
{
    if (atomic_load_explicit(&note->whom, memory_order_relaxed))
        atomic_store_explicit(&note->whom, 0, memory_order_relaxed);
}

/** Whether there is a wait that can be believed, then @out. */
bool shmrt_wait_note_read(const struct shmrt_wait_note *note, int size,
                          struct shmrt_wait_seen *out);

#endif
