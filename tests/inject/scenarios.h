/* SPDX-License-Identifier: Apache-2.0 */
/* scenarios.h - what a rank does while one of its system calls fails */
#ifndef TEST_INJECT_SCENARIOS_H
#define TEST_INJECT_SCENARIOS_H

#include "shmrt.h"

/** One run of a scenario on one rank. */
struct inject_run {
    const char *job;
    int rank;
    int size;
    const char *patience; /* how long ranks wait to meet, as a setting */
    int code;             /* of the first call that failed, or 0 */
    const char *at;       /* its name, or of the call whose result was wrong */
    int is_wrong;         /* a call said success, and its result is not right */
    char text[SHMRT_ERROR_TEXT_BYTES];
    char warning[SHMRT_ERROR_TEXT_BYTES]; /* why it goes on without a file of records */
};

typedef void (*inject_scenario)(struct inject_run *run);

/** NULL for an unknown name. @is_cold_out: what libraries do at a first call is part of it. */
inject_scenario inject_scenario_find(const char *name, int *is_cold_out);

#endif
