/* SPDX-License-Identifier: Apache-2.0 */
/* types.c - names and sizes of element types and operations; the library's version. */
#include "shmrt.h"

#define TEXT_OF(x)       #x
#define VERSION(a, b, c) TEXT_OF(a) "." TEXT_OF(b) "." TEXT_OF(c)

static const struct {
    const char *name;
    size_t bytes;
} dtypes[SHMRT_DTYPE_COUNT] = {
    [SHMRT_FLOAT32] = {"float32", 4},   [SHMRT_FLOAT64] = {"float64", 8},
    [SHMRT_BFLOAT16] = {"bfloat16", 2}, [SHMRT_FLOAT16] = {"float16", 2},
    [SHMRT_INT8] = {"int8", 1},         [SHMRT_UINT8] = {"uint8", 1},
    [SHMRT_INT16] = {"int16", 2},       [SHMRT_INT32] = {"int32", 4},
    [SHMRT_INT64] = {"int64", 8},
};

static const char *const ops[SHMRT_OP_COUNT] = {
    [SHMRT_SUM] = "sum",   [SHMRT_MIN] = "min", [SHMRT_MAX] = "max",
    [SHMRT_PROD] = "prod", [SHMRT_AVG] = "avg",
};

static const char *const collectives[SHMRT_COLLECTIVE_END] = {
    [SHMRT_BARRIER] = "barrier",      [SHMRT_ALLREDUCE] = "all-reduce",
    [SHMRT_BROADCAST] = "broadcast",  [SHMRT_REDUCE] = "reduce",
    [SHMRT_ALLGATHER] = "all-gather", [SHMRT_REDUCE_SCATTER] = "reduce-scatter",
    [SHMRT_ALLTOALL] = "all-to-all",  [SHMRT_GATHER] = "gather",
    [SHMRT_SCATTER] = "scatter",      [SHMRT_SEND] = "send",
    [SHMRT_RECV] = "receive",
};

const char *shmrt_version(void)
{
    return VERSION(SHMRT_VERSION_MAJOR, SHMRT_VERSION_MINOR, SHMRT_VERSION_PATCH);
}

size_t shmrt_dtype_bytes(enum shmrt_dtype dtype)
{
    return (unsigned)dtype < SHMRT_DTYPE_COUNT ? dtypes[dtype].bytes : 0;
}

const char *shmrt_dtype_name(enum shmrt_dtype dtype)
{
    return (unsigned)dtype < SHMRT_DTYPE_COUNT ? dtypes[dtype].name : NULL;
}

const char *shmrt_op_name(enum shmrt_op op)
{
    return (unsigned)op < SHMRT_OP_COUNT ? ops[op] : NULL;
}

const char *shmrt_collective_name(enum shmrt_collective collective)
{
    return (unsigned)collective < SHMRT_COLLECTIVE_END ? collectives[collective] : NULL;
}
