/* SPDX-License-Identifier: Apache-2.0 */
/* ranks.h - run a test's body as several ranks, threads of this process or processes of their own
 */
#ifndef TEST_RANKS_H
#define TEST_RANKS_H

#include "shmrt.h"

#include <stdio.h>
#include <sys/types.h>

enum { RANKS_MAX = SHMRT_MAX_RANKS, RANKS_TIMEOUT_S = 120 };

enum ranks_kind { RANKS_THREADS, RANKS_PROCESSES };

/** What a body gets. It returns 0, or the line of the check that failed. */
struct rank {
    int rank;
    int size;
    char job[64];
    const char *const *settings;
    struct ranks_heard *heard; /* NULL, or what rank_comm()'s communicator logs to */
    void *arg;
};

typedef int (*rank_body)(struct rank *rank);

/** Inside a body: leave with the line number, and say what did not hold. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "rank %d: %s:%d: %s does not hold\n", rank->rank, __FILE__, __LINE__,  \
                    #condition);                                                                   \
            return __LINE__;                                                                       \
        }                                                                                          \
    } while (0)

struct ranks_run {
    enum ranks_kind kind;
    int size;
    const char *const *settings; /* of every communicator, may be NULL */
    rank_body body;
    void *arg;
    /* Called in the parent while processes run, may be NULL; gets their ids. */
    void (*meanwhile)(const pid_t *pids, void *arg);
    int timeout_s;          /* 0: RANKS_TIMEOUT_S */
    char job[64];           /* set by the run, before meanwhile is called */
    int results[RANKS_MAX]; /* of each body; 128 + signal for a process that was killed */
};

/** Runs all ranks to their end. Hung processes are killed after the timeout: result -1. */
void ranks_run(struct ranks_run *run);

/** Runs and asserts (cmocka) that every body returned 0. More ranks than SHMRT_TEST_MOST_RANKS are
 * left out. */
void ranks_run_well(struct ranks_run *run);

/** A communicator for a body; on failure NULL, with the words in @error_out. */
struct shmrt_comm *rank_comm(struct rank *rank, struct shmrt_error *error_out);

void ranks_nap_ms(long ms);

/** What a communicator logged: pass ranks_hear as its log and one of these as its log_arg. */
struct ranks_heard {
    int lines;
    char last[SHMRT_ERROR_TEXT_BYTES];
};

void ranks_hear(enum shmrt_log_level level, const char *line, void *heard);

/** A job key that no other test uses at this time. */
void ranks_unique_job(char out[64]);

#endif
