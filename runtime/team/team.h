/* SPDX-License-Identifier: Apache-2.0 */
/* team.h - the threads of a rank (L1). team.c is the only file with #pragma omp. */
#ifndef SHMRT_TEAM_H
#define SHMRT_TEAM_H

#include <stdbool.h>

/** Work of one lane. Lane 0 always runs on the caller's thread. */
typedef void (*shmrt_lane_fn)(int lane, void *arg);

/**
 * shmrt_team_run - run @fn once for each lane 0 .. lanes-1 and return when all are done
 *
 * The runtime may give fewer threads than lanes (nested regions, OMP_THREAD_LIMIT). Each thread
 * then serves its lanes in ascending order; because every rank does so, the lowest unfinished lane
 * is being served on all ranks, and lanes that wait for their peers can't deadlock.
 *
 * @caller_only: the caller serves all of them, and no OpenMP region is opened.
 */
void shmrt_team_run(int lanes, bool caller_only, shmrt_lane_fn fn, void *arg);

/** Threads that a region opened by this thread would get; at least 1. */
int shmrt_team_threads(void);

#endif
