/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rendezvous.pml - the ranks meet, tell each other how it went, and all or none go on
 *
 * Functions: shmrt_rendezvous_meet, shmrt_rendezvous_agree (runtime/shm/rendezvous.c, greet.c), shmrt_comm_join
 * (runtime/comm_join.c); of a first call find_gone (runtime/sync/liveness.c).
 *
 * A socket is two queues of messages, and for each end whether it is closed: what was sent before is
 * still read then. A higher rank connects to a lower one's door; what it sends waits until it is let
 * in. One message is handled at a time, in any order among the links. Whoever has its communicator
 * makes one call of all ranks, or none, as the program is; then destroys it and leaves.
 *
 * Properties. Who has all verdicts has only good ones, and when it sent its own nobody's create had
 * failed already (one that had said "good" may be dead: no message tells that). Who succeeds while
 * another one fails later does not wait for ever in its first call. Nobody else does either, and
 * the only ones that need a deadline for it wait for a rank that is stopped, or that is gone before
 * they have met it. Where nothing happens, nothing fails.
 *
 *   -DDEATHS=n     up to n ranks die, before any step
 *   -DSTOPS=n      up to n ranks stop for ever before any step, with their sockets open
 *   -DDEADLINES    whoever waits for a rank may give up at any time (deadline, Ctrl-C, a failed call)
 *   -DFAILURES=n   up to n ranks have met all and can't go on
 *   -DTROUBLE      one rank has no memory, and comes to tell (any one: 0, 1, ...)
 *   -DSWITCHED_OFF one rank has SHMRT_DISABLE=1: all end with that, and with nothing else
 *   -DOLD_DOOR     one rank still has an earlier communicator's door, which it closes at any time
 *   -DLET_IN       hellos are refused until the connection is accepted (SO_PASSRIGHTS)
 * Faults: -DNO_LAST_LOOK (the last good verdict is success, whatever has come behind others),
 * -DNO_SECOND_VERDICT (who fails after a good verdict just goes), -DNO_VERDICTS (success as soon as
 * all are met), -DNO_DONE (who is through and leaves counts as gone), -DNO_DEADLINE_OF_VERDICTS,
 * -DNO_RETRY, -DNO_HELLO_AGAIN, -DSTAYS_AWAY (a rank in trouble, or switched off, does not come),
 * -DLEAVES_EARLY (one that is switched off leaves before it has met all), -DOFF_IS_GONE (one that
 * has said that and left counts as gone).
 */
#ifndef DEATHS
#define DEATHS 0
#endif
#ifndef STOPS
#define STOPS 0
#endif
#ifndef FAILURES
#define FAILURES 0
#endif
#if DEATHS + STOPS + FAILURES == 0 && !defined(DEADLINES) && !defined(TROUBLE)
#define PEACEFUL
#endif

#define BIT(r) (1 << (r))
#define HAS(set, r) (((set) & BIT(r)) != 0)
#define ADD(set, r) set = (set) | BIT(r)
#define DROP(set, r) set = (set) & ~BIT(r)
#define EVERYBODY ((1 << RANKS) - 1)
#define OTHERS (EVERYBODY - BIT(me))
#define NEXT ((me + 1) % RANKS)
#define LAST ((me + RANKS - 1) % RANKS)
#define TO(r) way[(me) * RANKS + (r)]
#define FROM(r) way[(r) * RANKS + (me)]

mtype = { makes_call, leaves_at_once };
mtype = { hello, good, bad, off, bye }; /* off: the verdict -ECONNREFUSED */

chan way[RANKS * RANKS] = [3] of { mtype };

/* Sets of ranks. Of each rank: to whom it has a socket, whom it has met, ... */
byte has[RANKS], met[RANKS], judged[RANKS], done[RANKS];
byte closed[RANKS]; /* towards whom it has closed its end, whether or not it had let that one in */
#ifdef LET_IN
byte let_in[RANKS], greeted[RANKS];
#endif
byte doors;         /* whose name can be connected to */
byte agreed;        /* who has said "good" */
byte over;          /* whose create failed, or who died */
byte failed;        /* the first of these */
byte stopped;
byte called;        /* who has entered its first call */
byte deaths, stops, failures;
mtype program;      /* makes_call or leaves_at_once, chosen when it is first needed */
byte odd;           /* the rank in trouble, switched off, or with an old door */

#define HUNG_UP(r) HAS(closed[r], me)
#define IS_OPEN(r) (HAS(has[me], r) && !HAS(done[me], r))
#define AT_END(r) (len(FROM(r)) == 0 && HUNG_UP(r))

