/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wait.c - spin, then yield, then sleep.
 *
 * Going to sleep is a store-load race: the sleeper stores its sleep word and loads the flag, the
 * writer stores the flag and loads the sleep word; if both loads see the old value, the wake-up is
 * lost. Release and acquire do not order a store before a later load. The sleeper therefore runs
 * membarrier(GLOBAL_EXPEDITED) between the two, which puts a full barrier into every running
 * thread of the registered processes, the writer included. Where a rank can't, both sides pay a
 * seq_cst fence. Sleeps are timed anyway, because a death makes no wake-up.
 */
#include "sync.h"

#include "base/clock.h"
#include "diag/record.h"

#include <errno.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PAUSES_A_LOOK = 32, YIELDS_A_CHECK = 16 };

#define LONG_YIELD_NS      INT64_C(200000)
#define AFTER_WAKE_NS      INT64_C(1000000)
#define AFTER_WAKE_SPIN_NS INT64_C(200000)
#define DISTURBANCE_NS     INT64_C(100000000)

/* A death is noticed this late at worst; 20 wake-ups a second cost nothing that shows. */
#define SLICE_NS INT64_C(50000000)

/* Of several awaited things some may be other lanes' flags, whose writers don't wake this one. */
#define SHORT_SLICE_NS INT64_C(1000000)

static void sleep_once(struct shmrt_sync *sync, const struct shmrt_awaited *awaited,
                       int64_t slice_ns)
{
    _Atomic uint32_t *asleep = &sync->peers[sync->rank].sleep[awaited->lane].asleep;
    atomic_store_explicit(asleep, 1, memory_order_relaxed);
    if (sync->fence)
        atomic_thread_fence(memory_order_seq_cst);
    else
        syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0);
    if (!shmrt_is_here(awaited)) {
        struct timespec slice = shmrt_timespec_from_ns(slice_ns);
        syscall(SYS_futex, asleep, FUTEX_WAIT, 1, &slice, NULL, 0);
        sync->stats[awaited->lane].sleeps++;
    }
    atomic_store_explicit(asleep, 0, memory_order_relaxed);
}

/*
 * Yields are for ranks that share a CPU: the other one goes on at once. A stranger on the CPU keeps
 * it for some milliseconds each time, and while one rank is away the other one yields as well: 64
 * KiB took 13 ms with a busy loop on each core, and 0.11 ms asleep, since whoever is woken is put
 * back on its CPU soon. So where ranks have CPUs to themselves, one long yield ends yielding for a
 * while.
 */
static bool yield_until(struct shmrt_sync *sync, const struct shmrt_awaited *awaited,
                        int64_t start_ns, int64_t now_ns, int *failed_out)
{
    struct shmrt_lane_stats *stats = &sync->stats[awaited->lane];
    if (now_ns < stats->disturbed_until_ns)
        return false;
    for (int i = 1; now_ns - start_ns < sync->yield_ns; i++) {
        int64_t before_ns = now_ns;
        sched_yield();
        if (shmrt_is_here(awaited))
            return true;
        if (i % YIELDS_A_CHECK == 0 &&
            (*failed_out = shmrt_check_aborts(sync, awaited, now_ns - start_ns)) != 0)
            return false;
        now_ns = shmrt_now_ns();
        if (!sync->crowded && now_ns - before_ns > LONG_YIELD_NS) {
            stats->disturbed_until_ns = now_ns + DISTURBANCE_NS;
            return false;
        }
    }
    return false;
}

/*
 * Who has just woken a peer waits for it longer before it sleeps itself: else the two would go on
 * waking each other in every round of a call. Not where waits are told not to spin at all.
 */
static int64_t spin_time(const struct shmrt_sync *sync, const struct shmrt_awaited *awaited,
                         int64_t now_ns)
{
    bool woke = now_ns - sync->stats[awaited->lane].woke_ns < AFTER_WAKE_NS;
    bool is_longer = woke && !sync->crowded && sync->spin_ns > 0;
    return is_longer && sync->spin_ns < AFTER_WAKE_SPIN_NS ? AFTER_WAKE_SPIN_NS : sync->spin_ns;
}

/* The spinning and yielding phases; true when the flag came. */
static bool stay_awake(struct shmrt_sync *sync, const struct shmrt_awaited *awaited,
                       int64_t start_ns, int *failed_out)
{
    int64_t now_ns = start_ns, spin_ns = spin_time(sync, awaited, start_ns);
    while (now_ns - start_ns < spin_ns) {
        for (int i = 0; i < PAUSES_A_LOOK; i++) {
            shmrt_cpu_pause();
            if (shmrt_is_here(awaited))
                return true;
        }
        now_ns = shmrt_now_ns();
    }
    return yield_until(sync, awaited, start_ns, now_ns, failed_out);
}

