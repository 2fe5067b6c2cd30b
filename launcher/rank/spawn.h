/* SPDX-License-Identifier: Apache-2.0 */
/* spawn.h - from a fork to the rank's program */
#ifndef LAUNCH_SPAWN_H
#define LAUNCH_SPAWN_H

#include "job/job.h"

/** What a rank tells before its program runs; through a pipe that exec closes. */
enum launch_step {
    LAUNCH_STEP_CPUS,    /* could not be bound */
    LAUNCH_STEP_MEMORY,  /* could not be bound */
    LAUNCH_STEP_PREPARE, /* something of ours failed */
    LAUNCH_STEP_EXEC,    /* the program could not be started */
};

struct launch_report {
    int step;
    int code; /* negative errno */
};

/**
 * launch_spawn - fork one rank
 * @report_out: a pipe that carries struct launch_report and ends when the program runs or the
 *              rank has given up
 *
 * The caller has one thread and stays the rank's parent: when it dies the rank is killed.
 * Return: the process, or a negative errno.
 */
pid_t launch_spawn(const struct launch_job *job, size_t rank, int *report_out) SHMRT_WARN_UNUSED;

#endif
