/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pairwise.pml - send and receive: for each ordered pair a ring of slots in the sender's segment
 *
 * Words of runtime/shm/layout.h: pair_flags.sent (of the sender), pair_flags.taken (of the
 * receiver) and the channel, for each ordered pair. Functions: send_chunk, take_chunk
 * (runtime/coll/pair.c).
 *
 * The pair's message number n carries n. All ranks go through one sequence of messages, any there
 * is, and leave out those that are not theirs. Property: the n-th receive gets n; nobody waits for
 * ever.
 *
 * Faults: -DNO_TAKEN_WAIT, -DFLAG_FIRST, and those of tso.pml.
 */
#ifndef MESSAGES
#define MESSAGES 6
#endif
#ifndef SLOTS
#define SLOTS 2
#endif

#define PAIR_WORDS (2 + SLOTS)
#define WORDS (RANKS * RANKS * PAIR_WORDS)
#define FLAG_OF(w) ((w) % PAIR_WORDS)
#define SENT_FLAG 0
#define TAKEN_FLAG 1
#define SENT(p) ((p) * PAIR_WORDS)
#define TAKEN(p) ((p) * PAIR_WORDS + 1)
#define SLOT(p, n) ((p) * PAIR_WORDS + 2 + (n) % SLOTS)

#include "tso.pml"
#define EPOCHS 0
#include "calls.pml"

/* Who sends to whom; the first rank to come there chooses. */
typedef message {
    bool chosen;
    byte from;
    byte to;
};
message messages[MESSAGES];

inline choose_message(m)
{
    atomic {
        if
        :: messages[m].chosen
        :: else ->
            choose_rank(messages[m].from);
            if
            :: messages[m].to = (messages[m].from + 1) % RANKS
            :: messages[m].to = (messages[m].from + RANKS - 1) % RANKS
            fi;
            messages[m].chosen = true
        fi
    }
}

inline send(p, n)
{
#ifndef NO_TAKEN_WAIT
    WAIT_ADDING(TAKEN(p), SLOTS, n);
#endif
#ifdef FLAG_FIRST
    POST(me, SENT(p), n);
    STORE(me, SLOT(p, n), n)
#else
    STORE(me, SLOT(p, n), n);
    POST(me, SENT(p), n)
#endif
}

inline receive(p, n)
{
    WAIT(SENT(p), n);
    EXPECT(me, SLOT(p, n), n);
    ACCEPT(me);
    POST(me, TAKEN(p), n)
}

#define PAIR (messages[m].from * RANKS + messages[m].to)

proctype rank(byte me)
{
    byte m;
    byte to[RANKS], from[RANKS]; /* messages so far */
    do
    :: atomic { m < MESSAGES ->
        choose_message(m);
        if
        :: messages[m].from == me ->
            to[messages[m].to]++;
            send(PAIR, to[messages[m].to])
        :: messages[m].to == me ->
            from[messages[m].from]++;
            receive(PAIR, from[messages[m].from])
        :: else
        fi;
        m++
       }
    :: m == MESSAGES -> break
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
