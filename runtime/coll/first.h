/* SPDX-License-Identifier: Apache-2.0 */
/* first.h - the numbers that counters of a communicator begin with (L3) */
#ifndef SHMRT_FIRST_H
#define SHMRT_FIRST_H

#include "group.h"

struct shmrt_first {
    uint64_t epoch;
    uint64_t round;
    uint64_t chunk;   /* of messages, by pair */
    uint64_t message; /* by pair */
};

/**
 * shmrt_first_numbers - all 0, for every @job
 *
 * In a file of its own, in place of which tests link another one: there all counters are just
 * below the value at which they wrap. Must be the same on all ranks of a job.
 */
struct shmrt_first shmrt_first_numbers(const char *job);

/** shmrt_group_begin - sets this rank's counters, private and shared, before a peer looks at them
 */
void shmrt_group_begin(struct shmrt_group *group, const char *job);

#endif
