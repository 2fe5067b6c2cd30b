/* SPDX-License-Identifier: Apache-2.0 */
/* comm_args.c - arguments are checked here, before anything is shared. */
#include "comm.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static bool is_reduction(enum shmrt_collective collective)
{
    return collective == SHMRT_ALLREDUCE || collective == SHMRT_REDUCE ||
           collective == SHMRT_REDUCE_SCATTER;
}

static bool has_peer(enum shmrt_collective collective)
{
    return collective == SHMRT_BROADCAST || collective == SHMRT_REDUCE ||
           collective == SHMRT_GATHER || collective == SHMRT_SCATTER || collective == SHMRT_SEND ||
           collective == SHMRT_RECV;
}

static int check_type(struct shmrt_comm *comm, const struct shmrt_args *args)
{
    if (shmrt_dtype_bytes(args->dtype) == 0)
        return shmrt_error_set(&comm->error, -EINVAL, "%d is not an element type (0 to %d)",
                               (int)args->dtype, SHMRT_DTYPE_COUNT - 1);
    if (!is_reduction(args->collective))
        return 0;
    if (!shmrt_op_name(args->op))
        return shmrt_error_set(&comm->error, -EINVAL, "%d is not an operation (0 to %d)",
                               (int)args->op, SHMRT_OP_COUNT - 1);
    if (!comm->group.kernels.reduce[args->dtype][args->op])
        return shmrt_error_set(&comm->error, -ENOTSUP,
                               "%s of %s is not defined (the quotient of integers is not an "
                               "integer); use sum and divide, or a floating-point type",
                               shmrt_op_name(args->op), shmrt_dtype_name(args->dtype));
    return 0;
}

static int check_peer(struct shmrt_comm *comm, const struct shmrt_args *args)
{
    if (!has_peer(args->collective) || (args->peer >= 0 && args->peer < comm->group.sync.size))
        return 0;
    const char *role = args->collective == SHMRT_SEND   ? "destination"
                       : args->collective == SHMRT_RECV ? "source"
                                                        : "root";
    return shmrt_error_set(&comm->error, -EINVAL, "%s %d of a %s is not a rank from 0 to %d", role,
                           args->peer, shmrt_collective_name(args->collective),
                           comm->group.sync.size - 1);
}

/* Counts of blocks only where blocks may differ; a rank sends itself what it expects of itself. */
static int check_counts(struct shmrt_comm *comm, const struct shmrt_args *args)
{
    bool all_to_all = args->collective == SHMRT_ALLTOALL;
    bool may = all_to_all || args->collective == SHMRT_ALLGATHER ||
               args->collective == SHMRT_REDUCE_SCATTER;
    if ((args->in_counts && !may) || (args->out_counts && !all_to_all))
        return shmrt_error_set(&comm->error, -EINVAL, "a %s takes no %s counts",
                               shmrt_collective_name(args->collective),
                               args->in_counts && !may ? "input" : "output");
    if (!all_to_all || (!args->in_counts && !args->out_counts))
        return 0;
    if (!args->in_counts || !args->out_counts)
        return shmrt_error_set(&comm->error, -EINVAL,
                               "an all-to-all takes both input and output counts, or none");
    int own = comm->group.sync.rank;
    if (args->in_counts[own] == args->out_counts[own])
        return 0;
    return shmrt_error_set(&comm->error, -EINVAL,
                           "rank %d sends itself %zu elements, but expects %zu of itself", own,
                           args->in_counts[own], args->out_counts[own]);
}

/* Elements of @counts, or of @blocks times @count; false when they are more than memory has. */
static bool add_up(const size_t *counts, size_t count, int blocks, size_t element, size_t *out)
{
    size_t most = PTRDIFF_MAX / element, sum = 0;
    for (int i = 0; i < blocks; i++) {
        size_t block = counts ? counts[i] : count;
        if (block > most - sum)
            return false;
        sum += block;
    }
    *out = sum;
    return true;
}

