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

/* A record lies in shared memory: whatever a broken rank has made of it, a failure is one. */
static int code_of(const struct shmrt_abort_record *record)
{
    enum { LAST_ERRNO = 4095 };
    int code = *(const volatile int32_t *)&record->code;
    return code < 0 && code >= -LAST_ERRNO ? code : -ECONNABORTED;
}

/* "; rank 0 was in all-reduce #12 (sum of 1000 float32), waiting 0.31 s for rank 1" */
static void describe_wait(struct shmrt_sync *sync, const struct shmrt_awaited *awaited,
                          int64_t waited_ns)
{
    char text[SHMRT_CALL_TEXT_BYTES], peer[24] = "", waited[64] = "";
    if (awaited->peer >= 0)
        snprintf(peer, sizeof peer, " for rank %d", awaited->peer);
    if (waited_ns >= 0)
        snprintf(waited, sizeof waited, ", waiting %.3g s%s", (double)waited_ns / 1e9, peer);
    snprintf(sync->own_part, sizeof sync->own_part, "; rank %d was in %s%s", sync->rank,
             shmrt_call_describe(awaited->context, text), waited);
}

/* "; rank 0 had waited 0.31 s": the call is in the text already. */
static void describe_waited(struct shmrt_sync *sync, const struct shmrt_call_context *context,
                            int lane)
{
    const struct shmrt_lane_stats *stats = &sync->stats[lane];
    bool was_here = memcmp(&stats->waited_in, context, sizeof *context) == 0;
    snprintf(sync->own_part, sizeof sync->own_part, "; rank %d had waited %.3g s", sync->rank,
             was_here ? (double)stats->waited_ns / 1e9 : 0.0);
}

/* What is known of the wait that ends so; both may be NULL. */
struct ending {
    const struct shmrt_awaited *awaited;
    int64_t waited_ns;
    const struct shmrt_call_context *context;
    int lane;
};

static int fail(struct shmrt_sync *sync, int code, const struct ending *ending, const char *format,
                va_list args) SHMRT_PRINTF(4, 0);

static int fail(struct shmrt_sync *sync, int code, const struct ending *ending, const char *format,
                va_list args)
{
    struct shmrt_abort_record *own = sync->peers[sync->rank].abort;
    uint32_t expected = SHMRT_ALIVE;
    /* Acquire: a loser that finds ABORTED reads the winner's code. */
    bool is_first = atomic_compare_exchange_strong_explicit(
        &own->state, &expected, SHMRT_ABORT_CLAIMED, memory_order_acquire, memory_order_acquire);
    /* The caller gets its tensors back after this: see shmrt_confirm_reads. */
    atomic_thread_fence(memory_order_seq_cst);
    if (!is_first)
        return expected == SHMRT_ABORTED ? code_of(own) : -ECONNABORTED;
    own->code = code;
    vsnprintf(own->text, sizeof own->text, format, args);
    if (ending->awaited)
        describe_wait(sync, ending->awaited, ending->waited_ns);
    else if (ending->context)
        describe_waited(sync, ending->context, ending->lane);
    /* Pairs with the acquire in shmrt_has_failed and shmrt_check_aborts. */
    atomic_store_explicit(&own->state, SHMRT_ABORTED, memory_order_release);
    wake_everyone(sync);
    return code;
}

int shmrt_fail(struct shmrt_sync *sync, int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int rc = fail(sync, code, &(struct ending){0}, format, args);
    va_end(args);
    return rc;
}

int shmrt_fail_waiting(struct shmrt_sync *sync, int code, const struct shmrt_awaited *awaited,
                       int64_t waited_ns, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int rc = fail(sync, code, &(struct ending){.awaited = awaited, .waited_ns = waited_ns}, format,
                  args);
    va_end(args);
    return rc;
}

int shmrt_fail_after(struct shmrt_sync *sync, int code, const struct shmrt_call_context *context,
                     int lane, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int rc = fail(sync, code, &(struct ending){.context = context, .lane = lane}, format, args);
    va_end(args);
    return rc;
}

bool shmrt_has_failed(const struct shmrt_sync *sync, struct shmrt_error *error_out)
{
    const struct shmrt_abort_record *own = sync->peers[sync->rank].abort;
    uint32_t state = atomic_load_explicit(&own->state, memory_order_acquire);
    if (state == SHMRT_ALIVE)
        return false;
    atomic_thread_fence(memory_order_seq_cst); /* as in fail() */
    if (state == SHMRT_ABORTED)
        shmrt_error_set(error_out, code_of(own), "%.*s%s",
                        SHMRT_ERROR_TEXT_BYTES - 1 - (int)strlen(sync->own_part), own->text,
                        sync->own_part);
    else
        shmrt_error_set(error_out, -ECONNABORTED, "the communicator is being aborted");
    return true;
}

int shmrt_check_aborts(struct shmrt_sync *sync, const struct shmrt_awaited *awaited,
                       int64_t waited_ns)
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
        int code = code_of(record);
        bool shared = code == -ECONNABORTED || code == -EPROTO;
        char text[sizeof record->text], whose[32] = "";
        memcpy(text, record->text, sizeof text);
        text[sizeof text - 1] = '\0';
        if (!shared)
            snprintf(whose, sizeof whose, "aborted by rank %d: ", r);
        return shmrt_fail_waiting(sync, shared ? code : -ECONNABORTED, awaited, waited_ns, "%s%.*s",
                                  whose, (int)(sizeof text - sizeof whose), text);
    }
    return 0;
}

int shmrt_confirm_reads(struct shmrt_sync *sync, const struct shmrt_call_context *context)
{
    char text[SHMRT_CALL_TEXT_BYTES];
    atomic_thread_fence(memory_order_acquire); /* what was read, before the records */
    for (int r = 0; r < sync->size; r++) {
        const struct shmrt_abort_record *record = sync->peers[r].abort;
        if (shmrt_likely(atomic_load_explicit(&record->state, memory_order_relaxed) == SHMRT_ALIVE))
            continue;
        const struct shmrt_awaited nobody = {.peer = -1, .context = context};
        int rc = shmrt_check_aborts(sync, &nobody, 0);
        return rc ? rc
                  : shmrt_fail_after(sync, -ECONNABORTED, context, 0,
                                     "rank %d gives up just now; rank %d had read from it in %s", r,
                                     sync->rank, shmrt_call_describe(context, text));
    }
    return 0;
}
