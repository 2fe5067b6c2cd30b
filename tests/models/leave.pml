/* SPDX-License-Identifier: Apache-2.0 */
/*
 * leave.pml - a rank that did its part and then went is not taken for one that failed
 *
 * Words of runtime/shm/layout.h: call_line.epoch; a rank's end is its pidfd or its goodbye.
 * Functions: shmrt_check_peers (runtime/sync/liveness.c), the waits of runtime/coll/oneshot.c.
 *
 * The ranks make some calls and go. One that waits may at any time find that a rank is gone; it then
 * looks again for what it waits for, and gives up if that is missing. A rank that said goodbye is
 * missed only by who waits for it. Property: nobody gives up, as no rank fails here.
 *
 *   -DROOTED    calls from or to a root: a rank may be through while others have not come
 * Fault: -DROOTED -DSILENT (no goodbye, as when a process ends without destroying its communicator).
 */
#ifndef EPOCHS
#define EPOCHS 2
#endif

#define WORDS RANKS
#define EPOCH(r) (r)

#include "tso.pml"
#include "calls.pml"

#define SHOWS(r, e) (call[e].pattern == all_to_all || (call[e].pattern == from_root) == ((r) == call[e].root))
#define READS(me, r, e) ((r) != (me) && SHOWS(r, e) && (call[e].pattern != to_root || (me) == call[e].root))

bool gone[RANKS];

#ifdef SILENT
#define IS_MISSED(r, peer) gone[r]
#else
#define IS_MISSED(r, peer) (gone[r] && (r) == (peer))
#endif

/* A wait; at any time it may look for ranks that are gone. */
inline wait_or_give_up(peer, e)
{
    do
    :: WAIT(EPOCH(peer), e) -> break
    :: IS_MISSED(0, peer) || IS_MISSED(1, peer) || IS_MISSED(RANKS - 1, peer) ->
        assert(LOOK(EPOCH(peer)) >= e);
        break
    od
}

inline wait_for_peers(e)
{
    do
    :: r < RANKS && READS(me, r, e) -> wait_or_give_up(r, e); r++
    :: r < RANKS && !READS(me, r, e) -> r++
    :: r == RANKS -> break
    od;
    r = 0
}

proctype rank(byte me)
{
    byte e = 1;
    byte r;
    do
    :: e <= EPOCHS ->
        atomic { enter_call(e); POST(me, EPOCH(me), e) };
        wait_for_peers(e);
        leave_call(e);
        e++
    :: e > EPOCHS -> break
    od;
    FENCE(me); /* the kernel's, on the way out */
    gone[me] = true
}

init
{
    atomic {
        start_drains();
        start_ranks()
    }
}
