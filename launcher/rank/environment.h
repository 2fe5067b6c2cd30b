/* SPDX-License-Identifier: Apache-2.0 */
/*
 * environment.h - what a rank finds in its environment
 *
 * Ours are the variables that say who a rank is. Everything else is the user's, by --env or from
 * outside: it stays, and where it works against the plan, a line says so (conflicts.c).
 */
#ifndef LAUNCH_ENVIRONMENT_H
#define LAUNCH_ENVIRONMENT_H

#include "job/job.h"

/** Are the words of --env variables that a user may set? Return: 0 or -EINVAL. */
int launch_environment_check(const struct launch_words *env,
                             struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

/** Take --env into our own environment: the ranks inherit it. Return: 0 or -ENOMEM. */
int launch_environment_adopt(const struct launch_words *env) SHMRT_WARN_UNUSED;

/** Forget an inherited OMP_NUM_THREADS and SHMRT_NODES that a launcher around us meant for its own
 * ranks (outer.c); before @env, the words of --env, is taken. */
void launch_outer_drop(const struct launch_words *env);

/** Forget an OMP_NUM_THREADS that OpenMP would not understand, and say so. */
void launch_threads_drop_bad(void);

/** Takes one line. */
typedef void (*launch_environment_say)(void *context, const char *line);

/** What the user has set and what works against the plan. Of a job that is planned only, without an
 * address in its cluster, nothing is told that is about several machines. */
void launch_environment_conflicts(const struct launch_job *job, launch_environment_say say,
                                  void *context);

/**
 * launch_environment_set - give this process, which is about to become @rank, its variables
 * @rank: of this machine
 *
 * Return: 0 or -ENOMEM.
 */
int launch_environment_set(const struct launch_job *job, size_t rank) SHMRT_WARN_UNUSED;

#endif
