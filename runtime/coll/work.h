/* SPDX-License-Identifier: Apache-2.0 */
/* work.h - a collective on its way, from its first word to its last (L3) */
#ifndef SHMRT_WORK_H
#define SHMRT_WORK_H

#include "lane.h"
#include "oneshot.h"

enum shmrt_way {
    SHMRT_WAY_ONESHOT,
    SHMRT_WAY_EXCHANGE,
    SHMRT_WAY_TWOSHOT,
    SHMRT_WAY_DIRECT,
    SHMRT_WAY_HIERARCHY,
};

enum shmrt_work_state { SHMRT_WORK_NEW, SHMRT_WORK_ENTERED, SHMRT_WORK_RUNNING, SHMRT_WORK_OVER };

struct shmrt_work {
    struct shmrt_group *group;
    struct shmrt_coll coll;
    struct shmrt_plan plan;
    enum shmrt_work_state state;
    enum shmrt_way way;
    int peer; /* where to go on */
    struct shmrt_call_context context;
    struct shmrt_oneshot oneshot;
    struct shmrt_round_call call;
    struct shmrt_lane *lanes; /* of a call that is come back to; one a lane */
    int lane;                 /* where to go on */
    struct shmrt_awaited awaited;
};

/** shmrt_work_make - choose how @coll goes; tells nobody yet */
void shmrt_work_make(struct shmrt_work *work, struct shmrt_group *group,
                     const struct shmrt_coll *coll);

/** shmrt_work_run - do it, waiting as needed: 0 or the error that the communicator died of */
int shmrt_work_run(struct shmrt_work *work) SHMRT_WARN_UNUSED;

/**
 * shmrt_work_step - go on as far as peers have come, on this thread
 *
 * Return: 0 (done), -EAGAIN (see work->awaited), -ENOMEM, or the error that the communicator died
 * of. May be mixed with shmrt_work_run, which finishes.
 */
int shmrt_work_step(struct shmrt_work *work) SHMRT_WARN_UNUSED;

void shmrt_work_free(struct shmrt_work *work);

/** Whether tensors in pools were used where they lie. */
bool shmrt_work_was_shared(const struct shmrt_work *work);

#endif
