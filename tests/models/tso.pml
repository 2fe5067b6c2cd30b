/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tso.pml - shared memory as the CPU shows it, for the models beside it; and ranks that die
 *
 * Spin interleaves whole statements, which is sequential consistency; no CPU gives that. Here each
 * rank has a buffer of accesses that have not happened yet, and a drain process that lets them
 * happen at any later time:
 *
 *   default  x86 (TSO). The buffer holds stores and is a queue. Loads happen at once.
 *   -DWEAK   as C11's release and acquire allow it (Arm, RISC-V). The buffer holds stores and plain
 *            loads, which happen in any order. A release waits for all earlier accesses, but later
 *            ones may pass it. Two accesses to one word keep their order.
 *   -DRACES  no buffer, but clocks of what happened before what; see races.pml.
 *
 * A wait is an acquire load, so nothing after it happens before it. Where it has lost its acquire, it
 * goes into the buffer like a plain load, and the rank goes on: later loads then run ahead of it, as
 * a CPU's do that guesses how a branch will go. So do later stores, which no CPU lets pass a branch;
 * but C11 does not promise it.
 *
 * A model defines RANKS, WORDS (of shared memory, all zero at first) and DEPTH (accesses a rank can
 * have pending), then includes this file, starts start_drains() and uses:
 *
 *   STORE(me, word, v)     plain store
 *   POST(me, word, v)      store with release: shmrt_post without its wake-ups
 *   WAIT(word, v)          until an acquire load sees at least v: shmrt_wait. Only for others' words
 *   WAIT_ADDING(word, more, v)  the same for the word's value plus more, as bytes can't be negative
 *   LOOK(word)             the value of a load that happens at once. Only for others' words
 *   EXPECT(me, word, v)    plain load, whose value has to be v
 *   FENCE(me)              mfence, a locked instruction, or a seq_cst fence
 *   MEMBARRIER(me, left)   a full barrier here, then at some time in every other rank, in any order
 *
 * What a rank puts into its buffer nobody else sees, and a wait changes nothing. So a model may
 * join to one atomic step: waits, then loads, then stores. What comes after out of that order starts
 * the next step, since between the two anything may happen elsewhere.
 *
 *   ACCEPT(me)             the call is through, and its data goes to the caller
 *   END_OF_RANK(me)        last in each rank
 *
 * With -DDEATHS=n, on x86 only, up to n ranks fail, at any step: before any store, or in any wait. One
 * dies (SIGKILL: what it has stored becomes visible, then its end does), or gives up by itself, as one
 * that is interrupted or past its deadline does. A wait in which what is awaited is not there ends
 * when any rank is dead or gave up (shmrt_await_check), and the rank gives up with it. Then data that is not
 * the call's own may be read, but not accepted: EXPECT only remembers it, until ACCEPT. Without
 * deadlines nobody may be left waiting. A model may say in AFTER_GIVING_UP what the caller does next.
 *
 * Faults, for controls: -DNO_DEATH_CHECK (waits look at nobody's end), -DRELAXED_POST (flags are stored without release), -DRELAXED_WAIT (flags are
 * awaited without acquire), and -DRELAXED_POST_OF=FLAG, -DRELAXED_WAIT_OF=FLAG for one of the flags
 * that the model's FLAG_OF(word) tells apart.
 */
#if defined(RELAXED_POST_OF)
#define POST_IS_RELAXED(w) (FLAG_OF(w) == RELAXED_POST_OF)
#elif defined(RELAXED_POST)
#define POST_IS_RELAXED(w) true
#else
#define POST_IS_RELAXED(w) false
#endif

#if defined(RELAXED_WAIT_OF)
#define RELAXED_WAIT
#define WAIT_IS_RELAXED(w) (FLAG_OF(w) == RELAXED_WAIT_OF)
#elif defined(RELAXED_WAIT)
#define WAIT_IS_RELAXED(w) true
#else
#define WAIT_IS_RELAXED(w) false
#endif

#define LOOK(w) memory[w]

#ifdef RACES
#include "races.pml"
#else
#ifndef DEPTH
#define DEPTH 4
#endif

#define PLAIN_STORE 0
#define PLAIN_LOAD 1
#define RELEASE_STORE 2
#define RELAXED_WAIT_FOR 3

typedef pending_accesses {
    byte count;
    byte kind[DEPTH];
    byte word[DEPTH];
    byte value[DEPTH]
};

byte memory[WORDS];
pending_accesses pending[RANKS];

inline append(me, k, w, v)
{
    atomic {
        pending[me].count < DEPTH;
        pending[me].kind[pending[me].count] = k;
        pending[me].word[pending[me].count] = w;
        pending[me].value[pending[me].count] = v;
        pending[me].count++
    }
}

#ifdef DEATHS
byte deaths;         /* ranks that have failed of their own accord */
byte dead, given_up; /* a bit for each rank: its end is visible; its abort record is */
bool tainted[RANKS]; /* has read what is not its call's */

#define MAY_FAIL if :: deaths < DEATHS -> deaths++; goto died :: true fi
#ifdef NO_DEATH_CHECK
#define SOMEBODY_FAILED false
#else
#define SOMEBODY_FAILED ((dead | given_up) != 0)
#endif
#ifndef AFTER_GIVING_UP
#define AFTER_GIVING_UP skip
#endif
#define ACCEPT(me) assert(!tainted[me])
#define END_OF_RANK(me) \
    goto over; \
gave_up: \
    FENCE(me); \
    given_up = given_up | (1 << (me)); \
    AFTER_GIVING_UP; \
    goto over; \
died: \
    FENCE(me); \
    dead = dead | (1 << (me)); \
over: \
    skip
