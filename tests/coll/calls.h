/* SPDX-License-Identifier: Apache-2.0 */
/* calls.h - any collective of a test: its buffers, the call itself, and what has to come of it */
#ifndef TEST_CALLS_H
#define TEST_CALLS_H

#include "random64.h"
#include "ranks.h"

#include <stdint.h>

/** A collective that all ranks know; a message is SHMRT_SEND, and a receive at rank @to. */
struct call {
    enum shmrt_collective collective;
    enum shmrt_dtype dtype;
    enum shmrt_op op;
    size_t count;    /* elements, of a block where there are blocks */
    bool uneven;     /* allgather, reduce_scatter, alltoall: blocks of many lengths, also none */
    int root;        /* or who sends */
    int to;          /* who receives */
    size_t shift;    /* bytes that buffers are off */
    bool in_place;   /* all-reduce and reduce */
    uint64_t pooled; /* bits 2r and 2r + 1: rank r's input and output come from shmrt_alloc() */
    unsigned seed;   /* of the values and of uneven counts */
    /* NULL, or in whose order terms are combined: see values_reduce_grouped() */
    const int *groups;
};

/** One rank's side of a call. */
struct side {
    struct call call;
    int rank, size;
    size_t in_count, out_count; /* elements; 0 also where this rank has no such side */
    size_t in_counts[RANKS_MAX], out_counts[RANKS_MAX];
    char *in_memory, *out_memory;
    bool in_pooled, out_pooled;
    void *in, *out;
};

/** Whether @rank has anything to do with @call. */
bool call_concerns(const struct call *call, int rank);

/** Elements that @from has for @to. */
size_t call_block(const struct call *call, int from, int to);

/** Room for the side of @comm's rank, its input filled. False without memory. */
bool side_make(struct side *side, const struct call *call, struct shmrt_comm *comm);

/** The blocking call. */
int side_call(const struct side *side, struct shmrt_comm *comm);

/** The same, started. */
int side_start(const struct side *side, struct shmrt_comm *comm, struct shmrt_request **request);

/** Whether the output is right, nothing around it was touched, and the input is as it was. */
bool side_is_right(const struct side *side);

void side_free(struct side *side);

/** All of it, blocking: 0 or the line of what failed. */
int call_once(struct rank *rank, struct shmrt_comm *comm, const struct call *call);

/** shmrt_test until it is done, or fails; lets others run. */
int test_until_done(struct shmrt_request *request);

/**
 * call_random - any call of @size ranks but a barrier; messages only with @messages
 * @most: elements at most
 */
struct call call_random(uint64_t *state, int size, size_t most, bool messages);

/** Now and then a nap, which no other rank takes. */
void nap_at_random(uint64_t *state);

#endif