/* Whom rank me waits for to meet, or to judge. */
#define UNMET (OTHERS & ~met[me])
#define UNJUDGED (OTHERS & ~judged[me])
#ifdef DEADLINES
#define IS_LATE(missing) ((missing) != 0)
#elif DEATHS + STOPS == 0
#define IS_LATE(missing) false
#else
#define IS_LOST(r) (HAS(UNMET & over, r) && len(FROM(r)) == 0)
#define IS_LATE(missing) (IS_LOST(NEXT) || IS_LOST(LAST) || ((missing) & stopped) != 0)
#endif

#define MAY_FAIL \
    :: deaths < DEATHS -> deaths++; goto died \
    :: stops < STOPS -> stops++; goto stops_for_ever

inline send(r, message)
{
    if
    :: HAS(has[me], r) && !HUNG_UP(r) -> TO(r)!message
    :: else
    fi
}

inline send_to_all(message)
{
    r = 0;
    do
    :: atomic { r < RANKS -> send(r, message); r++ }
    :: atomic { r == RANKS -> r = 0; break }
    MAY_FAIL
    od
}

/* To a lower rank; its door may be an old one. */
inline connect(r)
{
    ADD(has[me], r);
    DROP(closed[r], me);
#ifndef LET_IN
    TO(r)!hello
#endif
}

/* The other end has closed before its hello. */
inline try_again(r)
{
    DROP(has[me], r);
#ifdef LET_IN
    DROP(let_in[r], me);
    DROP(greeted[me], r);
#endif
    do
    :: TO(r)?_
    :: len(TO(r)) == 0 -> break
    od
}

/* A hello from a connection that a higher rank has opened. */
inline greet(r)
{
    FROM(r)?hello;
    ADD(has[me], r);
    ADD(met[me], r);
    send(r, hello)
}

#define IS_LOWER_AND_UNCALLED(r) ((r) < me && !HAS(has[me], r) && HAS(doors, r))
#define IS_AT_DOOR(r) ((r) > me && HAS(has[r], me) && !HAS(has[me], r) && !HAS(closed[me], r))

#ifdef LET_IN
#define LET_IN_STEPS(r) \
    :: atomic { IS_AT_DOOR(r) && !HAS(let_in[me], r) -> ADD(let_in[me], r) } \
    :: atomic { (r) < me && HAS(has[me], r) && HAS(let_in[r], me) && MAY_GREET(r) -> ADD(greeted[me], r); send(r, hello) }
#ifdef NO_HELLO_AGAIN
#define MAY_GREET(r) false
#else
#define MAY_GREET(r) !HAS(greeted[me], r)
#endif
#else
#define LET_IN_STEPS(r)
#endif

#ifdef NO_RETRY
#define TRY_AGAIN(r) goto gave_up
#else
#define TRY_AGAIN(r) try_again(r)
#endif

#ifdef OFF_IS_GONE
#define HEAR_OFF(r) skip
#else
#define HEAR_OFF(r) ADD(done[me], r)
#endif

#define MEETING_STEPS(r) \
    :: atomic { IS_LOWER_AND_UNCALLED(r) -> connect(r) } \
    LET_IN_STEPS(r) \
    :: atomic { IS_AT_DOOR(r) && FROM(r)?[hello] -> greet(r) } \
    :: atomic { IS_OPEN(r) && FROM(r)?[hello] -> FROM(r)?hello; ADD(met[me], r) } \
    :: atomic { IS_OPEN(r) && FROM(r)?[good] -> FROM(r)?good; ADD(judged[me], r) } \
    :: atomic { IS_OPEN(r) && FROM(r)?[off] -> FROM(r)?off; HEAR_OFF(r) } \
    :: atomic { IS_OPEN(r) && FROM(r)?[bad] -> goto gave_up } \
    :: atomic { IS_OPEN(r) && AT_END(r) && HAS(met[me], r) -> goto gave_up } \
    :: atomic { IS_OPEN(r) && AT_END(r) && !HAS(met[me], r) -> TRY_AGAIN(r) }

#ifdef NO_DONE
#define SEE_LEFT(r) goto failed_late
#else
#define SEE_LEFT(r) ADD(done[me], r)
#endif

#define AGREEING_STEPS(r) \
    :: atomic { IS_OPEN(r) && FROM(r)?[good] -> FROM(r)?good; ADD(judged[me], r) } \
    :: atomic { IS_OPEN(r) && (FROM(r)?[bad] || FROM(r)?[off]) -> goto failed_late } \
    :: atomic { IS_OPEN(r) && HAS(judged[me], r) && (FROM(r)?[bye] || AT_END(r)) -> SEE_LEFT(r) } \
    :: atomic { IS_OPEN(r) && !HAS(judged[me], r) && AT_END(r) -> goto failed_late }

