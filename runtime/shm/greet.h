/* SPDX-License-Identifier: Apache-2.0 */
/* greet.h - the first words between ranks that meet: calls, doors and hellos (L1) */
#ifndef SHMRT_GREET_H
#define SHMRT_GREET_H

#include "rendezvous.h"

enum {
    SHMRT_MAX_PENDING = 2 * SHMRT_MAX_RANKS,
    SHMRT_LAST_RETRY_NS = 10000000,
};

/* The state of one call of shmrt_rendezvous_meet. */
struct shmrt_meet {
    const struct shmrt_meeting *meeting;
    const struct shmrt_hello *mine;
    struct shmrt_link *links;
    struct shmrt_error *error_out;
    int send_fds[SHMRT_MESSAGE_FDS]; /* this rank's segment, pool and pidfd */
    int listener;
    int pending[SHMRT_MAX_PENDING]; /* accepted, hello not yet here */
    int pendings;
    int64_t retry_at_ns;
    int64_t retry_ns;
    int64_t accept_at_ns; /* the listener is left alone until then */
    int64_t look_at_ns;
    int64_t look_ns;
    bool held;     /* strangers hold, or crowd, all names of a lower rank that are agreed on */
    bool agreeing; /* this rank's verdict is out: others may finish, use and leave */
    bool warned;
};

/** shmrt_greet_begin - sets the clocks of the calls of @m */
void shmrt_greet_begin(struct shmrt_meet *m);

/**
 * shmrt_greet_ranks - if it is time: connect to the lower ranks that are not connected yet, and
 * send hellos that are still due; retry_at_ns is then the next time
 *
 * Return: 0, also where ranks are not there yet, or an error that ends the meeting.
 */
int shmrt_greet_ranks(struct shmrt_meet *m, int64_t now_ns) SHMRT_WARN_UNUSED;

/** shmrt_greet_accept - lets in whoever is at the door: 0 or -EMFILE */
int shmrt_greet_accept(struct shmrt_meet *m) SHMRT_WARN_UNUSED;

/**
 * shmrt_greet_pending - a hello from connection @i that somebody opened to us
 *
 * A stranger is closed without a word. Return: 0, or an error that ends the meeting.
 */
int shmrt_greet_pending(struct shmrt_meet *m, int i) SHMRT_WARN_UNUSED;

/** Whether it is a whole hello; a rank with shared memory has to show some. */
bool shmrt_greet_is_hello(const struct shmrt_received *received);

/** shmrt_greet_take - takes over the descriptors of a good hello: 0, or why the meeting fails */
int shmrt_greet_take(struct shmrt_meet *m, struct shmrt_link *link,
                     struct shmrt_received *received) SHMRT_WARN_UNUSED;

/* Words for what both hellos and verdicts may meet. */
int shmrt_greet_cannot_send(struct shmrt_meet *m, int code);
int shmrt_greet_descriptors_lost(struct shmrt_meet *m);

#endif