/* Only the caller's thread talks to the outside: the callbacks may need it. */
static int check_caller(struct shmrt_sync *sync, const struct shmrt_awaited *awaited,
                        int64_t waited_ns)
{
    char text[SHMRT_CALL_TEXT_BYTES];
    if (awaited->lane != 0 && !sync->caller_only)
        return 0;
    if (shmrt_interrupted(&sync->interrupt))
        return shmrt_fail(sync, -ECANCELED,
                          "rank %d was interrupted in %s after waiting %.3g s for rank %d",
                          sync->rank, shmrt_call_describe(awaited->context, text),
                          (double)waited_ns / 1e9, awaited->peer);
    if (waited_ns > sync->warn_ns && sync->warned_epoch != awaited->context->epoch) {
        sync->warned_epoch = awaited->context->epoch;
        shmrt_log(&sync->logger, SHMRT_LOG_WARNING,
                  "rank %d has waited %.3g s for rank %d (pid %d) in %s", sync->rank,
                  (double)waited_ns / 1e9, awaited->peer, sync->peers[awaited->peer].pid,
                  shmrt_call_describe(awaited->context, text));
    }
    return 0;
}

static int check_deadline(struct shmrt_sync *sync, const struct shmrt_awaited *awaited,
                          int64_t waited_ns)
{
    char text[SHMRT_CALL_TEXT_BYTES], link[64] = "";
    if (waited_ns < sync->timeout_ns)
        return 0;
    int missing = shmrt_find_missing(sync, awaited);
    if (missing != awaited->peer)
        snprintf(link, sizeof link, " for rank %d, which waits for others", awaited->peer);
    return shmrt_fail(
        sync, -ETIMEDOUT,
        "rank %d (pid %d) did not come to %s within %.3g s (rank %d waited %.3g s%s); "
        "see what it does, or raise SHMRT_TIMEOUT",
        missing, sync->peers[missing].pid, shmrt_call_describe(awaited->context, text),
        (double)sync->timeout_ns / 1e9, sync->rank, (double)waited_ns / 1e9, link);
}

/* For the error that may be found when the wait is over. */
static void keep_time(struct shmrt_sync *sync, const struct shmrt_awaited *awaited,
                      int64_t waited_ns)
{
    struct shmrt_lane_stats *stats = &sync->stats[awaited->lane];
    stats->waited_in = *awaited->context;
    stats->waited_ns = waited_ns;
}

/* For reports, here and elsewhere, while the wait goes on and after it has failed (@rc). */
static void note_wait(struct shmrt_sync *sync, const struct shmrt_awaited *awaited,
                      int64_t start_ns, int rc)
{
    struct shmrt_wait_seen seen = {.rank = awaited->peer,
                                   .record = awaited->context->record,
                                   .since_us = (uint64_t)start_ns / 1000};
    if (rc)
        seen.until_us = (uint64_t)shmrt_now_ns() / 1000;
    if (awaited->peer >= 0)
        shmrt_wait_note_write(&sync->peers[sync->rank].sleep[awaited->lane].note, &seen);
    if (awaited->peer >= 0 && sync->notes)
        shmrt_wait_note_write(&sync->notes[awaited->lane], &seen);
}

void shmrt_wait_is_over(struct shmrt_sync *sync, int lane)
{
    shmrt_wait_note_clear(&sync->peers[sync->rank].sleep[lane].note);
    if (sync->notes)
        shmrt_wait_note_clear(&sync->notes[lane]);
}

int shmrt_await_check(struct shmrt_sync *sync, const struct shmrt_awaited *awaited,
                      int64_t start_ns)
{
    int64_t waited_ns = shmrt_now_ns() - start_ns;
    keep_time(sync, awaited, waited_ns);
    note_wait(sync, awaited, start_ns, 0);
    int rc = shmrt_check_aborts(sync, awaited, waited_ns);
    if (rc == 0)
        rc = shmrt_check_peers(sync, awaited, waited_ns);
    if (rc == 0)
        rc = check_caller(sync, awaited, waited_ns);
    if (rc == 0)
        rc = check_deadline(sync, awaited, waited_ns);
    if (rc)
        note_wait(sync, awaited, start_ns, rc);
    return rc;
}

static int sleep_until(struct shmrt_sync *sync, const struct shmrt_awaited *awaited,
                       int64_t start_ns)
{
    int rc = 0;
    int64_t slice_ns = awaited->is_here && sync->lanes > 1 ? SHORT_SLICE_NS : SLICE_NS;
    while (!shmrt_is_here(awaited) && (rc = shmrt_await_check(sync, awaited, start_ns)) == 0) {
        int64_t left_ns = sync->timeout_ns - (shmrt_now_ns() - start_ns);
        if (left_ns > 0)
            sleep_once(sync, awaited, left_ns < slice_ns ? left_ns : slice_ns);
    }
    return rc;
}

int shmrt_await_slow(struct shmrt_sync *sync, const struct shmrt_awaited *awaited)
{
    int rc = 0;
    int64_t start_ns = shmrt_now_ns();
    if (!stay_awake(sync, awaited, start_ns, &rc) && rc == 0)
        rc = sleep_until(sync, awaited, start_ns);
    struct shmrt_lane_stats *stats = &sync->stats[awaited->lane];
    int64_t waited_ns = shmrt_now_ns() - start_ns;
    stats->wait_ns += (uint64_t)waited_ns;
    if (awaited->late)
        stats->late_ns[awaited->peer] += (uint64_t)waited_ns;
    keep_time(sync, awaited, waited_ns);
    if (rc)
        note_wait(sync, awaited, start_ns, rc);
    else
        shmrt_wait_is_over(sync, awaited->lane);
    return rc;
}
