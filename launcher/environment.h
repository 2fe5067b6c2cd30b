/* SPDX-License-Identifier: Apache-2.0 */
/* environment.h - what a rank finds in its environment */
#ifndef LAUNCH_ENVIRONMENT_H
#define LAUNCH_ENVIRONMENT_H

#include "job.h"

/**
 * launch_environment_set - give this process, which is about to become @rank, its variables
 *
 * Return: 0 or -ENOMEM.
 */
int launch_environment_set(const struct launch_job *job, size_t rank) SHMRT_WARN_UNUSED;

#endif
