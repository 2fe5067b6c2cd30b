/* SPDX-License-Identifier: Apache-2.0 */
/* environment.c - the variables of a rank. */
#include "environment.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static int set_number(const char *name, size_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%zu", value);
    return setenv(name, text, 1);
}

/* What torch's env:// and the scripts written for torchrun and deepspeed read. PMI_* is never set:
 * MPI libraries would take this for their own launcher. */
int launch_environment_set(const struct launch_job *job, size_t rank)
{
    const struct {
        const char *name;
        size_t value;
    } numbers[] = {
        {"RANK", rank},
        {"LOCAL_RANK", rank},
        {"ROLE_RANK", rank},
        {"GROUP_RANK", 0},
        {"WORLD_SIZE", job->plan->rank_count},
        {"LOCAL_WORLD_SIZE", job->plan->rank_count},
        {"LOCAL_SIZE", job->plan->rank_count},
        {"ROLE_WORLD_SIZE", job->plan->rank_count},
        {"GROUP_WORLD_SIZE", 1},
        {"MASTER_PORT", (size_t)job->port},
        {"OMP_NUM_THREADS", job->plan->ranks[rank].threads},
    };
    size_t count = sizeof numbers / sizeof numbers[0] - (job->own_threads != NULL);
    int failed = 0;
    for (size_t i = 0; i < count; i++)
        failed |= set_number(numbers[i].name, numbers[i].value);
    failed |= setenv("MASTER_ADDR", "127.0.0.1", 1);
    failed |= setenv("SHMRT_JOB", job->key, 1);
    /* Inherited from a torchrun around us, it makes ranks look for that one's store and hang. */
    failed |= unsetenv("TORCHELASTIC_USE_AGENT_STORE");
    /* Through a pipe Python would show nothing before the end, and lose it in a crash. */
    if (job->piped)
        failed |= setenv("PYTHONUNBUFFERED", "1", 0);
    return failed ? -ENOMEM : 0;
}
