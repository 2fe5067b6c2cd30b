/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring.pml - large calls: one lane's ring, its flags, and what a lane knows of its peers
 *
 * Words of runtime/shm/layout.h: call_line.epoch (one line: that there are two is call_line.pml's
 * matter), lane_flags.{scattered,gathered,done}, and the ring of one lane, with one word for all of
 * a slot's scattered parts (the peers read different ones, by the same rule). Private: done_seen.
 * Functions: shmrt_exchange_step, shmrt_twoshot_step, shmrt_direct_step, and shmrt_lane_may_write,
 * shmrt_lane_check in runtime/coll.
 *
 * What is stored for round t is t + 1. Round numbers run on from call to call. The ranks make the
 * same sequence of calls, any sequence there is. Property: whoever reads a part reads its round's;
 * nobody waits for ever.
 *
 *   all_to_all, from_root, to_root   in one pass (exchange.c)
 *   two_shot                         in two passes (twoshot.c)
 *   direct                           tensors in pools: flags, but no slots; zero_copy.pml
 *
 * Faults: -DNO_DONE_WAIT, -DDONE_EARLY (before the round's reads), -DONLY_READERS_POST_DONE,
 * -DSLOTS=3 (an exchange needs four), -DNO_CHECK (of the call lines; the credit that they give is
 * taken all the same), -DFLAG_FIRST, and those of tso.pml.
 */
#define IN_ROUNDS
#ifndef EPOCHS
#define EPOCHS 2
#endif
#ifndef MAX_ROUNDS
#define MAX_ROUNDS 3
#endif
#ifndef SLOTS
#define SLOTS 4
#endif

#define RANK_WORDS (4 + 2 * SLOTS)
#define WORDS (RANKS * RANK_WORDS)
#define SCATTERED 0
#define GATHERED 1
#define DONE 2
#define EPOCH 3
#define FLAG(r, flag) ((r) * RANK_WORDS + (flag))
#define FLAG_OF(w) ((w) % RANK_WORDS)
#define SCATTER_PART(r, t) ((r) * RANK_WORDS + 4 + (t) % SLOTS)
#define GATHER_PART(r, t) ((r) * RANK_WORDS + 4 + SLOTS + (t) % SLOTS)

#define choose_rounds(out) select_rounds(out)

#include "tso.pml"

inline select_rounds(out)
{
    if
    :: call[e].pattern == direct -> out = 1
    :: call[e].pattern != direct -> out = MAX_ROUNDS
    :: call[e].pattern != direct && MAX_ROUNDS > 1 -> out = 1
    fi
}

#include "calls.pml"

#define PATTERN call[e].pattern
#define ROUNDS call[e].rounds
#define SYMMETRIC (PATTERN != from_root && PATTERN != to_root)
#define WRITES(r) (PATTERN != from_root || (r) == call[e].root)
#define READS(r) (PATTERN != to_root || (r) == call[e].root)

/* In all of these, r runs over the ranks and is 0 before and after. */

inline wait_for_writers(flag, value)
{
    do
    :: r < RANKS && r != me && WRITES(r) -> WAIT(FLAG(r, flag), value); r++
    :: r < RANKS && !(r != me && WRITES(r)) -> r++
    :: r == RANKS -> break
    od;
    r = 0
}

inline may_write(t)
{
    do
#ifndef NO_DONE_WAIT
    :: r < RANKS && r != me && seen[r] + SLOTS < t + 1 ->
        atomic {
            WAIT_ADDING(FLAG(r, DONE), SLOTS, t + 1);
            seen[r] = t + 1 - SLOTS;
            r++
        }
    :: r < RANKS && !(r != me && seen[r] + SLOTS < t + 1) -> r++
#else
    :: r < RANKS -> r++
#endif
    :: r == RANKS -> break
    od;
    r = 0
}

inline know(count)
{
    d_step {
        do
        :: r < RANKS -> seen[r] = count; r++
        :: else -> break
        od;
        r = 0
    }
}

/* A writer that has entered this call reads nothing of the calls before it. */
inline check_lines()
{
#ifndef NO_CHECK
    wait_for_writers(EPOCH, e);
#endif
    d_step {
        do
        :: r < RANKS && WRITES(r) && seen[r] < first -> seen[r] = first; r++
        :: r < RANKS && !(WRITES(r) && seen[r] < first) -> r++
        :: else -> break
        od;
        r = 0
    }
}

inline publish(part, flag, value)
{
#ifdef FLAG_FIRST
    POST(me, FLAG(me, flag), value);
    STORE(me, part, value)
#else
    STORE(me, part, value);
    POST(me, FLAG(me, flag), value)
#endif
}

/* from: 0 or SLOTS, the words after those that are scattered */
inline read_parts(from, t)
{
    do
    :: r < RANKS && r != me && WRITES(r) -> EXPECT(me, SCATTER_PART(r, t) + from, t + 1); r++
    :: r < RANKS && !(r != me && WRITES(r)) -> r++
    :: r == RANKS -> break
    od;
    r = 0
}

#define read_scattered(t) read_parts(0, t)
#define read_gathered(t) read_parts(SLOTS, t)

inline post_done(count)
{
    if
#ifdef ONLY_READERS_POST_DONE
    :: !READS(me)
    :: READS(me) -> POST(me, FLAG(me, DONE), count)
#else
    :: true -> POST(me, FLAG(me, DONE), count)
#endif
    fi
}

inline exchange_write()
{
    if
    :: s < ROUNDS && WRITES(me) ->
        if
        :: s == 0 || !SYMMETRIC -> may_write(first + s)
        :: else
        fi;
        publish(GATHER_PART(me, first + s), SCATTERED, first + s + 1)
    :: else
    fi
}

inline exchange_read()
{
#ifdef DONE_EARLY
    post_done(first + s);
#endif
    if
    :: READS(me) ->
        wait_for_writers(SCATTERED, first + s);
        read_gathered(first + s - 1)
    :: else
    fi;
#ifndef DONE_EARLY
    if
    :: !SYMMETRIC || s == ROUNDS -> post_done(first + s)
    :: else
    fi
#endif
}

inline exchange()
{
    do
    :: atomic { s <= ROUNDS -> exchange_write() };
       atomic {
            if
            :: s == 0 && READS(me) -> check_lines()
            :: else
            fi
       };
       atomic {
            if
            :: s > 0 -> exchange_read()
            :: else
            fi;
            s++
       }
    :: s > ROUNDS -> break
    od;
    atomic {
        if
        :: SYMMETRIC && ROUNDS >= 2 -> know(first + ROUNDS - 2)
        :: else
        fi
    }
}

inline scatter()
{
    if
    :: s < ROUNDS ->
        if
        :: s == 0 -> may_write(first)
        :: else
        fi;
        publish(SCATTER_PART(me, first + s), SCATTERED, first + s + 1)
    :: else
    fi
}

inline reduce()
{
    if
    :: s >= 1 && s <= ROUNDS ->
        wait_for_writers(SCATTERED, first + s);
        read_scattered(first + s - 1);
        publish(GATHER_PART(me, first + s - 1), GATHERED, first + s)
    :: else
    fi
}

inline gather()
{
    if
    :: s >= 2 ->
        wait_for_writers(GATHERED, first + s - 1);
        read_gathered(first + s - 2)
    :: else
    fi
}

inline run_two_shot()
{
    do
    :: atomic { s < ROUNDS + 2 -> scatter() };
       atomic {
            if
            :: s == 0 -> check_lines()
            :: else
            fi
       };
       atomic { reduce() };
       atomic { gather(); s++ }
    :: s == ROUNDS + 2 -> break
    od;
    atomic {
        if
        :: ROUNDS >= 2 -> know(first + ROUNDS - 2)
        :: else
        fi;
        post_done(first + ROUNDS)
    }
}

inline run_direct()
{
    atomic { check_lines(); POST(me, FLAG(me, GATHERED), first + 1) };
    atomic { wait_for_writers(GATHERED, first + 1); post_done(first + 1) }
}

/* shmrt_call_may_begin, for every rank */
inline wait_for_entry()
{
    do
    :: r < RANKS && r != me -> WAIT(FLAG(r, EPOCH), e - 1); r++
    :: r < RANKS && r == me -> r++
    :: r == RANKS -> break
    od;
    r = 0
}

inline make_call()
{
    atomic { enter_call(e); wait_for_entry(); POST(me, FLAG(me, EPOCH), e) };
    if
    :: PATTERN == two_shot -> run_two_shot()
    :: PATTERN == direct -> run_direct()
    :: else -> exchange()
    fi
}

proctype rank(byte me)
{
    byte e = 1;
    byte r, s, first;
    byte seen[RANKS];
    do
    :: e <= EPOCHS ->
        make_call();
        atomic {
            s = 0;
            first = first + ROUNDS;
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
