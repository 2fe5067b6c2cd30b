/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job.h - what is decided before anything is started, and the processes of a job:
 *
 *   shm-launch   the person's process: signals, output, deadlines, exit code (supervise.c)
 *     keeper     parent of the ranks and foster parent of all that they leave behind; holds one end
 *                of a socket and kills everything when the other end is gone (keeper.c)
 *       rank 0, rank 1, ...   each the leader of a session (spawn.c)
 */
#ifndef LAUNCH_JOB_H
#define LAUNCH_JOB_H

#include "cluster.h"
#include "options/options.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/types.h>

enum {
    LAUNCH_KEY_BYTES = 33,
    LAUNCH_RUN_ID_BYTES = LAUNCH_ADDRESS_BYTES + 8,
    LAUNCH_OUR_FDS_MAX = 3 * SHMRT_MAX_RANKS + 2,
};

struct launch_logs;

struct launch_job {
    const struct launch_options *options;
    const struct shmrt_plan *plan;
    size_t attempt;  /* 0: the first; one more after each failure that --restarts allows */
    char *error_dir; /* TORCHELASTIC_ERROR_FILE is DIR/attempt/rank/error.json; NULL: none */
    int error_lock;  /* that folder, locked for as long as launcher or keeper live */
    char key[LAUNCH_KEY_BYTES];       /* SHMRT_JOB: random, 128 bits in hex */
    char run_id[LAUNCH_RUN_ID_BYTES]; /* TORCHELASTIC_RUN_ID: all machines and attempts have it */
    struct launch_cluster cluster;
    size_t first_rank; /* of this machine, counted over all */
    int port;
    int port_fd;              /* bound and not listening: nobody else gets the port; -1: of another
                               * machine */
    char *preload;            /* the ranks' LD_PRELOAD, or NULL */
    char *plan_line;          /* SHM_LAUNCH_PLAN, or NULL */
    const char *own_threads;  /* the user's OMP_NUM_THREADS, or NULL */
    char **argv;              /* of shm-launch; the keeper overwrites its copy */
    int signals;              /* signalfd of those that are for us */
    int64_t timeout_ns;       /* when --timeout passes, on the monotonic clock; 0: never */
    struct launch_logs *logs; /* NULL: none */
    bool told_logs;           /* that one of them is lost */
    bool raised_files;
    struct rlimit inherited_files; /* the ranks get it back */
    sigset_t inherited_mask;
    struct sigaction inherited_pipe, inherited_xfsz; /* SIGPIPE's and SIGXFSZ's */
    bool piped;                   /* output comes through us; else ranks write it themselves */
    int in_fds[SHMRT_MAX_RANKS];  /* read ends, or our own input; -1: nothing to read */
    int out_fds[SHMRT_MAX_RANKS]; /* write ends, -1 when not piped */
    int err_fds[SHMRT_MAX_RANKS];
    /* The other ends. Whoever forgets to close its copies keeps a writer from learning that its
     * reader is gone, or a reader that its writer is. */
    int our_fds[LAUNCH_OUR_FDS_MAX];
    size_t our_fd_count;
};

/** SHMRT_JOB of a new job. Return: 0 or a negative errno. */
int launch_job_make_key(char key_out[LAUNCH_KEY_BYTES]) SHMRT_WARN_UNUSED;

/**
 * launch_port_hold - choose MASTER_PORT (@wanted, or a free one when 0) and keep others off it
 *
 * The socket is bound with SO_REUSEADDR and never listens: the job's own server can still bind and
 * listen, while the kernel gives the port to nobody who just wants any free one.
 *
 * Return: 0, or a negative errno with a sentence in @error_out.
 */
int launch_port_hold(size_t wanted, int *port_out, int *fd_out,
                     struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

#endif
