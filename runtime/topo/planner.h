/* SPDX-License-Identifier: Apache-2.0 */
/* planner.h - the parts of making a plan, and what they share (L1) */
#ifndef SHMRT_PLANNER_H
#define SHMRT_PLANNER_H

#include "place.h"

/** Ranks that one sentence is about. */
struct shmrt_some_ranks {
    uint64_t word;
};

_Static_assert(SHMRT_MAX_RANKS <= 64, "a bit for each rank");

static inline void shmrt_some_ranks_add(struct shmrt_some_ranks *some, size_t rank)
{
    some->word |= UINT64_C(1) << rank;
}

struct shmrt_planner {
    const struct shmrt_machine *machine;
    const struct shmrt_placement_request *request;
    struct shmrt_row row;
    struct shmrt_places places;
    size_t cpu_bits, node_bits; /* one more than the largest number */
    struct shmrt_plan *plan;
    /* Found on the way, for warnings. */
    struct shmrt_some_ranks far_memory; /* none of theirs on the nodes of their own */
    struct shmrt_some_ranks no_memory;
    size_t threads_wanted; /* by the rank with most of them, before the quota */
};

/**
 * shmrt_planner_memory - memory nodes, policy and segment node of a rank whose cores are decided
 *
 * In the order of nearness: memory next to the rank's nodes, in its packages, anywhere.
 */
void shmrt_planner_memory(struct shmrt_planner *planner, size_t rank);

/** Return: 0, or -EINVAL when the tier of the request is not to be had, or makes no sense. */
int shmrt_planner_check_tier(const struct shmrt_planner *planner,
                             struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

/** What a person should know of the plan, as its warnings. Return: 0 or -ENOMEM. */
int shmrt_planner_warn(const struct shmrt_planner *planner) SHMRT_WARN_UNUSED;

#endif
