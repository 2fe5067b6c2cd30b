/* SPDX-License-Identifier: Apache-2.0 */
/*
 * abort.pml - why a rank gave up, told once and read by all
 *
 * Words of runtime/shm/layout.h: abort_record.state of one rank, and one word for its code and text.
 * Functions: shmrt_fail, shmrt_has_failed, shmrt_check_aborts (runtime/sync/failure.c).
 *
 * RANKS counts threads here: the last one is of another rank, the others are lanes of the one whose
 * record it is. Each lane may fail at any time, with words of its own. Property: one of them writes,
 * and whoever finds the record finished reads all of it.
 *
 * Faults: -DNO_CLAIM (whoever fails writes), -DFLAG_FIRST, and those of tso.pml.
 */
#define EPOCHS 0
#define WORDS 3
#define STATE 0
#define TEXT(i) (1 + (i))
#define ALIVE 0
#define CLAIMED 1
#define ABORTED 2
#define READER (RANKS - 1)

#include "tso.pml"
#include "calls.pml"

byte winner; /* whose words they are; as wide as the text in this model */

inline read_record()
{
    WAIT(STATE, ABORTED);
    EXPECT(me, TEXT(0), winner);
    EXPECT(me, TEXT(1), winner)
}

inline write_record()
{
    winner = me + 1;
#ifdef FLAG_FIRST
    POST(me, STATE, ABORTED);
#endif
    STORE(me, TEXT(0), me + 1);
    STORE(me, TEXT(1), me + 1);
#ifndef FLAG_FIRST
    POST(me, STATE, ABORTED)
#endif
}

/* The compare and exchange of shmrt_fail. A loser that comes before the text is finished has no
 * words; another that comes after it reads them. */
inline fail()
{
    if
#ifdef NO_CLAIM
    :: true -> write_record()
#else
    :: atomic { LOOK(STATE) == ALIVE -> memory[STATE] = CLAIMED }; write_record()
    :: LOOK(STATE) == CLAIMED
    :: LOOK(STATE) == ABORTED -> read_record()
#endif
    fi
}

proctype rank(byte me)
{
    if
    :: me != READER -> fail()
    :: me == READER -> read_record()
    fi
}

init
{
    atomic {
        start_drains();
        start_ranks()
    }
}
