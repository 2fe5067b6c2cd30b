/* SPDX-License-Identifier: Apache-2.0 */
/*
 * missing.c - for whom all wait, when a deadline has passed.
 *
 * Who is waited for may itself be waiting: then the one at the end of the chain is missing. What
 * each rank has noted of its wait tells. A rank that was stopped in a wait has a note that is out
 * of date: it waits for somebody who has come since and now waits for it, so that the chain is a
 * ring. Its wait is the oldest of those.
 */
#include "sync.h"

#include "diag/record.h"

/* By whichever lane; the same one as the waiter's is most likely in the same work. */
static bool is_waiting(const struct shmrt_sync *sync, int rank, int first_lane,
                       struct shmrt_wait_seen *out)
{
    for (int i = 0; i < sync->lanes; i++) {
        int lane = (first_lane + i) % sync->lanes;
        if (shmrt_wait_note_read(&sync->peers[rank].sleep[lane].note, sync->size, out))
            return true;
    }
    return false;
}

/* Of the ring that @rank is in; this rank itself is awake. */
static int oldest_of_ring(const struct shmrt_sync *sync, int rank, int lane, int otherwise)
{
    int oldest = otherwise, at = rank;
    uint64_t since_us = UINT64_MAX;
    struct shmrt_wait_seen wait;
    for (int steps = 0; steps < sync->size && is_waiting(sync, at, lane, &wait); steps++) {
        if (at != sync->rank && wait.since_us < since_us) {
            since_us = wait.since_us;
            oldest = at;
        }
        at = wait.rank;
    }
    return oldest;
}

int shmrt_find_missing(const struct shmrt_sync *sync, const struct shmrt_awaited *awaited)
{
    int rank = awaited->peer;
    uint64_t met = UINT64_C(1) << sync->rank;
    struct shmrt_wait_seen wait;
    while ((met >> rank & 1) == 0) {
        met |= UINT64_C(1) << rank;
        if (!is_waiting(sync, rank, awaited->lane, &wait))
            return rank;
        rank = wait.rank;
    }
    return oldest_of_ring(sync, rank, awaited->lane, awaited->peer);
}
