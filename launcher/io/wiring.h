/* SPDX-License-Identifier: Apache-2.0 */
/* wiring.h - the pipes between the ranks and us: their output, and our input */
#ifndef LAUNCH_WIRING_H
#define LAUNCH_WIRING_H

#include "input.h"
#include "job/job.h"
#include "output.h"

enum {
    LAUNCH_STREAMS_MAX = 2 * SHMRT_MAX_RANKS,
    LAUNCH_POLLS_MAX = LAUNCH_STREAMS_MAX + 2 + LAUNCH_INPUT_POLLS_MAX,
};

struct launch_wiring {
    struct launch_sink sinks[2];
    struct launch_sink *out, *err; /* one and the same where both are one file */
    struct launch_stream streams[LAUNCH_STREAMS_MAX];
    size_t stream_count; /* output and errors of each rank in turn */
    struct launch_stamp stamp;
    struct launch_input input;
    size_t input_polls_at; /* where its part begins in what is waited for */
};

/** Make the pipes and fill in @job's side of them. Return: 0 or a negative errno. */
int launch_wiring_open(struct launch_wiring *wiring, struct launch_job *job) SHMRT_WARN_UNUSED;

/** The ranks have their ends now: let go of ours, and of our input. */
void launch_wiring_started(struct launch_wiring *wiring, struct launch_job *job);

/** Add what to wait for to @polls; lowers *timeout_ms where something is due before. */
size_t launch_wiring_poll(struct launch_wiring *wiring, struct pollfd *polls, int *timeout_ms,
                          int64_t now_ns);

/** Move bytes, as far as that goes without waiting. */
void launch_wiring_move(struct launch_wiring *wiring, const struct pollfd *polls, size_t count);

/** No rank is left: take what still lies in the pipes, and close them. */
void launch_wiring_drain(struct launch_wiring *wiring);

/** What @rank writes to standard error; NULL: not through us. */
const struct launch_stream *launch_wiring_errors_of(const struct launch_wiring *wiring,
                                                    size_t rank);

/** Free what it holds. */
void launch_wiring_close(struct launch_wiring *wiring);

/** Whether all that was read has been written. */
bool launch_wiring_is_flushed(const struct launch_wiring *wiring);

/** errno of the first write of ours that failed, reader gone apart; 0: none. */
int launch_wiring_error(const struct launch_wiring *wiring);

#endif
