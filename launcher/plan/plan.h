/* SPDX-License-Identifier: Apache-2.0 */
/* plan.h - the machine and the plan that the options ask for */
#ifndef LAUNCH_PLAN_H
#define LAUNCH_PLAN_H

#include "options/options.h"

/** Read the machine (this one, or --topology) and plan. Return: 0 or a negative errno. */
int launch_plan(const struct launch_options *options, struct shmrt_machine **machine_out,
                struct shmrt_plan **plan_out, struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

/** The user's OMP_NUM_THREADS, which wins over the plan's; NULL: the plan decides. */
const char *launch_own_threads(void);

/** What a person should know before the start, as lines on standard error. */
void launch_say_warnings(const struct launch_options *options, const struct shmrt_plan *plan);

#endif
