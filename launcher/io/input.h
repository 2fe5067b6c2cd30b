/* SPDX-License-Identifier: Apache-2.0 */
/*
 * input.h - what comes in on our standard input, on its way to a rank or to all of them
 *
 * One rank reads a file or a pipe of ours itself. A terminal's keys have to be passed on, since no
 * rank is in the terminal's foreground group; and so has what several ranks read.
 */
#ifndef LAUNCH_INPUT_H
#define LAUNCH_INPUT_H

#include "job/job.h"

#include <poll.h>

enum { LAUNCH_INPUT_POLLS_MAX = SHMRT_MAX_RANKS + 1 };

/** The bytes that not all readers have taken, and how far each reader is. */
struct launch_input {
    int from; /* -1: nothing (more) is passed on by us */
    bool is_terminal, is_kept;
    size_t ranks;
    int to[SHMRT_MAX_RANKS]; /* -1: this rank reads nothing (more) of ours */
    uint64_t taken[SHMRT_MAX_RANKS];
    char *bytes;
    size_t length, room;
    uint64_t first;   /* position of bytes[0] in the whole input */
    int64_t stuck_ns; /* since then one reader keeps the others waiting; 0: none does */
};

/** Whether the job has the rank that --stdin names. Return: 0, or -EINVAL with what would do. */
int launch_input_check(const struct launch_options *options, const struct shmrt_plan *plan,
                       struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

/** Make the pipes that are needed and fill in @job's in_fds. Return: 0 or a negative errno. */
int launch_input_open(struct launch_input *input, struct launch_job *job) SHMRT_WARN_UNUSED;

/** The ranks have their ends now: let go of ours, and of our input where they read it. */
void launch_input_started(struct launch_input *input, struct launch_job *job);

/** Add what to wait for to @polls; lowers *timeout_ms where something is due before. */
size_t launch_input_poll(const struct launch_input *input, struct pollfd *polls, int *timeout_ms,
                         int64_t now_ns);

/** Move bytes, as far as that goes without waiting. @polls: what launch_input_poll() added. */
void launch_input_move(struct launch_input *input, const struct pollfd *polls, size_t count);

/**
 * launch_input_give_up - close the input of a rank that reads nothing while others wait for it
 *
 * Return: that rank, or -1: none.
 */
int launch_input_give_up(struct launch_input *input, int64_t now_ns);

void launch_input_close(struct launch_input *input);

#endif
