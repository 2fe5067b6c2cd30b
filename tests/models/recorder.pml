/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recorder.pml - the last calls of a rank, read by another while they are written, or after a death
 *
 * Words of runtime/shm/layout.h: records.newest; of each place in records.ring two of the four words;
 * or with -DNOTES the words of one lane_sleep.note. Functions: shmrt_record_write,
 * shmrt_records_read, shmrt_wait_note_write, shmrt_wait_note_read (runtime/diag).
 *
 * A ring of 2, and tags that come again after 6 records, in place of 64 and 65,536; a CPU that holds
 * four stores back can't have newest lag behind so far that the second look misses such a word (with
 * -DTAGS=4 it can). Words have the whole number, of which the reader looks at no more than the tag. The writer may die before any store. The reader's loads
 * between an acquire and a fence happen in any order.
 *
 * Property: what is believed is of one record, or one wait, and of the right one; and of a writer that
 * has stopped the newest is found.
 *
 * Faults: -DNO_TAGS, -DNO_SECOND_LOOK; of notes -DNO_ZERO, -DNO_FENCE, -DNO_SECOND_LOOK; and of
 * tso.pml's -DRELAXED_POST.
 */
#define RANKS 2
#define WRITER 0
#define PLACES 2
#ifndef TAGS
#define TAGS 6
#endif
#ifndef RECORDS
#define RECORDS 10
#endif
#define WORDS 5
#define NEWEST 0
#define FIRST(n) (1 + 2 * ((n) % PLACES))
#define SECOND(n) (2 + 2 * ((n) % PLACES))
#define WHOM 0
#define RECORD 1
#define UNTIL 2

#include "tso.pml"

bool stopped; /* the writer: it has written all, or died */

#define OR_DIE if :: true :: goto over fi
#define IS_SETTLED (stopped && pending[WRITER].count == 0)

/* The first word to one, then the second; or the other way round. */
inline load_both(a, to_a, b, to_b)
{
    if
    :: to_a = LOOK(a); to_b = LOOK(b)
    :: to_b = LOOK(b); to_a = LOOK(a)
    fi
}

#ifdef NOTES
/* What belongs to wait n; that it is over is not in here. */
#define RECORD_OF(n) ((n) + 10)
#define UNTIL_OF(n) ((n) + 20)

inline write(n)
{
#ifndef NO_ZERO
    OR_DIE; STORE(WRITER, WHOM, 0);
#endif
#ifndef NO_FENCE
    FENCE(WRITER);
#endif
    OR_DIE; STORE(WRITER, RECORD, RECORD_OF(n));
    OR_DIE; STORE(WRITER, UNTIL, UNTIL_OF(n));
    OR_DIE; POST(WRITER, WHOM, n)
}

inline read()
{
    settled = IS_SETTLED;
    number = LOOK(WHOM);
    load_both(RECORD, first, UNTIL, second);
#ifdef NO_SECOND_LOOK
    believed = number > 0;
#else
    believed = number > 0 && LOOK(WHOM) == number;
#endif
    assert(!believed || (first == RECORD_OF(number) && second == UNTIL_OF(number)));
    assert(!(settled && number > 0) || believed)
}
#else
#ifdef NO_TAGS
#define FITS(value, n) true
#else
#define FITS(value, n) ((value) % TAGS == (n) % TAGS)
#endif

inline write(n)
{
    OR_DIE; STORE(WRITER, FIRST(n), n);
    OR_DIE; STORE(WRITER, SECOND(n), n);
    OR_DIE; POST(WRITER, NEWEST, n)
}

inline read()
{
    settled = IS_SETTLED;
    newest = LOOK(NEWEST);
    if /* of those that are looked at, any one; the writer may have died before it said that it is there */
    :: number = newest + 1
    :: newest > 0 -> number = newest
    :: newest > 1 -> number = newest - 1
    fi;
    load_both(FIRST(number), first, SECOND(number), second);
    believed = FITS(first, number) && FITS(second, number);
#ifndef NO_SECOND_LOOK
    now = LOOK(NEWEST);
    believed = believed && !(now >= number && now - number >= PLACES);
#endif
    assert(!believed || (first == number && second == number));
    assert(!(settled && newest > 0 && number == newest) || believed)
}
#endif

proctype writer()
{
    byte n = 1;
    do
    :: n <= RECORDS -> write(n); n++
    :: else -> break
    od;
over:
    stopped = true
}

proctype reader()
{
    byte newest, number, first, second, now;
    bool settled, believed;
    read()
}

init
{
    atomic {
        start_drains();
        run writer();
        run reader()
    }
}
