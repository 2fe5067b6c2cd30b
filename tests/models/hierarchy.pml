/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hierarchy.pml - large calls by groups: one lane's rings, where most ranks do not hear of most
 *
 * Words of runtime/shm/layout.h: call_line.epoch, lane_flags.{scattered,partial,gathered,relayed,
 * done}, and the ring of one lane, with one word of a slot for all terms that others of the group
 * combine, one for all that the owner holds for others (a group's partial result, then what it
 * relays), and one for what is for all. Private: done_seen. Functions: shmrt_hierarchy_step with its
 * stages, and for calls of another kind on the same ring shmrt_exchange_step, in runtime/coll.
 *
 * Three ranks lie in two groups, 0 and 1 in one: 0 stands in for 2 there, and 2 for both. Two ranks
 * are one group (-DTOGETHER) or two (-DAPART): what is then left is checked with -DWEAK too.
 *
 * -DIN_POOL: a broadcast's root has its vector in its pool, so writes nothing to its ring, and asks
 * nobody.
 *
 * Terms, blocks and totals of round t are t + 1; partial results 2 (t + 1), and what is relayed one
 * more. Property: whoever reads a part reads its round's and kind; nobody waits for ever.
 *
 * Faults: -DCOMBINE_UNASKED (of its group's done), -DRELAY_ASKS_GROUP (in a broadcast's first rounds
 * too), -DWRITER_ASKS_GROUP (not the stand-ins, of a block), -DSLOTS=3, -DNO_CHECK (of the call
 * lines; the credit that they give is taken all the same), -DFLAG_FIRST, -DRELAXED_POST.
 */
#define BY_GROUPS
#ifndef EPOCHS
#define EPOCHS 1
#endif
#ifndef MAX_ROUNDS
#define MAX_ROUNDS 2
#endif
#ifndef SLOTS
#define SLOTS 4
#endif

#define RANK_WORDS (6 + 3 * SLOTS)
#define WORDS (RANKS * RANK_WORDS)
#define SCATTERED 0
#define PARTIAL 1
#define GATHERED 2
#define RELAYED 3
#define DONE 4
#define EPOCH 5
#define FLAG(r, flag) ((r) * RANK_WORDS + (flag))
#define SLOT(r, kind, t) ((r) * RANK_WORDS + 6 + (kind) * SLOTS + (t) % SLOTS)
#define TERMS(r, t) SLOT(r, 0, t)
#define HELD(r, t) SLOT(r, 1, t)
#define FOR_ALL(r, t) SLOT(r, 2, t)

#define choose_rounds(out) select_rounds(out)

#include "tso.pml"

inline select_rounds(out)
{
    if
    :: out = MAX_ROUNDS
    :: MAX_ROUNDS > 1 -> out = 1
    fi
}

#include "calls.pml"

#define PATTERN call[e].pattern
#define ROUNDS call[e].rounds
#define ROOT call[e].root

#ifdef TOGETHER
#define GROUP_OF(r) 0
#define STANDS_IN(s, r) false
#define HAS_WARDS(r) false
#endif
#ifdef APART
#define GROUP_OF(r) (r)
#define STANDS_IN(s, r) ((s) != (r))
#define HAS_WARDS(r) true
#endif
#ifndef GROUP_OF
#define GROUP_OF(r) ((r) / 2)
#define STANDS_IN(s, r) (GROUP_OF(s) != GROUP_OF(r) && (s) != 1)
#define HAS_WARDS(r) ((r) != 1)
#endif
#define NEAR(r) (GROUP_OF(r) == GROUP_OF(me))

/* In all of these, r runs over the ranks and is 0 before and after; who is a condition on r. */

inline wait_for(who, flag, value)
{
    do
    :: r < RANKS && r != me && (who) -> WAIT(FLAG(r, flag), value); r++
    :: r < RANKS && !(r != me && (who)) -> r++
    :: r == RANKS -> break
    od;
    r = 0
}

/* shmrt_lane_may_write_for */
inline ask(who, t)
{
    do
    :: r < RANKS && r != me && (who) && seen[r] + SLOTS < t + 1 ->
        atomic {
            WAIT_ADDING(FLAG(r, DONE), SLOTS, t + 1);
            seen[r] = t + 1 - SLOTS;
            r++
        }
    :: r < RANKS && !(r != me && (who) && seen[r] + SLOTS < t + 1) -> r++
    :: r == RANKS -> break
    od;
    r = 0
}

