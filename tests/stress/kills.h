/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kills.h - jobs from a seed, in each of which one rank is killed
 *
 * A job is a program of steps that all ranks make. Its victim sets a timer at one of them, which
 * sends it SIGKILL a random time later: so short phases are hit as well as long ones.
 */
#ifndef TEST_KILLS_H
#define TEST_KILLS_H

#include "ranks.h"

#include <stdatomic.h>
#include <stdint.h>

enum { KILLS_MOST_RANKS = 8, KILLS_MOST_STEPS = 40, KILLS_MOST_SETTINGS = 12 };

enum kills_kind {
    KILLS_BEFORE, /* started, and not yet meeting */
    KILLS_CREATE,
    KILLS_CALL,
    KILLS_NORM,
    KILLS_REQUESTS, /* several started, then waited for */
    KILLS_SPLIT,
    KILLS_COMPUTE,
    KILLS_RECREATE, /* destroy, and meet again */
    KILLS_LAST,     /* the barrier after which a job has ended well */
    KILLS_DESTROY,
    KILLS_AFTER, /* out of it all */
    KILLS_KINDS
};

struct kills_step {
    enum kills_kind kind;
    bool on_part; /* by the communicator that was split off, where this rank has one */
    uint64_t seed;
};

struct kills_plan {
    uint64_t seed;
    bool stops; /* the victim gets SIGSTOP, and the others meet their deadline */
    int size;
    int victim;
    int kill_step;
    int64_t kill_after_ns; /* of the step's beginning */
    size_t most;           /* elements of a call */
    int steps_n;
    struct kills_step steps[KILLS_MOST_STEPS];
    const char *settings[KILLS_MOST_SETTINGS];
    char groups[64];
};

enum kills_end { KILLS_RUNNING, KILLS_ENDED_WELL, KILLS_FAILED };

/** What a rank writes down, in memory that outlives it. */
struct kills_record {
    _Atomic int step;       /* which it is in */
    _Atomic int collective; /* of the call that it is in; 0: of none */
    _Atomic bool inside;    /* the library */
    _Atomic int end;        /* enum kills_end */
    int failed_step;
    int64_t entered_ns; /* the library, last */
    int64_t failed_entered_ns;
    int64_t failed_ns;
    bool by_meeting; /* what failed was a meeting, not a call */
    struct shmrt_error error;
    struct shmrt_error again; /* of the next call; code 1: there was no communicator to call */
    int wrong_results;
    _Atomic int renewed; /* 1: the survivors' new communicator worked; -1: it did not */
    struct shmrt_error renew_error;
};

struct kills_job {
    struct kills_plan plan;
    char key[64];
    _Atomic int64_t killed_ns; /* when the victim's timer was set to go off; 0: not set yet */
    int pids[KILLS_MOST_RANKS];
    struct kills_record records[KILLS_MOST_RANKS];
};

/** All of a job but its key, from a seed. */
void kills_plan_make(struct kills_plan *plan, uint64_t seed, int fewest, int most, bool stops);

/** What @rank does; does not return. */
_Noreturn void kills_rank_run(struct kills_job *job, int rank);

/** How it went for a survivor. */
enum kills_outcome {
    KILLS_NAMED,    /* an error that names the victim */
    KILLS_DEADLINE, /* the deadline of a meeting to which the victim did not come, and names it */
    KILLS_WELL,     /* did all it had to do: the victim had done its part */
    KILLS_SLOW,     /* the same before there was a death: the machine is too slow to meet in time */
    KILLS_GOOD_OUTCOMES,
    KILLS_HANG = KILLS_GOOD_OUTCOMES,
    KILLS_CRASH,
    KILLS_WRONG_RESULT,
    KILLS_WRONG_NAME,
    KILLS_TOO_SOON,   /* an error before there was a death */
    KILLS_TOO_WELL,   /* ended well, though the victim had not done its part */
    KILLS_OTHER_NEXT, /* the next call says something else */
    KILLS_NOT_RENEWED,
    KILLS_OUTCOMES
};

/** One job's share of the table. */
struct kills_verdict {
    uint64_t seed;
    bool done;
    int kind;       /* enum kills_kind of what the victim died in */
    int collective; /* of KILLS_CALL */
    int size;
    int outcomes[KILLS_OUTCOMES];
    bool told_apart; /* of one meeting some were told of the death, and others met its deadline */
    int times;       /* of survivors that were KILLS_NAMED: */
    int64_t since_kill[KILLS_MOST_RANKS]; /* ns from the kill to the error */
    int64_t in_call[KILLS_MOST_RANKS];    /* the same, or from the call, where that came later */
};

/** Judges a job whose ranks have all ended; @statuses as waitpid() gave them, -1: it hung. */
void kills_judge(const struct kills_job *job, const int *statuses, struct kills_verdict *out);

/** Of a hundred. */
struct kills_shares {
    double within; /* errors that came within a second; 100 where there are none */
    double slow;   /* ranks that were too slow to meet */
};

/** Prints the table of all. */
struct kills_shares kills_summarize(const struct kills_verdict *verdicts, int n);

/** Whether any outcome is none of the good ones. */
bool kills_has_faults(const struct kills_verdict *verdict);

#endif
