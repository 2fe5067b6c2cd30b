/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keeper.h - the parent of the ranks, and what it and the launcher tell each other
 *
 * They share a SOCK_SEQPACKET pair: events go up, commands down, one struct a message. The end of
 * the launcher's side, for whatever reason, is the command to kill everything; the keeper then also
 * removes the folder of error files. It waits for that end.
 */
#ifndef LAUNCH_KEEPER_H
#define LAUNCH_KEEPER_H

#include "job/job.h"

enum launch_event_kind {
    LAUNCH_RANK_STARTED,        /* value: its process */
    LAUNCH_RANK_CPUS_REFUSED,   /* value: negative errno */
    LAUNCH_RANK_MEMORY_REFUSED, /* value: negative errno */
    LAUNCH_RANK_NOT_PREPARED,   /* value: negative errno of fork, or of what comes before exec */
    LAUNCH_RANK_NOT_STARTED,    /* value: negative errno of exec */
    LAUNCH_RANK_ENDED,          /* value: status as of waitpid; in the order of their deaths */
    LAUNCH_ALL_ENDED,           /* ranks and all that they left behind */
};

struct launch_event {
    int kind, rank, value;
};

enum launch_command_kind {
    LAUNCH_SIGNAL_RANKS, /* their process groups */
    LAUNCH_SIGNAL_ALL,   /* every descendant, in whatever group */
    LAUNCH_KILL_ALL,     /* until none is left */
};

struct launch_command {
    int kind, signal;
};

/**
 * launch_keeper_start - fork the keeper, which starts the ranks
 * @socket_out: our side
 *
 * The caller has one thread and holds all signals that it waits for blocked.
 * Return: the keeper's process, or a negative errno.
 */
pid_t launch_keeper_start(const struct launch_job *job, int *socket_out) SHMRT_WARN_UNUSED;

#endif
