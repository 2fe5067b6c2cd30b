/* SPDX-License-Identifier: Apache-2.0 */
/* group.h - what the algorithms of a communicator work on (L3) */
#ifndef SHMRT_GROUP_H
#define SHMRT_GROUP_H

#include "kernels/kernels.h"
#include "shm/layout.h"
#include "sync/sync.h"

struct shmrt_group {
    struct shmrt_sync sync;
    struct shmrt_layout layout;
    char *base[SHMRT_MAX_RANKS]; /* every rank's segment, as mapped here */
    struct shmrt_kernels kernels;
    size_t oneshot_max_bytes;
    uint64_t epoch;   /* calls so far, of whatever kind */
    uint64_t *rounds; /* one a lane: two-shot rounds so far, of whatever call */
};

/** One all-reduce, checked and not empty of ranks. */
struct shmrt_reduction {
    const char *in;
    char *out;
    size_t count;
    size_t element_bytes;
    enum shmrt_dtype dtype;
    enum shmrt_op op;
};

/** What all ranks have to agree on for @reduction. */
static inline struct shmrt_call shmrt_call_of(const struct shmrt_reduction *reduction)
{
    return (struct shmrt_call){.collective = SHMRT_ALLREDUCE,
                               .dtype = (uint8_t)reduction->dtype,
                               .op = (uint8_t)reduction->op,
                               .count = reduction->count};
}

/**
 * shmrt_call_begin - start the next call: tell all what it is, together with @bytes of @payload
 * @payload: at most oneshot_max_bytes, or NULL
 */
struct shmrt_call_context shmrt_call_begin(struct shmrt_group *group, struct shmrt_call call,
                                           const void *payload, size_t bytes);

/** Wait until @peer is in the same call; -EPROTO when it makes another one. */
int shmrt_call_check(struct shmrt_group *group, const struct shmrt_call_context *context, int peer,
                     int lane) SHMRT_WARN_UNUSED;

/** shmrt_call_check of every peer. */
int shmrt_call_check_all(struct shmrt_group *group, const struct shmrt_call_context *context,
                         int lane) SHMRT_WARN_UNUSED;

/** Where @rank's payload of the current call lies. */
const char *shmrt_call_payload(const struct shmrt_group *group, int rank, size_t bytes);

/** One flag round on the caller's thread; every rank reads every vector. */
int shmrt_oneshot_allreduce(struct shmrt_group *group,
                            const struct shmrt_reduction *reduction) SHMRT_WARN_UNUSED;

/** Reduce-scatter and all-gather in pipelined rounds, over all lanes. */
int shmrt_twoshot_allreduce(struct shmrt_group *group,
                            const struct shmrt_reduction *reduction) SHMRT_WARN_UNUSED;

int shmrt_oneshot_barrier(struct shmrt_group *group) SHMRT_WARN_UNUSED;

#endif
