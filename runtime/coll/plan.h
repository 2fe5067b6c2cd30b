/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan.h - what a collective moves from whom to whom, in one pass (L3, pure)
 *
 * A writer has either the same for every reader, or a block for each. A reader either copies what
 * it reads, or combines it, its own included, in rank order. That is all there is to know of a
 * collective; how the data travels is the algorithms' business.
 */
#ifndef SHMRT_PLAN_H
#define SHMRT_PLAN_H

#include "group.h"

struct shmrt_plan {
    const struct shmrt_coll *coll;
    int size;
    int rank;
    bool each;    /* a writer has a block for each reader, not the same for all */
    bool combine; /* a reader combines the writers' blocks */
    int writer;   /* the only rank that writes; -1: all */
    int reader;   /* the only rank that reads; -1: all */
    size_t in_begin[SHMRT_MAX_RANKS]; /* elements, filled where blocks differ */
    size_t out_begin[SHMRT_MAX_RANKS];
};

/** What goes from one rank to another, in elements. */
struct shmrt_block {
    size_t count;
    size_t from; /* in the writer's input */
    size_t to;   /* in the reader's output */
};

void shmrt_plan_make(struct shmrt_plan *plan, const struct shmrt_coll *coll, int size, int rank);

/**
 * shmrt_plan_block - the block from @writer to @reader, one of which is this rank
 *
 * With counts that a rank gives for itself (all-to-all), the place at the other end is unknown, and
 * left 0.
 */
struct shmrt_block shmrt_plan_block(const struct shmrt_plan *plan, int writer, int reader);

/** Elements of the longest block that any two ranks know of; of this rank's, where each has own. */
size_t shmrt_plan_longest(const struct shmrt_plan *plan);

/** Elements that @rank has to show when all of it is shown at once. */
size_t shmrt_plan_payload(const struct shmrt_plan *plan, int rank);

/** The largest payload of any rank, the same everywhere; SIZE_MAX when ranks can't know. */
size_t shmrt_plan_largest_payload(const struct shmrt_plan *plan);

/** Elements of the whole vector, or of all blocks together; the same everywhere. */
size_t shmrt_plan_vector(const struct shmrt_plan *plan);

static inline bool shmrt_plan_writes(const struct shmrt_plan *plan, int rank)
{
    return plan->writer < 0 || plan->writer == rank;
}

static inline bool shmrt_plan_reads(const struct shmrt_plan *plan, int rank)
{
    return plan->reader < 0 || plan->reader == rank;
}

/** Everyone writes for everyone. */
static inline bool shmrt_plan_is_symmetric(const struct shmrt_plan *plan)
{
    return plan->writer < 0 && plan->reader < 0;
}

/** Whether a reader knows where a writer's block for it begins. */
static inline bool shmrt_plan_is_transparent(const struct shmrt_plan *plan)
{
    return plan->coll->collective != SHMRT_ALLTOALL || !plan->coll->in_counts;
}

#endif