inline check_lines(who)
{
#ifndef NO_CHECK
    wait_for(who, EPOCH, e);
#endif
    d_step {
        do
        :: r < RANKS && (who) && seen[r] < first -> seen[r] = first; r++
        :: r < RANKS && !((who) && seen[r] < first) -> r++
        :: else -> break
        od;
        r = 0
    }
}

inline expect(who, part, value)
{
    do
    :: r < RANKS && r != me && (who) -> EXPECT(me, part, value); r++
    :: r < RANKS && !(r != me && (who)) -> r++
    :: r == RANKS -> break
    od;
    r = 0
}

inline publish(part, what, flag, value)
{
#ifdef FLAG_FIRST
    POST(me, FLAG(me, flag), value);
    STORE(me, part, what)
#else
    STORE(me, part, what);
    POST(me, FLAG(me, flag), value)
#endif
}

#define DOES(lag) (s >= lag && s - lag < ROUNDS)
#define AT(lag) (first + s - lag)

inline write_terms()
{
    if
    :: DOES(0) ->
        if
        :: s == 0 -> ask(true, first)
        :: else
        fi;
        publish(TERMS(me, AT(0)), AT(0) + 1, SCATTERED, AT(0) + 1)
    :: else
    fi
}

inline combine()
{
    if
    :: DOES(1) ->
        wait_for(NEAR(r), SCATTERED, AT(1) + 1);
#ifndef COMBINE_UNASKED
        if
        :: PATTERN == group_allreduce -> ask(NEAR(r), AT(1))
        :: else -> ask(STANDS_IN(me, r), AT(1))
        fi;
#endif
        expect(NEAR(r), TERMS(r, AT(1)), AT(1) + 1);
        publish(HELD(me, AT(1)), 2 * (AT(1) + 1), PARTIAL, AT(1) + 1)
    :: else
    fi
}

inline total()
{
    if
    :: DOES(2) ->
        wait_for(STANDS_IN(r, me), PARTIAL, AT(2) + 1);
        expect(STANDS_IN(r, me), HELD(r, AT(2)), 2 * (AT(2) + 1));
        if
        :: PATTERN == group_allreduce ->
            publish(FOR_ALL(me, AT(2)), AT(2) + 1, GATHERED, AT(2) + 1)
        :: else -> POST(me, FLAG(me, DONE), AT(2) + 1)
        fi
    :: else
    fi
}

/* flag: of what is relayed; part: where it lies */
inline relay(lag, who, flag, part, may_overwrite)
{
    if
    :: DOES(lag) ->
        wait_for(who, flag, AT(lag) + 1);
        ask(may_overwrite, AT(lag));
        expect(who, part, AT(lag) + 1);
        if
        :: HAS_WARDS(me) ->
            publish(HELD(me, AT(lag)), 2 * (AT(lag) + 1) + 1, RELAYED, AT(lag) + 1)
        :: else -> POST(me, FLAG(me, RELAYED), AT(lag) + 1)
        fi
    :: else
    fi
}

inline collect(lag, flag)
{
    if
    :: DOES(lag) ->
        wait_for(NEAR(r), flag, AT(lag) + 1);
        wait_for(NEAR(r), RELAYED, AT(lag) + 1);
        expect(NEAR(r), FOR_ALL(r, AT(lag)), AT(lag) + 1);
        expect(NEAR(r) && HAS_WARDS(r), HELD(r, AT(lag)), 2 * (AT(lag) + 1) + 1);
        POST(me, FLAG(me, DONE), AT(lag) + 1)
    :: else
    fi
}

inline check_all()
{
    if
    :: s == 0 -> check_lines(true)
    :: else
    fi
}

inline run_allreduce()
{
    do
    :: atomic { s < ROUNDS + 4 -> write_terms() };
       atomic { check_all() };
       atomic { combine() };
       atomic { total() };
       atomic { relay(3, STANDS_IN(me, r), GATHERED, FOR_ALL(r, AT(3)), NEAR(r)) };
       atomic { collect(4, GATHERED); s++ }
    :: s == ROUNDS + 4 -> break
    od
}

inline run_reduce_scatter()
{
    do
    :: atomic { s < ROUNDS + 2 -> write_terms() };
       atomic { check_all() };
       atomic { combine() };
       atomic { total(); s++ }
    :: s == ROUNDS + 2 -> break
    od
}

#ifdef WRITER_ASKS_GROUP
#define READS_BLOCK(r) NEAR(r)
#else
#define READS_BLOCK(r) (NEAR(r) || STANDS_IN(r, me))
#endif

