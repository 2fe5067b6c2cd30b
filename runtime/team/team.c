/* SPDX-License-Identifier: Apache-2.0 */
/* team.c - lanes over OpenMP threads, or over the caller alone in a serial build. */
#include "team.h"

static void run_alone(int lanes, shmrt_lane_fn fn, void *arg)
{
    for (int lane = 0; lane < lanes; lane++)
        fn(lane, arg);
}

#ifdef SHMRT_SERIAL_TEAM

void shmrt_team_run(int lanes, bool caller_only, shmrt_lane_fn fn, void *arg)
{
    (void)caller_only;
    run_alone(lanes, fn, arg);
}

int shmrt_team_threads(void)
{
    return 1;
}

#else

#include <omp.h>

void shmrt_team_run(int lanes, bool caller_only, shmrt_lane_fn fn, void *arg)
{
    if (lanes == 1 || caller_only) { /* a region costs more than the smallest vectors do */
        run_alone(lanes, fn, arg);
        return;
    }
#pragma omp parallel num_threads(lanes)
    for (int lane = omp_get_thread_num(); lane < lanes; lane += omp_get_num_threads())
        fn(lane, arg);
}

int shmrt_team_threads(void)
{
    return omp_get_max_threads();
}

#endif
