/* SPDX-License-Identifier: Apache-2.0 */
/*
 * failure.c - the abort records: how one rank's failure becomes everyone's.
 *
 * A rank writes only its own record, once: ALIVE -> CLAIMED by the first thread that fails, the
 * text, then ABORTED with release. Readers believe the text only after an acquire of ABORTED.
 */
#include "sync.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void wake_everyone(struct shmrt_sync *sync)
{
    /* The records are looked at before each sleep; that race is lost for one slice at most. */
    for (int r = 0; r < sync->size; r++)
        for (int lane = 0; lane < sync->lanes; lane++)
            shmrt_wake(sync, r, lane);
}

int shmrt_fail(struct shmrt_sync *sync, int code, const char *format, ...)
{
    struct shmrt_abort_record *own = sync->peers[sync->rank].abort;
    uint32_t expected = SHMRT_ALIVE;
    /* Acquire: a loser that finds ABORTED reads the winner's code. */
    if (!atomic_compare_exchange_strong_explicit(&own->state, &expected, SHMRT_ABORT_CLAIMED,
                                                 memory_order_acquire, memory_order_acquire))
        return expected == SHMRT_ABORTED ? own->code : -ECONNABORTED;
    own->code = code;
    va_list args;
    va_start(args, format);
    vsnprintf(own->text, sizeof own->text, format, args);
    va_end(args);
    /* Pairs with the acquire in shmrt_has_failed and shmrt_check_aborts. */
    atomic_store_explicit(&own->state, SHMRT_ABORTED, memory_order_release);
    wake_everyone(sync);
    return code;
}

bool shmrt_has_failed(const struct shmrt_sync *sync, struct shmrt_error *error_out)
{
    const struct shmrt_abort_record *own = sync->peers[sync->rank].abort;
    uint32_t state = atomic_load_explicit(&own->state, memory_order_acquire);
    if (state == SHMRT_ALIVE)
        return false;
    if (state == SHMRT_ABORTED)
        shmrt_error_set(error_out, own->code, "%s", own->text);
    else
        shmrt_error_set(error_out, -ECONNABORTED, "the communicator is being aborted");
    return true;
}

int shmrt_check_aborts(struct shmrt_sync *sync)
{
    struct shmrt_error error = {0};
    if (shmrt_has_failed(sync, &error))
        return error.code;
    for (int r = 0; r < sync->size; r++) {
        const struct shmrt_abort_record *record = sync->peers[r].abort;
        if (atomic_load_explicit(&record->state, memory_order_acquire) != SHMRT_ABORTED)
            continue;
        /* Deaths and disagreements are everyone's; a rank's own deadline or Ctrl-C is, for the
         * others, that this rank aborted. */
        bool shared = record->code == -ECONNABORTED || record->code == -EPROTO;
        char text[sizeof record->text];
        memcpy(text, record->text, sizeof text);
        text[sizeof text - 1] = '\0';
        return shmrt_fail(sync, shared ? record->code : -ECONNABORTED, "%s%.*s",
                          shared ? "" : "aborted by another rank: ", (int)sizeof text - 32, text);
    }
    return 0;
}
