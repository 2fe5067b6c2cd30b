/* SPDX-License-Identifier: Apache-2.0 */
/*
 * comm.c - the entry points of a communicator: arguments are checked before anything is shared.
 */
#include "comm.h"

#include "shm/bind.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

int shmrt_comm_rank(const struct shmrt_comm *comm)
{
    return comm->group.sync.rank;
}

int shmrt_comm_size(const struct shmrt_comm *comm)
{
    return comm->group.sync.size;
}

int shmrt_comm_lanes(const struct shmrt_comm *comm)
{
    return comm->group.sync.lanes;
}

const char *shmrt_comm_kernel(const struct shmrt_comm *comm)
{
    return comm->group.kernels.name;
}

const struct shmrt_error *shmrt_comm_error(const struct shmrt_comm *comm)
{
    return &comm->error;
}

static bool is_forked(const struct shmrt_comm *comm)
{
    return comm->fork_guard[0] == 0;
}

void shmrt_comm_abort(struct shmrt_comm *comm, const char *reason)
{
    if (!is_forked(comm))
        shmrt_fail(&comm->group.sync, -ECONNABORTED, "rank %d aborted: %s", comm->group.sync.rank,
                   reason ? reason : "no reason given");
}

/* Refuses every call on a communicator that can't be used (any more). */
static int check_usable(struct shmrt_comm *comm)
{
    if (shmrt_unlikely(is_forked(comm)))
        return shmrt_error_set(
            &comm->error, -EINVAL,
            "this communicator was made before fork() and belongs to the parent; "
            "the child has to create its own, with SHMRT_LANES=1 since OpenMP's threads do not "
            "survive fork()");
    struct shmrt_error error;
    if (shmrt_unlikely(shmrt_has_failed(&comm->group.sync, &error))) {
        comm->error = error;
        return error.code;
    }
    return 0;
}

static bool overlaps_partly(const void *in, const void *out, size_t bytes)
{
    uintptr_t a = (uintptr_t)in, b = (uintptr_t)out;
    return a != b && (a < b ? b - a : a - b) < bytes;
}

static int check_arguments(struct shmrt_comm *comm, const void *in, const void *out, size_t count,
                           enum shmrt_dtype dtype, enum shmrt_op op)
{
    size_t element = shmrt_dtype_bytes(dtype);
    if (element == 0)
        return shmrt_error_set(&comm->error, -EINVAL, "%d is not an element type (0 to %d)",
                               (int)dtype, SHMRT_DTYPE_COUNT - 1);
    if (!shmrt_op_name(op))
        return shmrt_error_set(&comm->error, -EINVAL, "%d is not an operation (0 to %d)", (int)op,
                               SHMRT_OP_COUNT - 1);
    if (!comm->group.kernels.reduce[dtype][op])
        return shmrt_error_set(&comm->error, -ENOTSUP,
                               "%s of %s is not defined (the quotient of integers is not an "
                               "integer); use sum and divide, or a floating-point type",
                               shmrt_op_name(op), shmrt_dtype_name(dtype));
    if (count > PTRDIFF_MAX / element)
        return shmrt_error_set(&comm->error, -EINVAL, "%zu elements of %s are more than %td bytes",
                               count, shmrt_dtype_name(dtype), PTRDIFF_MAX);
    if (count && (!in || !out))
        return shmrt_error_set(&comm->error, -EINVAL, "the %s buffer is NULL",
                               in ? "output" : "input");
    if (overlaps_partly(in, out, count * element))
        return shmrt_error_set(&comm->error, -EINVAL,
                               "input and output overlap partly: they are %" PRIu64
                               " bytes apart and %zu long; use the same buffer or separate ones",
                               (uint64_t)((uintptr_t)in < (uintptr_t)out
                                              ? (uintptr_t)out - (uintptr_t)in
                                              : (uintptr_t)in - (uintptr_t)out),
                               count * element);
    return 0;
}

/* After a collective: the error that @comm died of becomes its last error. */
static int finish(struct shmrt_comm *comm, int rc, size_t bytes)
{
    if (shmrt_unlikely(rc)) {
        if (!shmrt_has_failed(&comm->group.sync, &comm->error))
            shmrt_error_set(&comm->error, rc, "%s", strerror(-rc));
        return comm->error.code;
    }
    comm->counters.calls++;
    comm->counters.bytes += bytes;
    return 0;
}

int shmrt_allreduce(struct shmrt_comm *comm, const void *in, void *out, size_t count,
                    enum shmrt_dtype dtype, enum shmrt_op op)
{
    int rc = check_usable(comm);
    if (rc == 0)
        rc = check_arguments(comm, in, out, count, dtype, op);
    if (shmrt_unlikely(rc))
        return rc;
    struct shmrt_reduction reduction = {.in = in,
                                        .out = out,
                                        .count = count,
                                        .element_bytes = shmrt_dtype_bytes(dtype),
                                        .dtype = dtype,
                                        .op = op};
    size_t bytes = count * reduction.element_bytes;
    if (comm->group.sync.size == 1) {
        const void *term = in;
        shmrt_kernels_reduce(&comm->group.kernels, dtype, op, out, &term, 1, count);
    } else if (bytes <= comm->group.oneshot_max_bytes) {
        comm->counters.oneshot_calls++;
        rc = shmrt_oneshot_allreduce(&comm->group, &reduction);
    } else {
        comm->counters.pipelined_calls++;
        rc = shmrt_twoshot_allreduce(&comm->group, &reduction);
    }
    return finish(comm, rc, bytes);
}

int shmrt_barrier(struct shmrt_comm *comm)
{
    int rc = check_usable(comm);
    if (rc)
        return rc;
    if (comm->group.sync.size > 1)
        rc = shmrt_oneshot_barrier(&comm->group);
    return finish(comm, rc, 0);
}

void shmrt_comm_counters(const struct shmrt_comm *comm, struct shmrt_counters *out)
{
    *out = comm->counters;
    for (int lane = 0; lane < comm->group.sync.lanes; lane++) {
        out->wait_ns += comm->group.sync.stats[lane].wait_ns;
        out->sleeps += comm->group.sync.stats[lane].sleeps;
    }
}

int shmrt_comm_verify(struct shmrt_comm *comm, struct shmrt_placement_proof *out)
{
    *out = (struct shmrt_placement_proof){0};
    if (is_forked(comm))
        return check_usable(comm);
    const struct shmrt_segment *own = &comm->segments[comm->group.sync.rank];
    int rc = shmrt_bind_count(own->base, own->bytes, &own->nodes, out);
    out->nodes = own->nodes.words[0];
    out->bound = own->bound;
    return rc;
}
