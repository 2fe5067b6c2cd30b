/* SPDX-License-Identifier: Apache-2.0 */
/* attempts.h - a job from its first start to its exit code, with --restarts */
#ifndef LAUNCH_ATTEMPTS_H
#define LAUNCH_ATTEMPTS_H

#include "job/job.h"

/**
 * launch_run - start the ranks, and again after a failure, as often as --restarts says
 *
 * @job has its plan, cluster, key and port; the rest is filled in.
 * Return: the exit code of shm-launch.
 */
int launch_run(struct launch_job *job) SHMRT_WARN_UNUSED;

#endif
