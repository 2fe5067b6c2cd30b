/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call_line.pml - tiny and one-shot calls: two call lines and two small slots, alternating
 *
 * Words of runtime/shm/layout.h: call_line[2].epoch, call_line[2].tiny or small slot[2] (the same
 * to this model: one owner, one rule). Functions: shmrt_call_begin and shmrt_call_check
 * (runtime/coll/call.c), runtime/coll/oneshot.c.
 *
 * A call's payload is its epoch's number. The ranks make the same sequence of calls, any sequence
 * there is. Property: a rank reads exactly the payloads of its own epoch; nobody waits for ever.
 *
 *   -DROOTED          calls may also be from or to a root; then nobody waits for all, and a rank
 *                     asks before it rewrites a line. Without it nobody has to ask.
 *   -DPAYLOAD_WORDS   1 or 2 stores make the payload
 * Faults: -DNO_ENTRY_WAIT (does not ask), -DONE_LINE, -DFLAG_FIRST, and those of tso.pml.
 *
 * What a rank knows from an earlier look it need not look at again: flags only grow, so the wait
 * here would pass at once.
 */
#ifndef EPOCHS
#define EPOCHS 4
#endif
#ifndef PAYLOAD_WORDS
#define PAYLOAD_WORDS 1
#endif
#ifdef ONE_LINE
#define LINES 1
#else
#define LINES 2
#endif

#define LINE_WORDS (1 + PAYLOAD_WORDS)
#define WORDS (RANKS * LINES * LINE_WORDS)
#define EPOCH(r, e) (((r) * LINES + (e) % LINES) * LINE_WORDS)
#define PAYLOAD(r, e, i) (EPOCH(r, e) + 1 + (i))

#include "tso.pml"
#include "calls.pml"

#define SHOWS(r, e) (call[e].pattern == all_to_all || (call[e].pattern == from_root) == ((r) == call[e].root))
#define READS(me, r, e) ((r) != (me) && SHOWS(r, e) && (call[e].pattern != to_root || (me) == call[e].root))

/* The line of epoch e was used by e - 2; a peer that has entered e - 1 has left e - 2. */
inline wait_for_entry(e)
{
    do
    :: r < RANKS && r != me -> WAIT(EPOCH(r, e - 1), e - 1); r++
    :: r < RANKS && r == me -> r++
    :: r == RANKS -> break
    od;
    r = 0
}

inline write_payload(e)
{
    STORE(me, PAYLOAD(me, e, 0), e);
#if PAYLOAD_WORDS > 1
    STORE(me, PAYLOAD(me, e, 1), e)
#endif
}

inline read_payload(r, e)
{
    EXPECT(me, PAYLOAD(r, e, 0), e);
#if PAYLOAD_WORDS > 1
    EXPECT(me, PAYLOAD(r, e, 1), e)
#endif
}

inline begin_call(e)
{
#ifdef FLAG_FIRST
    POST(me, EPOCH(me, e), e);
#endif
    if
    :: SHOWS(me, e) -> write_payload(e)
    :: else
    fi;
#ifndef FLAG_FIRST
    POST(me, EPOCH(me, e), e)
#endif
}

inline read_peers(e)
{
    do
    :: r < RANKS && READS(me, r, e) -> WAIT(EPOCH(r, e), e); r++
    :: r < RANKS && !READS(me, r, e) -> r++
    :: r == RANKS -> break
    od;
    r = 0;
    do
    :: r < RANKS && READS(me, r, e) -> read_payload(r, e); r++
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
    :: atomic { e <= EPOCHS ->
        enter_call(e);
#if defined(ROOTED) && !defined(NO_ENTRY_WAIT)
        if
        :: e > 2 -> wait_for_entry(e)
        :: else
        fi;
#endif
        begin_call(e)
       };
       atomic {
        read_peers(e);
        leave_call(e);
        e++
       }
    :: e > EPOCHS -> break
    od;
    END_OF_RANK(me)
}

init
{
    atomic {
        start_drains();
        start_ranks()
    }
}