/* Whether a rank is gone, in the eyes of a wait that needs others: its socket says more than bye. */
#define IS_GONE(r) (HAS(has[me], r) && ((len(FROM(r)) > 0 && !FROM(r)?[bye]) || AT_END(r)))
#define IS_MISSED(r) (!HAS(called, r) && (IS_GONE(r) || FROM(r)?[bye] || HAS(stopped, r)))

inline close_all()
{
    closed[me] = OTHERS;
    DROP(doors, me)
}

/* What the verdict is, once all are met. */
inline choose_verdict()
{
#if defined(SWITCHED_OFF)
    goto sees_off
#elif defined(TROUBLE)
    if
    :: me == odd -> goto gave_up
    :: me != odd
    fi
#else
    if
    :: failures < FAILURES -> failures++; goto gave_up
    :: true
    fi
#endif
}

proctype rank(byte me)
{
    byte r;
    bool late; /* somebody had failed before this rank's verdict went out */

#ifdef OLD_DOOR
    if
    :: atomic { me == odd -> closed[me] = OTHERS & ~(BIT(me) - 1); DROP(doors, me) } /* to higher ranks */
    :: me != odd
    fi;
#endif
#ifdef STAYS_AWAY
    if
    :: me == odd -> goto end
    :: me != odd
    fi;
#endif
    ADD(doors, me);

    do
    :: atomic { UNMET == 0 -> choose_verdict(); late = (failed != 0); ADD(agreed, me); break }
#ifdef LEAVES_EARLY
    :: me == odd -> goto sees_off
#endif
    MEETING_STEPS(NEXT)
#if RANKS > 2
    MEETING_STEPS(LAST)
#endif
    :: UNMET != 0 && IS_LATE(UNMET) -> goto gave_up
    MAY_FAIL
    od;

    send_to_all(good);
    do
#ifdef NO_VERDICTS
    :: true -> break
#else
    :: UNJUDGED == 0 -> break
#endif
    AGREEING_STEPS(NEXT)
#if RANKS > 2
    AGREEING_STEPS(LAST)
#endif
#ifndef NO_DEADLINE_OF_VERDICTS
    :: UNJUDGED != 0 && IS_LATE(UNJUDGED) -> goto failed_late
#endif
    MAY_FAIL
    od;
#ifndef NO_LAST_LOOK
    do
    :: atomic { r < RANKS && r != me && IS_OPEN(r) && FROM(r)?[bad] -> r = 0; goto failed_late }
    :: atomic { r < RANKS && !(r != me && IS_OPEN(r) && FROM(r)?[bad]) -> r++ }
    :: atomic { r == RANKS -> r = 0; break }
    MAY_FAIL
    od;
#endif
    atomic {
        assert(!late);
#ifdef TROUBLE
        assert(false);
#endif
        assert(agreed == EVERYBODY);
        if
        :: program == 0 -> program = makes_call
        :: program == 0 -> program = leaves_at_once
        :: program != 0
        fi;
        ADD(called, me)
    };

    /* The first call: of all ranks, and without a deadline, but for one that is stopped. */
    do
    :: program == leaves_at_once -> break
    :: called == EVERYBODY -> break
    :: atomic { IS_MISSED(NEXT) || IS_MISSED(LAST) || (called != EVERYBODY && (IS_GONE(NEXT) || IS_GONE(LAST))) ->
#ifdef PEACEFUL
        assert(false);
#endif
        break
       }
    MAY_FAIL
    od;
    send_to_all(bye);
    atomic { close_all(); goto end };

sees_off:
    send_to_all(off);
    atomic { close_all(); ADD(over, me); goto end };

gave_up:
#ifdef PEACEFUL
    assert(false);
#endif
    send_to_all(bad);
    atomic { close_all(); ADD(over, me); ADD(failed, me); goto end };

failed_late:
#ifdef PEACEFUL
    assert(false);
#endif
#ifndef NO_SECOND_VERDICT
    send_to_all(bad);
#endif
    atomic { close_all(); ADD(over, me); ADD(failed, me); goto end };

died:
    atomic { close_all(); ADD(over, me); goto end };

stops_for_ever:
    ADD(stopped, me);

end:
    skip
}

init
{
    atomic {
#if defined(OLD_DOOR) || defined(TROUBLE) || defined(SWITCHED_OFF)
        if
        :: odd = 0
        :: odd = 1
#if RANKS > 2
        :: odd = 2
#endif
        fi;
#endif
#ifdef OLD_DOOR
        ADD(doors, odd);
#endif
        run rank(0);
        run rank(1);
#if RANKS > 2
        run rank(2)
#endif
    }
}
