/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer.h - how another library takes part in a run of shm-bench
 *
 * shm-bench starts the peer's own launcher (mpirun, python, ...) with the variable
 * SHM_BENCH_CONTROL in its environment: the path of a page that both sides map. Each rank of the
 * peer calls bench_peer_pin(), starts its library, and calls bench_peer_serve(), which does the
 * rest: it sleeps until it is this peer's turn, runs batches, takes the times, checks results.
 *
 *   shm-bench, rank 0                        each rank of the peer
 *   writes command, adds 1 to turn, wakes    sleeps until turn is another; does the command;
 *   sleeps until all answered, one died,     writes its us[] and status; adds 1 to answered
 *   or the deadline passed                   and wakes
 *
 * Every field has one writer at a time, as said beside it. All words that are waited for are
 * 32 bits wide and read and written with the compiler's __atomic functions, in C and in C++.
 */
#ifndef SHMRT_BENCH_PEER_H
#define SHMRT_BENCH_PEER_H

#include "meet.h"
#include "task.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BENCH_PEER_VARIABLE "SHM_BENCH_CONTROL"

enum {
    BENCH_PEER_MAGIC = 0x626d6873, /* "shmb" */
    BENCH_PEER_VERSION = 1,
    BENCH_MAX_SAMPLES = 512,
    BENCH_TEXT_BYTES = 256,
    BENCH_CPU_WORDS = 16, /* 1024 CPUs */
};

enum bench_command { BENCH_COMMAND_VERIFY = 1, BENCH_COMMAND_RUN, BENCH_COMMAND_QUIT };

/** What one rank of a peer writes. */
struct bench_peer_rank {
    uint32_t ready; /* 1: attached, its buffers are there */
    int32_t pid;
    int32_t status; /* of the last command: 0 or a negative errno; -EBADMSG: wrong result */
    uint32_t zero;
    char text[BENCH_TEXT_BYTES]; /* what went wrong, in words */
    double us[BENCH_MAX_SAMPLES];
};

struct bench_peer_page {
    /* written once by shm-bench, before the peer starts */
    uint32_t magic;
    uint32_t version;
    uint32_t bytes; /* of this struct */
    uint32_t ranks;
    int32_t owner_pid;                               /* when it is gone, so is the peer's work */
    uint32_t threads;                                /* a rank may use that many */
    uint64_t buffer_bytes;                           /* of the largest task */
    uint64_t cpus[BENCH_MAX_RANKS][BENCH_CPU_WORDS]; /* bit c: the rank may use CPU c; none: any */

    /* written by rank 0 of shm-bench, before it adds 1 to turn */
    uint32_t command; /* enum bench_command */
    uint32_t samples; /* of BENCH_COMMAND_RUN */
    uint64_t batch;   /* calls in each sample */
    struct bench_task task;

    uint32_t turn __attribute__((aligned(128)));     /* a futex; shm-bench */
    uint32_t answered __attribute__((aligned(128))); /* a futex; ranks of the peer, all commands */
    uint32_t gone; /* by the peer's guardian, which also wakes answered: 1 when it has ended */
    int32_t ended; /* with which wait status */
    char last_words[BENCH_TEXT_BYTES]; /* the last line it printed */
    char setting[BENCH_TEXT_BYTES];    /* written by its rank 0 before it is ready */

    struct bench_barrier barrier __attribute__((aligned(128))); /* of the peer's ranks */
    struct bench_peer_rank rank[BENCH_MAX_RANKS];
};

/** struct bench_peer_ops - what a peer brings */
struct bench_peer_ops {
    /* The library, its version and the setting it runs with, in one line. */
    const char *setting;

    /* Do @task @calls times and return 0, or a negative errno (-ENOTSUP: cannot). @in equals @out
     * when the task is in place. A sendrecv goes there and back in each call. */
    int (*run)(void *arg, const struct bench_task *task, void *in, void *out, int calls);

    /* Memory of its own kind for the buffers, which live until the process ends; NULL: private. */
    void *(*alloc)(void *arg, size_t bytes);

    void *arg; /* for the functions */
};

/**
 * bench_peer_pin - go to the CPUs that shm-bench's rank of this number has
 * @control: the page's path; NULL takes SHM_BENCH_CONTROL
 *
 * To be called before the library starts threads. Return: 0 or a negative errno.
 */
int bench_peer_pin(const char *control, int rank);

/**
 * bench_peer_serve - take turns until shm-bench says quit or is gone
 *
 * Return: 0, or a negative errno when the page is unusable.
 */
int bench_peer_serve(const char *control, int rank, const struct bench_peer_ops *ops);

#ifdef __cplusplus
}
#endif
#endif