#else
#define MAY_FAIL skip
#define ACCEPT(me) skip
#define END_OF_RANK(me) skip
#endif

#ifdef DEATHS
#define STORE(me, w, v) MAY_FAIL; append(me, PLAIN_STORE, w, v)
#define POST(me, w, v) MAY_FAIL; append(me, RELEASE_STORE, w, v)
#else
#define STORE(me, w, v) append(me, PLAIN_STORE, w, v)
#define POST(me, w, v) append(me, (POST_IS_RELAXED(w) -> PLAIN_STORE : RELEASE_STORE), w, v)
#endif

/* The rank is `me`, as it is called in every model. */
inline await(w, more, v)
{
    if
    :: memory[w] + (more) >= (v)
    :: WAIT_IS_RELAXED(w) && memory[w] + (more) < (v) -> append(me, RELAXED_WAIT_FOR, w, (v) - (more))
    fi
}

#if defined(WEAK) && defined(RELAXED_WAIT) /* x86 keeps the order of loads */
#define WAIT(w, v) await(w, 0, v)
#define WAIT_ADDING(w, more, v) await(w, more, v)
#elif defined(DEATHS)
#define WAIT(w, v) WAIT_ADDING(w, 0, v)
inline WAIT_ADDING(w, more, v)
{
    if
    :: memory[w] + (more) >= (v)
    :: memory[w] + (more) < (v) && SOMEBODY_FAILED -> goto gave_up
    :: memory[w] + (more) < (v) && deaths < DEATHS -> deaths++; goto died
    :: memory[w] + (more) < (v) && deaths < DEATHS -> deaths++; goto gave_up
    fi
}
#else
#define WAIT(w, v) (memory[w] >= (v))
#define WAIT_ADDING(w, more, v) (memory[w] + (more) >= (v))
#endif
#define FENCE(me) (pending[me].count == 0)

/* The newest own pending store to the word is what a load sees (i: its place, DEPTH: none). */
inline find_own_store(me, w, i)
{
    i = pending[me].count;
    do
    :: i > 0 && (pending[me].word[i - 1] != (w) || pending[me].kind[i - 1] == PLAIN_LOAD) -> i--
    :: else -> break
    od
}

byte own_store; /* scratch of EXPECT, zero between uses */

inline EXPECT(me, w, v)
{
    atomic {
        find_own_store(me, w, own_store);
        if
#ifdef DEATHS
        :: own_store > 0 -> tainted[me] = tainted[me] || pending[me].value[own_store - 1] != (v)
        :: else -> tainted[me] = tainted[me] || memory[w] != (v)
#else
        :: own_store > 0 -> assert(pending[me].value[own_store - 1] == (v))
#ifdef WEAK
        :: else -> own_store = 0; append(me, PLAIN_LOAD, w, v)
#else
        :: else -> assert(memory[w] == (v))
#endif
#endif
        fi;
        own_store = 0
    }
}

#define EVERY_RANK ((1 << RANKS) - 1)
#define EMPTY_BIT(r) :: atomic { (left & (1 << r)) && pending[r].count == 0 -> left = left & ~(1 << r) }

/* The kernel puts a full barrier into the caller, then into each running thread of the others.
 * left: a byte of the caller, zero before and after. */
inline MEMBARRIER(me, left)
{
    FENCE(me);
    left = EVERY_RANK & ~(1 << me);
    do
    EMPTY_BIT(0)
    EMPTY_BIT(1)
#if RANKS > 2
    EMPTY_BIT(2)
#endif
    :: left == 0 -> break
    od
}

/* Access i may happen before access j, which was issued earlier. */
#define PASSES(i, j) (pending[me].word[i] != pending[me].word[j])
#define IS_THERE(i) (pending[me].count > i && (pending[me].kind[i] != RELAXED_WAIT_FOR || \
                     memory[pending[me].word[i]] >= pending[me].value[i]))
#define MAY_LEAD(i) (IS_THERE(i) && pending[me].kind[i] != RELEASE_STORE)

/* Access i happens, and leaves the buffer. */
inline happen(i)
{
    if
    :: pending[me].kind[i] == PLAIN_LOAD -> assert(memory[pending[me].word[i]] == pending[me].value[i])
    :: pending[me].kind[i] == RELAXED_WAIT_FOR
    :: else -> memory[pending[me].word[i]] = pending[me].value[i]
    fi;
    pending[me].count--;
    gap = i;
    do
    :: gap < pending[me].count ->
        pending[me].kind[gap] = pending[me].kind[gap + 1];
        pending[me].word[gap] = pending[me].word[gap + 1];
        pending[me].value[gap] = pending[me].value[gap + 1];
        gap++
    :: else -> break
    od;
    pending[me].kind[gap] = 0;
    pending[me].word[gap] = 0;
    pending[me].value[gap] = 0;
    gap = 0
}

proctype drain(byte me)
{
    byte gap;
end:
    do
    :: d_step { IS_THERE(0) -> happen(0) }
#ifdef WEAK
    :: d_step { MAY_LEAD(1) && PASSES(1, 0) -> happen(1) }
#if DEPTH > 2
    :: d_step { MAY_LEAD(2) && PASSES(2, 0) && PASSES(2, 1) -> happen(2) }
#endif
#if DEPTH > 3
    :: d_step { MAY_LEAD(3) && PASSES(3, 0) && PASSES(3, 1) && PASSES(3, 2) -> happen(3) }
#endif
#if DEPTH > 4
#error "name the further accesses that may lead"
#endif
#endif
    od
}

inline start_drains()
{
    run drain(0);
    run drain(1);
#if RANKS > 2
    run drain(2)
#endif
}
#endif
