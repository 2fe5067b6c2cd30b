/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verify.h - --verify: a process beside the job that looks where its threads and pages really are
 *
 * A process of its own, since the kernel walks all page tables of a rank to answer: neither output
 * nor signals may wait for that.
 */
#ifndef LAUNCH_VERIFY_H
#define LAUNCH_VERIFY_H

#include "job/job.h"

struct launch_verify {
    int socket; /* -1: not asked for, or over */
    pid_t pid;
    int missed; /* ranks that ended before they were looked at */
};

/** Hands a line for the person to who puts it between the ranks' lines. */
typedef void (*launch_verify_say)(void *context, const char *line);

/**
 * launch_verify_start - start looking, if the options ask for it
 *
 * The caller has one thread. Return: 0 or a negative errno; then @verify_out is over.
 */
int launch_verify_start(struct launch_verify *verify_out,
                        const struct launch_job *job) SHMRT_WARN_UNUSED;

/** Rank @rank runs as @pid, for the first time or again. */
void launch_verify_rank_started(struct launch_verify *verify, int rank, pid_t pid);

/** That process has ended. */
void launch_verify_rank_ended(struct launch_verify *verify, int rank);

/**
 * launch_verify_hear - what has been found since the last call; poll says when verify->socket is
 * readable
 *
 * Return: a rank that is not where the plan says, in a way that --strict forbids; -1: none.
 */
int launch_verify_hear(struct launch_verify *verify, launch_verify_say say, void *context);

/** The job is over: wait a moment for the last words. */
void launch_verify_end(struct launch_verify *verify, launch_verify_say say, void *context);

#endif
