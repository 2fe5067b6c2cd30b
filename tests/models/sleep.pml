/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sleep.pml - going to sleep, and being woken, between ranks that all do both
 *
 * Words of runtime/shm/layout.h: one flag of each rank (any of lane_flags), lane_sleep.asleep.
 * Functions: sleep_once and sleep_until (runtime/sync/wait.c), shmrt_post (runtime/sync/sync.h),
 * shmrt_wake (runtime/sync/wake.c).
 *
 * In each round every rank posts its flag, then waits for each peer's in turn; so a sleeper has a
 * waker for every peer, awaited or not. A sleep here has no end of its own: a wake-up that gets lost
 * is a deadlock.
 *
 *   default   the sleeper runs membarrier
 *   -DFENCES  both sides run a seq_cst fence
 * Faults: -DNO_BARRIER, -DWAKE_WITHOUT_SWAP, -DSLEEPER_FENCE_ONLY, -DWRITER_FENCE_ONLY,
 * -DNO_SECOND_LOOK.
 */
#ifndef EPOCHS
#define EPOCHS 2
#endif

#define WORDS (2 * RANKS)
#define FLAG(r) (r)
#define ASLEEP(r) (RANKS + (r))

#include "tso.pml"
#include "calls.pml"

bool in_futex[RANKS];

inline wake(peer)
{
#ifdef WAKE_WITHOUT_SWAP
    in_futex[peer] = false
#else
#ifndef WEAK
    FENCE(me); /* a locked instruction; C11's relaxed exchange orders nothing */
#endif
    d_step {
        old = LOOK(ASLEEP(peer));
        memory[ASLEEP(peer)] = 0
    };
    if
    :: old -> in_futex[peer] = false; old = 0
    :: else
    fi
#endif
}

inline post(v)
{
    POST(me, FLAG(me), v);
#if defined(FENCES) || defined(WRITER_FENCE_ONLY)
    FENCE(me);
#endif
    do
    :: r < RANKS && r != me ->
        if
        :: LOOK(ASLEEP(r)) -> wake(r)
        :: else
        fi;
        r++
    :: r < RANKS && r == me -> r++
    :: r == RANKS -> break
    od;
    r = 0
}

inline sleeper_barrier()
{
#if defined(FENCES) || defined(SLEEPER_FENCE_ONLY)
    FENCE(me)
#elif defined(NO_BARRIER) || defined(WRITER_FENCE_ONLY)
    skip
#else
    MEMBARRIER(me, left)
#endif
}

inline sleep_once(peer, v)
{
    STORE(me, ASLEEP(me), 1);
    sleeper_barrier();
    if
#ifndef NO_SECOND_LOOK
    :: LOOK(FLAG(peer)) >= v
#endif
    :: else ->
        /* The kernel compares the word and queues the sleeper in one step. */
        d_step {
            if
            :: LOOK(ASLEEP(me)) == 1 -> in_futex[me] = true
            :: else
            fi
        };
        !in_futex[me]
    fi;
    STORE(me, ASLEEP(me), 0)
}

inline wait_asleep(peer, v)
{
    do
    :: LOOK(FLAG(peer)) >= v -> break
    :: else -> sleep_once(peer, v)
    od
}

proctype rank(byte me)
{
    byte e = 1;
    byte r, left, old;
    do
    :: e <= EPOCHS ->
        post(e);
        do
        :: r < RANKS && r != me -> wait_asleep(r, e); r++
        :: r < RANKS && r == me -> r++
        :: r == RANKS -> break
        od;
        r = 0;
        e++
    :: e > EPOCHS -> break
    od
}

init
{
    atomic {
        start_drains();
        start_ranks()
    }
}
