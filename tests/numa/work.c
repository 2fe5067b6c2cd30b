/* SPDX-License-Identifier: Apache-2.0 */
/*
 * work.c - terms are small whole numbers, so that sums are exact in every type that is used and do
 * not depend on their order.
 */
#include "work.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

static const size_t counts[] = {1, 5, 1000, 20011, WORK_COUNT_MAX};
static const enum shmrt_dtype dtypes[] = {SHMRT_FLOAT32, SHMRT_BFLOAT16};

static float term(int rank, size_t i)
{
    return (float)((rank % 2 + 1) * (int)(i % 5 + 1));
}

static float sum_of_terms(int size, size_t i)
{
    float sum = 0;
    for (int rank = 0; rank < size; rank++)
        sum += term(rank, i);
    return sum;
}

static void put(char *vector, size_t i, enum shmrt_dtype dtype, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (dtype == SHMRT_BFLOAT16)
        memcpy(vector + 2 * i, &(uint16_t){(uint16_t)(bits >> 16)}, 2);
    else
        memcpy(vector + 4 * i, &value, 4);
}

static float get(const char *vector, size_t i, enum shmrt_dtype dtype)
{
    float value;
    uint16_t half;
    memcpy(&half, vector + 2 * i, 2);
    uint32_t bits = (uint32_t)half << 16;
    memcpy(&value, dtype == SHMRT_BFLOAT16 ? (const char *)&bits : vector + 4 * i, 4);
    return value;
}

static void fill(char *vector, size_t from, size_t count, enum shmrt_dtype dtype, int rank)
{
    for (size_t i = 0; i < count; i++)
        put(vector, i, dtype, term(rank, from + i));
}

/* Whether @out holds the terms of @rank, or for -1 their sum, from element @from on. */
static bool holds(const char *out, size_t from, size_t count, enum shmrt_dtype dtype, int rank,
                  int size, const char *what)
{
    float expected[5];
    for (size_t i = 0; i < 5; i++)
        expected[i] = rank < 0 ? sum_of_terms(size, from + i) : term(rank, from + i);
    for (size_t i = 0; i < count; i++) {
        float got = get(out, i, dtype);
        if (got != expected[i % 5]) {
            fprintf(stderr, "%s of %zu %s: element %zu is %g, not %g\n", what, count,
                    shmrt_dtype_name(dtype), i, (double)got, (double)expected[i % 5]);
            return false;
        }
    }
    return true;
}

static bool went(struct shmrt_comm *comm, int rc, const char *what)
{
    if (rc)
        fprintf(stderr, "%s: %s\n", what, shmrt_comm_error(comm)->text);
    return rc == 0;
}

static bool allreduce(struct shmrt_comm *comm, const struct work_buffers *buffers, size_t count,
                      enum shmrt_dtype dtype)
{
    int rank = shmrt_comm_rank(comm), size = shmrt_comm_size(comm);
    fill(buffers->in, 0, count, dtype, rank);
    return went(comm, shmrt_allreduce(comm, buffers->in, buffers->out, count, dtype, SHMRT_SUM),
                "all-reduce") &&
           holds(buffers->out, 0, count, dtype, -1, size, "all-reduce") &&
           went(comm, shmrt_allreduce(comm, buffers->in, buffers->in, count, dtype, SHMRT_SUM),
                "all-reduce in place") &&
           holds(buffers->in, 0, count, dtype, -1, size, "all-reduce in place");
}

/* Blocks of one rank: together as long as the longest vector at most. */
static bool others(struct shmrt_comm *comm, const struct work_buffers *buffers)
{
    const enum shmrt_dtype dtype = SHMRT_FLOAT32;
    int rank = shmrt_comm_rank(comm), size = shmrt_comm_size(comm);
    size_t block = WORK_COUNT_MAX / (size_t)size, all = block * (size_t)size;
    fill(buffers->in, 0, all, dtype, rank);
    if (!went(comm, shmrt_reduce_scatter(comm, buffers->in, buffers->out, block, dtype, SHMRT_SUM),
              "reduce-scatter") ||
        !holds(buffers->out, block * (size_t)rank, block, dtype, -1, size, "reduce-scatter"))
        return false;
    fill(buffers->in, 0, block, dtype, rank);
    if (!went(comm, shmrt_allgather(comm, buffers->in, buffers->out, block, dtype), "all-gather"))
        return false;
    for (int r = 0; r < size; r++)
        if (!holds(buffers->out + (size_t)r * block * 4, 0, block, dtype, r, size, "all-gather"))
            return false;
    fill(buffers->in, 0, all, dtype, rank);
    return went(comm, shmrt_broadcast(comm, buffers->in, all, dtype, size - 1), "broadcast") &&
           holds(buffers->in, 0, all, dtype, size - 1, size, "broadcast");
}

bool work_once(struct shmrt_comm *comm, const struct work_buffers *private,
               const struct work_buffers *shared)
{
    const struct work_buffers *const both[] = {private, shared};
    for (size_t b = 0; b < 2; b++) {
        for (size_t d = 0; d < sizeof dtypes / sizeof dtypes[0]; d++)
            for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++)
                if (!allreduce(comm, both[b], counts[c], dtypes[d]))
                    return false;
        if (!others(comm, both[b]))
            return false;
    }
    return true;
}

bool work_round(struct shmrt_comm *comm, const struct work_buffers *private,
                const struct work_buffers *shared, bool *flag)
{
    int32_t any = *flag;
    if (!allreduce(comm, private, 20011, SHMRT_FLOAT32) ||
        !allreduce(comm, shared, 20011, SHMRT_FLOAT32))
        return false;
    int rc = shmrt_allreduce(comm, &any, &any, 1, SHMRT_INT32, SHMRT_MAX);
    *flag = any != 0;
    return went(comm, rc, "all-reduce of a flag");
}
