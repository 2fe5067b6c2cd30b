/* SPDX-License-Identifier: Apache-2.0 */
/*
 * comm_who.c - who is where: what each rank has called last and what it waits for, from the
 * records in the ranks' segments. They can be read as long as the communicator lives, whatever
 * became of it or of their writers.
 */
#include "comm_who.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { WHERE_BYTES = 448 };

/* What is known of one rank. */
struct standing {
    enum shmrt_presence presence;
    bool gave_up;   /* it has told why */
    uint64_t epoch; /* of the latest collective that it has entered */
    uint64_t behind;
    bool has_call; /* the next two are known */
    struct shmrt_call_context call;
    bool done;
    bool has_message; /* sends or receives that are not through: the oldest of them */
    struct shmrt_call_context message;
    bool waits;
    struct shmrt_wait_seen wait;
};

static bool is_message(const struct shmrt_record_seen *seen)
{
    return seen->call.collective == SHMRT_SEND || seen->call.collective == SHMRT_RECV;
}

/* The call line is posted before the record is made, so it may be one ahead of the records. */
static uint64_t entered_epoch(const struct shmrt_comm *comm, int rank)
{
    const struct shmrt_group *group = &comm->group;
    uint64_t epochs[SHMRT_CALL_SLOTS];
    for (unsigned slot = 0; slot < SHMRT_CALL_SLOTS; slot++)
        epochs[slot] = atomic_load_explicit(
            &shmrt_call_at(&group->layout, group->base[rank], slot)->epoch, memory_order_acquire);
    return (int64_t)(epochs[1] - epochs[0]) > 0 ? epochs[1] : epochs[0];
}

/* A record has the low 48 bits of the epoch. */
static struct shmrt_call_context as_context(const struct shmrt_record_seen *seen)
{
    return (struct shmrt_call_context){
        .call = seen->call, .epoch = seen->epoch, .record = seen->number};
}

static void read_calls(const struct shmrt_record_seen *seen, int count, struct standing *out)
{
    uint64_t most = (UINT64_C(1) << SHMRT_RECORD_TAG_SHIFT) - 1;
    for (int i = 0; i < count; i++)
        if (is_message(&seen[i]) && !seen[i].done) {
            out->has_message = true;
            out->message = as_context(&seen[i]);
        }
    int latest = 0;
    while (latest < count && is_message(&seen[latest]))
        latest++;
    if (latest == count || seen[latest].epoch != (out->epoch & most))
        return;
    out->has_call = true;
    out->call = as_context(&seen[latest]);
    out->call.epoch = out->epoch;
    out->done = seen[latest].done;
}

static bool is_done(const struct shmrt_record_seen *seen, int count, uint64_t number)
{
    for (int i = 0; i < count; i++)
        if (seen[i].number == number)
            return seen[i].done;
    return false;
}

/* Of the waits of all lanes the longest. One who only tests may leave a note behind. */
static void read_waits(const struct shmrt_comm *comm, int rank,
                       const struct shmrt_record_seen *seen, int count, struct standing *out)
{
    const struct shmrt_sync *sync = &comm->group.sync;
    struct shmrt_wait_seen wait;
    for (int lane = 0; lane < sync->lanes; lane++)
        if (shmrt_wait_note_read(&sync->peers[rank].sleep[lane].note, sync->size, &wait) &&
            !is_done(seen, count, wait.record) &&
            (!out->waits || wait.since_us < out->wait.since_us)) {
            out->waits = true;
            out->wait = wait;
        }
}

static void look_at(const struct shmrt_comm *comm, int rank, struct standing *out)
{
    const struct shmrt_group *group = &comm->group;
    const struct shmrt_abort_record *record = group->sync.peers[rank].abort;
    struct shmrt_record_seen seen[SHMRT_RECORDS];
    int count = shmrt_records_read(shmrt_records_at(&group->layout, group->base[rank]),
                                   group->sync.size, seen);
    *out = (struct standing){
        .presence = rank == group->sync.rank ? SHMRT_HERE : shmrt_presence_of(&group->sync, rank),
        .gave_up = atomic_load_explicit(&record->state, memory_order_acquire) == SHMRT_ABORTED,
        .epoch = entered_epoch(comm, rank),
    };
    read_calls(seen, count, out);
    read_waits(comm, rank, seen, count, out);
}

