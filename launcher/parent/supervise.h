/* SPDX-License-Identifier: Apache-2.0 */
/* supervise.h - from the start of the ranks to the end of all that they left behind */
#ifndef LAUNCH_SUPERVISE_H
#define LAUNCH_SUPERVISE_H

#include "verdict.h"

/**
 * launch_supervise - start the ranks and stay until nothing of them is left
 *
 * One attempt; the caller catches signals. Fills in the descriptors of @job.
 * Return: how it ended, which has been said.
 */
struct launch_verdict launch_supervise(struct launch_job *job) SHMRT_WARN_UNUSED;

#endif
