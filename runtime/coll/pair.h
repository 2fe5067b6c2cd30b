/* SPDX-License-Identifier: Apache-2.0 */
/* pair.h - messages from one rank to another (L3) */
#ifndef SHMRT_PAIR_H
#define SHMRT_PAIR_H

#include "group.h"

/** One send or receive on its way. The other end is coll->root; it may be this rank itself. */
struct shmrt_pair_work {
    struct shmrt_group *group;
    struct shmrt_coll coll;
    bool begun;
    size_t moved; /* elements */
    struct shmrt_call_context context;
    struct shmrt_awaited awaited;
};

void shmrt_pair_make(struct shmrt_pair_work *work, struct shmrt_group *group,
                     const struct shmrt_coll *coll);

/**
 * shmrt_pair_step - move what can be moved now
 *
 * Works of one direction of a pair have to be stepped in their order. Return: 0 (done), -EAGAIN
 * (see work->awaited), or the error that the communicator died of.
 */
int shmrt_pair_step(struct shmrt_pair_work *work) SHMRT_WARN_UNUSED;

/**
 * shmrt_pair_next - whether the first chunk of rank @from's next message is there
 * @work: of a receive from @from that has not begun, and does not by this
 *
 * For when no receive from @from is under way. Return: 0 or -EAGAIN (see work->awaited).
 */
int shmrt_pair_next(struct shmrt_pair_work *work) SHMRT_WARN_UNUSED;

#endif