static void look_at_all(const struct shmrt_comm *comm, struct standing out[SHMRT_MAX_RANKS])
{
    int size = comm->group.sync.size, front = 0;
    for (int r = 0; r < size; r++) {
        look_at(comm, r, &out[r]);
        if ((int64_t)(out[r].epoch - out[front].epoch) > 0)
            front = r;
    }
    for (int r = 0; r < size; r++)
        out[r].behind = out[front].epoch - out[r].epoch;
}

/* Who fails and then ends has not died. */
static const char *word_of(const struct standing *s)
{
    if (s->presence == SHMRT_GONE)
        return s->gave_up ? "gave up and ended, " : "died, ";
    if (s->presence == SHMRT_LEFT)
        return s->gave_up ? "gave up and left, " : "left, ";
    return "";
}

/* "died, in all-reduce #12 (sum of 1000 float32), 1 behind, waiting 0.3 s for rank 1". */
static void describe(const struct standing *s, bool with_time, char out[WHERE_BYTES])
{
    char call[SHMRT_CALL_TEXT_BYTES], message[SHMRT_CALL_TEXT_BYTES + 8] = "", behind[40] = "";
    char wait[64] = "", time[32] = "";
    if (s->has_call)
        shmrt_call_describe(&s->call, call);
    else if (s->epoch)
        snprintf(call, sizeof call, "call #%" PRIu64, s->epoch);
    else
        snprintf(call, sizeof call, "no call yet");
    if (s->behind)
        snprintf(behind, sizeof behind, ", %" PRIu64 " behind", s->behind);
    if (s->has_message) {
        char text[SHMRT_CALL_TEXT_BYTES];
        snprintf(message, sizeof message, ", in %s", shmrt_call_describe(&s->message, text));
    }
    int64_t until_us = s->wait.until_us ? (int64_t)s->wait.until_us : shmrt_now_ns() / 1000;
    if (with_time)
        snprintf(time, sizeof time, " %.3g s",
                 (double)(until_us - (int64_t)s->wait.since_us) / 1e6);
    if (s->waits)
        snprintf(wait, sizeof wait, ", waiting%s for rank %d", time, s->wait.rank);
    const char *place = !s->epoch ? "" : s->has_call && s->done ? "after " : "in ";
    snprintf(out, WHERE_BYTES, "%s%s%s%s%s%s", word_of(s), place, call, behind, message, wait);
}

void shmrt_who_describe(const struct shmrt_comm *comm, int rank, char *out, size_t bytes)
{
    struct standing all[SHMRT_MAX_RANKS];
    char where[WHERE_BYTES];
    look_at_all(comm, all);
    describe(&all[rank], true, where);
    snprintf(out, bytes, "pid %d, %s", comm->group.sync.peers[rank].pid, where);
}

/* Ranks of which the same is to be said stand together; those that are gone come first. */
void shmrt_who_log(const struct shmrt_comm *comm)
{
    static const char more[] = "; ... (all of it: shmrt_comm_report)";
    const struct shmrt_sync *sync = &comm->group.sync;
    struct standing all[SHMRT_MAX_RANKS];
    /* As much as a line of the log takes, with what stands before it. */
    char where[SHMRT_MAX_RANKS][WHERE_BYTES], line[SHMRT_ERROR_TEXT_BYTES - 64] = "", list[160];
    uint64_t told = 0;
    size_t at = 0;
    look_at_all(comm, all);
    for (int r = 0; r < sync->size; r++)
        describe(&all[r], false, where[r]);
    for (int pass = 0; pass < 2; pass++)
        for (int r = 0; r < sync->size; r++) {
            uint64_t same = 0;
            if (told >> r & 1 || (pass == 0 && all[r].presence == SHMRT_HERE))
                continue;
            for (int other = r; other < sync->size; other++)
                if (strcmp(where[other], where[r]) == 0)
                    same |= UINT64_C(1) << other;
            told |= same;
            shmrt_list_format(&same, SHMRT_MAX_RANKS, list, sizeof list);
            if (at < sizeof line)
                at +=
                    (size_t)snprintf(line + at, sizeof line - at, "%srank%s %s: %s", at ? "; " : "",
                                     same & (same - 1) ? "s" : "", list, where[r]);
        }
    if (at >= sizeof line)
        memcpy(line + sizeof line - sizeof more, more, sizeof more);
    shmrt_log(&sync->logger, SHMRT_LOG_WARNING, "who was where, as rank %d saw it: %s", sync->rank,
              line);
}