inline write_block()
{
    if
    :: DOES(0) ->
        if
        :: s == 0 -> ask(true, first)
        :: else -> ask(READS_BLOCK(r), AT(0))
        fi;
        publish(FOR_ALL(me, AT(0)), AT(0) + 1, SCATTERED, AT(0) + 1)
    :: else
    fi
}

inline run_allgather()
{
    do
    :: atomic { s < ROUNDS + 2 -> write_block() };
       atomic { check_all() };
       atomic { relay(1, STANDS_IN(me, r), SCATTERED, FOR_ALL(r, AT(1)), NEAR(r)) };
       atomic { collect(2, SCATTERED); s++ }
    :: s == ROUNDS + 2 -> break
    od
}

inline write_vector()
{
    if
#ifdef IN_POOL
    :: DOES(0) && me == ROOT -> POST(me, FLAG(me, SCATTERED), AT(0) + 1)
#else
    :: DOES(0) && me == ROOT ->
        ask(true, AT(0));
        publish(TERMS(me, AT(0)), AT(0) + 1, SCATTERED, AT(0) + 1)
#endif
    :: else
    fi
}

/* In a pool the root's vector is not of any round. */
inline expect_vector(lag)
{
#ifndef IN_POOL
    expect(r == ROOT, TERMS(r, AT(lag)), AT(lag) + 1)
#else
    skip
#endif
}

#ifdef RELAY_ASKS_GROUP
#define MAY_READ_RELAYED(r) NEAR(r)
#else
#define MAY_READ_RELAYED(r) (s < SLOTS + 1 || NEAR(r))
#endif

inline relay_vector()
{
    if
    :: DOES(1) ->
        wait_for(r == ROOT, SCATTERED, AT(1) + 1);
        ask(MAY_READ_RELAYED(r), AT(1));
        expect_vector(1);
        publish(HELD(me, AT(1)), 2 * (AT(1) + 1) + 1, RELAYED, AT(1) + 1)
    :: else
    fi
}

inline collect_vector()
{
    if
    :: DOES(2) && NEAR(ROOT) ->
        wait_for(r == ROOT, SCATTERED, AT(2) + 1);
        expect_vector(2);
        POST(me, FLAG(me, DONE), AT(2) + 1)
    :: DOES(2) && !NEAR(ROOT) ->
        wait_for(NEAR(r), RELAYED, AT(2) + 1);
        expect(NEAR(r), HELD(r, AT(2)), 2 * (AT(2) + 1) + 1);
        POST(me, FLAG(me, DONE), AT(2) + 1)
    :: else
    fi
}

inline run_broadcast()
{
    do
    :: atomic { s < ROUNDS + 2 -> write_vector() };
       atomic {
            if
            :: s == 0 && me != ROOT -> check_lines(r == ROOT)
            :: else
            fi
       };
       atomic {
            if
            :: !NEAR(ROOT) -> relay_vector()
            :: else
            fi
       };
       atomic { collect_vector(); s++ }
    :: s == ROUNDS + 2 -> break
    od
}

/* A call in one pass, which everyone reads everywhere; see ring.pml. */
inline run_exchange()
{
    do
    :: atomic {
            s <= ROUNDS;
            if
            :: s == 0 -> ask(true, first)
            :: else
            fi;
            if
            :: DOES(0) -> publish(FOR_ALL(me, AT(0)), AT(0) + 1, SCATTERED, AT(0) + 1)
            :: else
            fi
       };
       atomic { check_all() };
       atomic {
            if
            :: DOES(1) ->
                wait_for(true, SCATTERED, AT(1) + 1);
                expect(true, FOR_ALL(r, AT(1)), AT(1) + 1)
            :: else
            fi;
            s++
       }
    :: s > ROUNDS -> break
    od;
    POST(me, FLAG(me, DONE), first + ROUNDS)
}

/* shmrt_call_may_begin, for every rank */
inline wait_for_entry()
{
    wait_for(true, EPOCH, e - 1)
}

inline make_call()
{
    atomic { enter_call(e); wait_for_entry(); POST(me, FLAG(me, EPOCH), e) };
    if
    :: PATTERN == group_allreduce -> run_allreduce()
    :: PATTERN == group_reduce_scatter -> run_reduce_scatter()
    :: PATTERN == group_allgather -> run_allgather()
    :: PATTERN == group_root -> run_broadcast()
    :: else -> run_exchange()
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
