/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.c - reads records and notes of a rank that may be writing, or may have died writing.
 *
 * A record's writer needs no fence: each word says to which record it belongs, by 16 bits. A word
 * 65,536 records younger would pass for one of it; then `newest` has gone on too, and the record
 * is left out. A note is written seldom, and is a seqlock: `whom` is 0 while the rest changes, and
 * no two waits of a lane have the same.
 */
#include "record.h"

enum { WHOM_SHIFT = 56 };

#define LOW_BITS(shift) ((UINT64_C(1) << (shift)) - 1)

static bool is_possible(const struct shmrt_record_seen *seen, int size)
{
    const struct shmrt_call *call = &seen->call;
    return shmrt_collective_name((enum shmrt_collective)call->collective) &&
           shmrt_dtype_name((enum shmrt_dtype)call->dtype) &&
           shmrt_op_name((enum shmrt_op)call->op) && call->root < size;
}

/* Whether the words in its place are those of record @number. */
static bool read_record(const struct shmrt_records *records, uint64_t number, int size,
                        struct shmrt_record_seen *out)
{
    const struct shmrt_record *record = &records->ring[number % SHMRT_RECORDS];
    uint64_t words[] = {atomic_load_explicit(&record->call, memory_order_relaxed),
                        atomic_load_explicit(&record->count, memory_order_relaxed),
                        atomic_load_explicit(&record->epoch, memory_order_relaxed),
                        atomic_load_explicit(&record->end, memory_order_relaxed)};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (words[i] >> SHMRT_RECORD_TAG_SHIFT != (number & LOW_BITS(64 - SHMRT_RECORD_TAG_SHIFT)))
            return false;
        words[i] &= LOW_BITS(SHMRT_RECORD_TAG_SHIFT);
    }
    *out = (struct shmrt_record_seen){
        .number = number,
        .call = {.collective = (uint8_t)words[0],
                 .dtype = (uint8_t)(words[0] >> 8),
                 .op = (uint8_t)(words[0] >> 16),
                 .root = (uint8_t)(words[0] >> 24),
                 .count = words[1]},
        .epoch = words[2],
        .done = words[3] == 1,
    };
    return words[3] <= 1 && is_possible(out, size);
}

int shmrt_records_read(const struct shmrt_records *records, int size,
                       struct shmrt_record_seen out[SHMRT_RECORDS])
{
    int found = 0;
    /* Pairs with the release in shmrt_record_write. */
    uint64_t newest = atomic_load_explicit(&records->newest, memory_order_acquire);
    /* One more: its writer may have died before it said so. */
    for (uint64_t back = 0; back <= SHMRT_RECORDS && newest + 1 > back; back++)
        if (found < SHMRT_RECORDS && read_record(records, newest + 1 - back, size, &out[found]))
            found++;
    atomic_thread_fence(memory_order_acquire);
    uint64_t now = atomic_load_explicit(&records->newest, memory_order_relaxed);
    while (found && now - out[found - 1].number >= SHMRT_RECORDS && now >= out[found - 1].number)
        found--;
    return found;
}

void shmrt_wait_note_write(struct shmrt_wait_note *note, const struct shmrt_wait_seen *seen)
{
    uint64_t whom = (uint64_t)(seen->rank + 1) << WHOM_SHIFT | (seen->since_us & LOW_BITS(56));
    if (atomic_load_explicit(&note->whom, memory_order_relaxed) != whom) {
        atomic_store_explicit(&note->whom, 0, memory_order_relaxed);
        /* The rest must not be seen before the 0: pairs with the fence in the reader. */
        atomic_thread_fence(memory_order_release);
        atomic_store_explicit(&note->record, seen->record, memory_order_relaxed);
        atomic_store_explicit(&note->until, seen->until_us, memory_order_relaxed);
        atomic_store_explicit(&note->whom, whom, memory_order_release);
    } else if (seen->until_us) {
        atomic_store_explicit(&note->until, seen->until_us, memory_order_relaxed);
    }
}

bool shmrt_wait_note_read(const struct shmrt_wait_note *note, int size, struct shmrt_wait_seen *out)
{
    uint64_t whom = atomic_load_explicit(&note->whom, memory_order_acquire);
    uint64_t record = atomic_load_explicit(&note->record, memory_order_relaxed);
    uint64_t until_us = atomic_load_explicit(&note->until, memory_order_relaxed);
    atomic_thread_fence(memory_order_acquire);
    if (whom == 0 || atomic_load_explicit(&note->whom, memory_order_relaxed) != whom)
        return false;
    *out = (struct shmrt_wait_seen){.rank = (int)(whom >> WHOM_SHIFT) - 1,
                                    .record = record,
                                    .since_us = whom & LOW_BITS(56),
                                    .until_us = until_us};
    return out->rank >= 0 && out->rank < size;
}
