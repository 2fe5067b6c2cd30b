/* SPDX-License-Identifier: Apache-2.0 */
/* supervise.h - from the start of a job to its exit code */
#ifndef LAUNCH_SUPERVISE_H
#define LAUNCH_SUPERVISE_H

#include "job.h"

/**
 * launch_supervise - start the ranks and stay until nothing of them is left
 *
 * Fills in the descriptors of @job. Return: the exit code of shm-launch.
 */
int launch_supervise(struct launch_job *job) SHMRT_WARN_UNUSED;

#endif
