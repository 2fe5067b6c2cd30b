/* SPDX-License-Identifier: Apache-2.0 */
/*
 * task.h - what a contender is asked to do, and the data that shows whether it did it
 *
 * Plain C without shmrt, for C++ too: shm-bench and the peers it measures share this file, so that
 * all of them get the same data, the same treatment of their buffers, and the same check.
 *
 * A size is that of one block, as in the library's calls: an all-gather of 64 bytes on four ranks
 * has 64 bytes in and 256 out on each.
 */
#ifndef SHMRT_BENCH_TASK_H
#define SHMRT_BENCH_TASK_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { BENCH_MAX_RANKS = 64 };

enum bench_collective {
    BENCH_ALLREDUCE,
    BENCH_BROADCAST,
    BENCH_REDUCE,
    BENCH_ALLGATHER,
    BENCH_REDUCE_SCATTER,
    BENCH_ALLTOALL,
    BENCH_GATHER,
    BENCH_SCATTER,
    BENCH_SENDRECV, /* ranks 0 and 1: there and back, which counts as two calls; others do nothing
                     */
    BENCH_BARRIER,
    BENCH_ALLREDUCE_NORM, /* with residual and norm; of shmrt alone */
    BENCH_CREATE,         /* ranks meet, and make one all-reduce; of shmrt alone */
    BENCH_COLLECTIVE_COUNT
};

/** The library's element types and operations, in its order. */
enum bench_dtype {
    BENCH_FP32,
    BENCH_FP64,
    BENCH_BF16,
    BENCH_FP16,
    BENCH_INT8,
    BENCH_UINT8,
    BENCH_INT16,
    BENCH_INT32,
    BENCH_INT64,
    BENCH_DTYPE_COUNT
};

enum bench_op { BENCH_SUM, BENCH_MIN, BENCH_MAX, BENCH_PROD, BENCH_AVG, BENCH_OP_COUNT };

/** What happens to a rank's buffers before each call, untimed. */
enum bench_buffers {
    BENCH_WARM,      /* nothing: as the last call left them */
    BENCH_COLD,      /* flushed from all caches */
    BENCH_REWRITTEN, /* the rank writes its input, as a matrix product does */
    BENCH_BUFFERS_COUNT
};

/** One call, the same on all ranks. Lies in shared memory: fixed widths only. */
struct bench_task {
    uint32_t collective; /* enum bench_collective */
    uint32_t dtype;      /* enum bench_dtype */
    uint32_t op;         /* enum bench_op; for the reductions */
    uint32_t buffers;    /* enum bench_buffers */
    uint32_t in_place;   /* in == out (broadcast: always, its one buffer) */
    uint32_t ranks;
    uint32_t root; /* of broadcast, reduce, gather, scatter */
    uint32_t zero;
    uint64_t count; /* elements of a block */
};

const char *bench_collective_name(uint32_t collective);
const char *bench_dtype_name(uint32_t dtype);
const char *bench_op_name(uint32_t op);
const char *bench_buffers_name(uint32_t buffers);
size_t bench_dtype_bytes(uint32_t dtype);

/** The fp16 of @exact, which is one: 0, or a normal number. Few CPUs' compilers know the type. */
uint16_t bench_fp16(float exact);

/** Bytes that @rank hands in and gets out; 0 where it has nothing to give or to get. */
size_t bench_in_bytes(const struct bench_task *task, uint32_t rank);
size_t bench_out_bytes(const struct bench_task *task, uint32_t rank);

/** The largest of them on any rank. Every rank's buffers have that size. */
size_t bench_payload_bytes(const struct bench_task *task);

/** Write the input of @rank, and spoil @out. In place, @out is the input's memory. */
void bench_fill(const struct bench_task *task, uint32_t rank, void *in, void *out);

/** The first wrong element of the output of @rank, or -1 when all are right. */
int64_t bench_check(const struct bench_task *task, uint32_t rank, const void *out);

/** After bench_fill() and bench_check(): zeros, since sums in place would run off to infinity. */
void bench_clear(const struct bench_task *task, void *in, void *out);

/** Do to the buffers what the task says has to be done before every call. */
void bench_prepare(const struct bench_task *task, uint32_t rank, void *in, void *out);

#ifdef __cplusplus
}
#endif
#endif
