/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rendezvous.h - how the ranks of a job find each other on this machine (L1)
 *
 * A full mesh of Unix sockets: rank i listens on an abstract name made of the user, the job key
 * and i, and connects to every lower rank. Meeting is what proves that two ranks share a machine.
 * The names are held as long as the communicator lives: another job with the same key then meets
 * an error, and not half of this one. docs/protocol.md has the state table.
 */
#ifndef SHMRT_RENDEZVOUS_H
#define SHMRT_RENDEZVOUS_H

#include "message.h"

/** What a rank holds of another one. */
struct shmrt_link {
    int socket;   /* -1: none */
    int memfd;    /* its segment, -1 once taken */
    int poolfd;   /* its pool, -1 once taken, or for none */
    int pidfd;    /* readable when its process has died; -1 where the kernel has none */
    bool greeted; /* our hello is out */
    bool met;     /* its hello has come */
    bool judged;  /* its verdict has come, and was good */
    bool done;    /* gone again: it has heard all verdicts, or all hellos, before us */
    struct shmrt_hello hello;
};

struct shmrt_meeting {
    const char *job; /* the key, as in the hello */
    int rank;
    int size;
    int64_t start_ns; /* of the deadline, on shmrt_now_ns() */
    int64_t timeout_ns;
    int64_t warn_ns;
    const char *trouble; /* why this rank comes only to tell the others; or NULL */
    struct shmrt_logger logger;
    struct shmrt_interrupt interrupt;
};

/**
 * shmrt_rendezvous_meet - connect to all ranks and exchange hellos and segments
 * @mine:      what the others are told; its job is that of @meeting
 * @memfd, @poolfd: this rank's segment and its pool; the latter -1 when @mine has no pool_bytes,
 *             both when it is absent
 * @listener_out: holds this rank's name; shmrt_name_close() it with the communicator
 * @links_out: @meeting->size entries; the one of this rank stays empty. Filled also on failure:
 *             close them with shmrt_links_close().
 *
 * Return: 0, -EADDRINUSE, -ETIMEDOUT, -EPROTO, -ECONNABORTED, -ECANCELED or another errno.
 */
int shmrt_rendezvous_meet(const struct shmrt_meeting *meeting, const struct shmrt_hello *mine,
                          int memfd, int poolfd, int *listener_out, struct shmrt_link *links_out,
                          struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

/**
 * shmrt_rendezvous_agree - tell all how it went here, and hear how it went with them
 * @outcome: code 0, or why this rank can't go on; then nobody is waited for
 *
 * Return: 0 when every rank's outcome is good; else an errno as above.
 */
int shmrt_rendezvous_agree(const struct shmrt_meeting *meeting, const struct shmrt_error *outcome,
                           struct shmrt_link *links,
                           struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

/** Say goodbye where @bye, then close. */
void shmrt_links_close(struct shmrt_link *links, int size, bool bye);

#endif
