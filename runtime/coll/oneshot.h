/* SPDX-License-Identifier: Apache-2.0 */
/* oneshot.h - small collectives: each writer shows all it has at once (L3) */
#ifndef SHMRT_ONESHOT_H
#define SHMRT_ONESHOT_H

#include "plan.h"

struct shmrt_oneshot {
    struct shmrt_group *group;
    const struct shmrt_plan *plan;
    const struct shmrt_call_context *context;
    int peer; /* the next one to wait for */
};

/** What this rank shows when the call begins. */
struct shmrt_shown shmrt_oneshot_shown(const struct shmrt_plan *plan);

/** Go on as far as peers have come. Return: 0 (done), -EAGAIN (see @awaited_out), or an error. */
int shmrt_oneshot_step(struct shmrt_oneshot *oneshot,
                       struct shmrt_awaited *awaited_out) SHMRT_WARN_UNUSED;

/** What a rank does with its own input: all there is to do for a rank alone. */
void shmrt_plan_copy_own(const struct shmrt_plan *plan);

#endif