/* Whether a side of a collective is one block (1), one for each rank (N), or not there (0). */
static int blocks_of(const struct shmrt_args *args, int size, bool is_peer, bool input)
{
    switch (args->collective) {
    case SHMRT_ALLREDUCE:
        return 1;
    case SHMRT_REDUCE:
        return input || is_peer;
    case SHMRT_BROADCAST: /* one buffer, which is in @out */
        return !input;
    case SHMRT_ALLGATHER:
        return input ? 1 : size;
    case SHMRT_GATHER:
        return input ? 1 : is_peer ? size : 0;
    case SHMRT_SCATTER:
        return !input ? 1 : is_peer ? size : 0;
    case SHMRT_REDUCE_SCATTER:
        return input ? size : 1;
    case SHMRT_ALLTOALL:
        return size;
    case SHMRT_SEND:
        return input;
    case SHMRT_RECV:
        return !input;
    default:
        return 0;
    }
}

/* Elements of the input or output on this rank; false when they are too many. */
static bool measure(const struct shmrt_comm *comm, const struct shmrt_args *args, bool input,
                    size_t *count_out)
{
    int size = comm->group.sync.size, rank = comm->group.sync.rank;
    int blocks = blocks_of(args, size, args->peer == rank, input);
    const size_t *counts = args->out_counts && !input ? args->out_counts : args->in_counts;
    size_t own = counts && blocks == 1 ? counts[rank] : args->count;
    return add_up(blocks == size && counts && size > 1 ? counts : NULL, own, blocks,
                  shmrt_dtype_bytes(args->dtype), count_out);
}

static int overlap(struct shmrt_comm *comm, const struct shmrt_args *args, size_t in_bytes,
                   size_t out_bytes)
{
    uintptr_t a = (uintptr_t)args->in, b = (uintptr_t)args->out;
    bool same_is_fine = args->collective == SHMRT_ALLREDUCE || args->collective == SHMRT_REDUCE;
    if (in_bytes == 0 || out_bytes == 0 || (a == b && same_is_fine) || a >= b + out_bytes ||
        b >= a + in_bytes)
        return 0;
    return shmrt_error_set(&comm->error, -EINVAL,
                           "input and output of a %s overlap%s: they are %" PRIu64
                           " bytes apart, %zu and %zu long; use %sseparate buffers",
                           shmrt_collective_name(args->collective), same_is_fine ? " partly" : "",
                           (uint64_t)(a < b ? b - a : a - b), in_bytes, out_bytes,
                           same_is_fine ? "the same buffer or " : "");
}

static int check_buffers(struct shmrt_comm *comm, const struct shmrt_args *args)
{
    size_t element = shmrt_dtype_bytes(args->dtype), in = 0, out = 0;
    if (!measure(comm, args, true, &in) || !measure(comm, args, false, &out))
        return shmrt_error_set(
            &comm->error, -EINVAL, "the elements of a %s of %s are more than %td bytes",
            shmrt_collective_name(args->collective), shmrt_dtype_name(args->dtype), PTRDIFF_MAX);
    if ((in && !args->in) || (out && !args->out))
        return shmrt_error_set(&comm->error, -EINVAL, "the %s buffer is NULL",
                               in && !args->in ? "input" : "output");
    return overlap(comm, args, in * element, out * element);
}

int shmrt_args_check(struct shmrt_comm *comm, const struct shmrt_args *args,
                     struct shmrt_coll *coll_out)
{
    if (!shmrt_collective_name(args->collective))
        return shmrt_error_set(&comm->error, -EINVAL, "%d is not a collective (%d to %d)",
                               (int)args->collective, SHMRT_BARRIER, SHMRT_COLLECTIVE_END - 1);
    if (args->collective == SHMRT_BARRIER) { /* whatever else @args says */
        *coll_out = (struct shmrt_coll){.collective = SHMRT_BARRIER, .element_bytes = 1};
        return 0;
    }
    int rc;
    if ((rc = check_type(comm, args)) != 0 || (rc = check_peer(comm, args)) != 0 ||
        (rc = check_counts(comm, args)) != 0 || (rc = check_buffers(comm, args)) != 0)
        return rc;
    bool reduces = is_reduction(args->collective);
    *coll_out =
        (struct shmrt_coll){.collective = args->collective,
                            .in = args->collective == SHMRT_BROADCAST ? args->out : args->in,
                            .out = args->out,
                            .count = args->count,
                            .in_counts = args->in_counts,
                            .out_counts = args->out_counts,
                            .element_bytes = shmrt_dtype_bytes(args->dtype),
                            .dtype = args->dtype,
                            .op = reduces ? args->op : SHMRT_SUM,
                            .root = has_peer(args->collective) ? args->peer : 0};
    return 0;
}
