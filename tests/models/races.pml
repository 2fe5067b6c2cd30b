/* SPDX-License-Identifier: Apache-2.0 */
/*
 * races.pml - the memory of tso.pml as C11 defines it: no order but "happens before"
 *
 * Nothing is reordered here. Instead each rank has a clock for every rank (its own counts its
 * releases), and each word remembers who wrote and read it when. An acquire that sees a release
 * takes over the releaser's clocks. Two accesses to one word, of two ranks, one of them a store, are a
 * data race unless the second rank's clock for the first has come that far; a race is an error.
 *
 * A program without one has the same outcomes on every CPU that C11 can be compiled to, those included
 * on which a store becomes visible to one rank before another (POWER): to see what tso.pml's buffers
 * show with three ranks would take too many states, this does not. Flags themselves are atomic, and a
 * wait for a counter that only grows has one outcome, however late it sees it; so they need no order
 * here but what they give to other words. The race for sleep is not of this kind: sleep.pml.
 */
typedef clocks {
    byte about[RANKS];
};

byte memory[WORDS];
clocks known[RANKS];    /* [me].about[me]: 1 + my releases; [me].about[r]: the same of r, as far as I know */
clocks released[WORDS]; /* what who acquires the word comes to know */
clocks read_at[WORDS];  /* by each rank's own clock, 0: not since the last store */
byte wrote_at[WORDS];   /* 0: never */
byte wrote_by[WORDS];
byte at;                /* scratch, zero between uses */

inline STORE(me, w, v)
{
    d_step {
        assert(wrote_at[w] <= known[me].about[wrote_by[w]]);
        wrote_by[w] = me;
        wrote_at[w] = known[me].about[me];
        memory[w] = v;
        do
        :: at < RANKS ->
            assert(read_at[w].about[at] <= known[me].about[at]);
            read_at[w].about[at] = 0;
            at++
        :: else -> break
        od;
        at = 0
    }
}

inline EXPECT(me, w, v)
{
    d_step {
        assert(wrote_at[w] <= known[me].about[wrote_by[w]]);
        assert(memory[w] == (v));
        read_at[w].about[me] = known[me].about[me]
    }
}

inline POST(me, w, v)
{
    d_step {
        memory[w] = v;
        do
        :: at < RANKS && !POST_IS_RELAXED(w) -> released[w].about[at] = known[me].about[at]; at++
        :: else -> break
        od;
        at = 0;
        known[me].about[me]++
    }
}

/* The rank is `me`, as it is called in every model. */
inline WAIT_ADDING(w, more, v)
{
    d_step {
        memory[w] + (more) >= (v);
        do
        :: at < RANKS && !WAIT_IS_RELAXED(w) ->
            if
            :: released[w].about[at] > known[me].about[at] -> known[me].about[at] = released[w].about[at]
            :: else
            fi;
            at++
        :: else -> break
        od;
        at = 0
    }
}

#define WAIT(w, v) WAIT_ADDING(w, 0, v)

inline start_drains()
{
    d_step {
        do
        :: at < RANKS -> known[at].about[at] = 1; at++
        :: else -> break
        od;
        at = 0
    }
}

#define ACCEPT(me) skip
#define END_OF_RANK(me) skip
