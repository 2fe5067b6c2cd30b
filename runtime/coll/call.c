/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call.c - every collective begins here, whatever its algorithm: the epoch advances, and the ranks
 * compare what they call.
 *
 * Two call lines alternate. Rank A rewrites the line of epoch e in e + 2. It has then finished
 * e + 1, so it has seen every peer begin e + 1, so every peer has finished reading e.
 */
#include "group.h"

#include <errno.h>
#include <string.h>

static unsigned slot_of(uint64_t epoch)
{
    return (unsigned)(epoch % SHMRT_CALL_SLOTS);
}

struct shmrt_call_context shmrt_call_begin(struct shmrt_group *group, struct shmrt_call call,
                                           const void *payload, size_t bytes)
{
    uint64_t epoch = ++group->epoch;
    char *own = group->base[group->sync.rank];
    struct shmrt_call_line *line = shmrt_call_at(&group->layout, own, slot_of(epoch));
    line->call = call;
    if (payload && bytes <= SHMRT_TINY_BYTES)
        memcpy(line->tiny, payload, bytes);
    else if (payload)
        memcpy(shmrt_small_at(&group->layout, own, slot_of(epoch)), payload, bytes);
    shmrt_post(&group->sync, &line->epoch, epoch, 0);
    return (struct shmrt_call_context){.call = call, .epoch = epoch};
}

static int disagree(struct shmrt_group *group, const struct shmrt_call_context *context, int peer,
                    const struct shmrt_call *theirs)
{
    struct shmrt_call_context other = {.call = *theirs, .epoch = context->epoch};
    char own_text[SHMRT_CALL_TEXT_BYTES], peer_text[SHMRT_CALL_TEXT_BYTES];
    return shmrt_fail(&group->sync, -EPROTO,
                      "the ranks disagree: rank %d calls %s, rank %d calls %s; all ranks have to "
                      "make the same calls in the same order",
                      group->sync.rank, shmrt_call_describe(context, own_text), peer,
                      shmrt_call_describe(&other, peer_text));
}

int shmrt_call_check(struct shmrt_group *group, const struct shmrt_call_context *context, int peer,
                     int lane)
{
    const struct shmrt_call_line *line =
        shmrt_call_at(&group->layout, group->base[peer], slot_of(context->epoch));
    struct shmrt_wait wait = {.flag = &line->epoch,
                              .value = context->epoch,
                              .peer = peer,
                              .lane = lane,
                              .context = context};
    int rc = shmrt_wait(&group->sync, &wait);
    if (rc)
        return rc;
    if (memcmp(&line->call, &context->call, sizeof line->call) != 0)
        return disagree(group, context, peer, &line->call);
    return 0;
}

int shmrt_call_check_all(struct shmrt_group *group, const struct shmrt_call_context *context,
                         int lane)
{
    int rc = 0;
    for (int r = 0; r < group->sync.size && rc == 0; r++)
        if (r != group->sync.rank)
            rc = shmrt_call_check(group, context, r, lane);
    return rc;
}

const char *shmrt_call_payload(const struct shmrt_group *group, int rank, size_t bytes)
{
    unsigned slot = slot_of(group->epoch);
    if (bytes <= SHMRT_TINY_BYTES)
        return (const char *)shmrt_call_at(&group->layout, group->base[rank], slot)->tiny;
    return shmrt_small_at(&group->layout, group->base[rank], slot);
}
