/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zero_copy.pml - all-reduce in place of tensors that all ranks can reach
 *
 * Words of runtime/shm/layout.h: call_line.epoch (one line: two of them are call_line.pml's
 * matter), lane_flags.gathered of one lane; and each rank's tensor, one word a part, in memory of
 * shmrt_alloc. Function: shmrt_direct_step
 * (runtime/coll/direct.c).
 *
 * Call e's terms are INPUT(e), its results SUM(e). Between two calls the caller writes its next
 * terms at once, or frees the block, so that another use writes and reads it (REUSED).
 * Property: all terms read and all results are the call's own; after its return nobody touches a
 * rank's tensor.
 *
 * With -DDEATHS the caller writes to the tensor (REUSED) also when its rank has given up: what the others
 * read there is nobody's result.
 *
 * Faults: -DNO_ENTRY_WAIT, -DNO_GATHERED_WAIT, -DFLAG_FIRST, -DNO_CONFIRM, and those of tso.pml.
 */
#ifndef EPOCHS
#define EPOCHS 3
#endif

#define RANK_WORDS (2 + RANKS)
#define WORDS (RANKS * RANK_WORDS)
#define ENTERED 0
#define GATHERED 1
#define FLAG(r, flag) ((r) * RANK_WORDS + (flag))
#define FLAG_OF(w) ((w) % RANK_WORDS)
#define TENSOR(r, part) ((r) * RANK_WORDS + 2 + (part))

#define INPUT(e) (3 * (e))
#define SUM(e) (3 * (e) + 1)
#define REUSED(e) (3 * (e) + 2)

/* The caller has its tensor back, and may write to it. */
#define AFTER_GIVING_UP r = 0; write_tensor(REUSED(e))

#include "tso.pml"
#include "calls.pml"

inline write_tensor(v)
{
    do
    :: r < RANKS -> STORE(me, TENSOR(me, r), v); r++
    :: r == RANKS -> break
    od;
    r = 0
}

inline expect_tensor(v)
{
    do
    :: r < RANKS -> EXPECT(me, TENSOR(me, r), v); r++
    :: r == RANKS -> break
    od;
    r = 0
}

inline wait_for_all(flag, e)
{
    do
    :: r < RANKS && r != me -> WAIT(FLAG(r, flag), e); r++
    :: r < RANKS && r == me -> r++
    :: r == RANKS -> break
    od;
    r = 0
}

/* The own part of all tensors. */
inline read_terms(e)
{
    do
    :: r < RANKS -> EXPECT(me, TENSOR(r, me), INPUT(e)); r++
    :: r == RANKS -> break
    od;
    r = 0
}

inline write_sums(e)
{
    do
    :: r < RANKS -> STORE(me, TENSOR(r, me), SUM(e)); r++
    :: r == RANKS -> break
    od;
    r = 0
}

inline reduce_part(e)
{
    read_terms(e);
#ifdef FLAG_FIRST
    POST(me, FLAG(me, GATHERED), e);
#endif
    write_sums(e);
#ifndef FLAG_FIRST
    POST(me, FLAG(me, GATHERED), e)
#endif
}

/* shmrt_confirm_reads: who gave up has its tensor back */
inline confirm()
{
#if defined(DEATHS) && !defined(NO_CONFIRM)
    if
    :: given_up != 0 -> goto gave_up
    :: else
    fi
#else
    skip
#endif
}

proctype rank(byte me)
{
    byte e = 1;
    byte r;
    bool reuse;
    do
    :: atomic {
        e <= EPOCHS ->
            write_tensor(INPUT(e));
            POST(me, FLAG(me, ENTERED), e)
       };
       atomic {
#ifndef NO_ENTRY_WAIT
            wait_for_all(ENTERED, e);
#endif
            reduce_part(e)
       };
       atomic {
#ifndef NO_GATHERED_WAIT
            wait_for_all(GATHERED, e);
#endif
            confirm();
            expect_tensor(SUM(e));
            ACCEPT(me);
            if
            :: true
            :: reuse = true; write_tensor(REUSED(e))
            fi
       };
       atomic {
            if
            :: reuse -> expect_tensor(REUSED(e)); reuse = false
            :: else
            fi;
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
