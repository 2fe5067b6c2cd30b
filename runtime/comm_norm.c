/* SPDX-License-Identifier: Apache-2.0 */
/*
 * comm_norm.c - an all-reduce followed by a norm of its rows.
 *
 * The sum over ranks goes to out, since sum_out may be the residual, which is still to be added;
 * but to sum_out where that is the input: while peers read the input, only the engine may write it.
 * As soon as a lane has whole rows of it, and while they are in its cache, it norms them in place.
 * A row is normed by one lane as a whole: the bits do not depend on how many there are.
 */
#include "comm.h"

#include <errno.h>
#include <inttypes.h>

/* Whether two buffers of these sizes share a byte; NULL shares none. */
static bool overlap(const void *a, size_t a_bytes, const void *b, size_t b_bytes)
{
    uintptr_t x = (uintptr_t)a, y = (uintptr_t)b;
    return a && b && (x < y ? y - x < a_bytes : x - y < b_bytes);
}

static int refuse(struct shmrt_comm *comm, const char *why)
{
    return shmrt_error_set(&comm->error, -EINVAL, "all-reduce with a norm: %s", why);
}

static int check_places(struct shmrt_comm *comm, const struct shmrt_norm_args *args, size_t bytes)
{
    size_t row_bytes = args->columns * shmrt_dtype_bytes(args->dtype);
    if (!args->in || !args->sum_out || !args->out || !args->weight)
        return refuse(comm, "in, sum_out, out or weight is NULL");
    if (overlap(args->out, bytes, args->sum_out, bytes) ||
        overlap(args->out, bytes, args->residual, bytes))
        return refuse(comm, "out overlaps sum_out or residual; it needs memory of its own");
    if ((args->in != args->out && overlap(args->in, bytes, args->out, bytes)) ||
        (args->in != args->sum_out && overlap(args->in, bytes, args->sum_out, bytes)) ||
        (args->residual != args->sum_out && overlap(args->residual, bytes, args->sum_out, bytes)))
        return refuse(comm, "buffers overlap partly; use the same one or separate ones");
    if (args->sum_out == args->in && overlap(args->residual, bytes, args->in, bytes))
        return refuse(comm, "residual overlaps in, which sum_out overwrites");
    const void *const vectors[] = {args->weight, args->bias};
    for (int i = 0; i < 2; i++)
        if (overlap(vectors[i], row_bytes, args->out, bytes) ||
            overlap(vectors[i], row_bytes, args->sum_out, bytes))
            return refuse(comm, "weight or bias overlaps an output");
    return 0;
}

static int check(struct shmrt_comm *comm, const struct shmrt_norm_args *args)
{
    size_t element = shmrt_dtype_bytes(args->dtype);
    if (element == 0 || args->norm < 0 || args->norm >= SHMRT_NORM_COUNT)
        return shmrt_error_set(&comm->error, -EINVAL,
                               "%d is not an element type (0 to %d), or %d not a norm (0 to %d)",
                               (int)args->dtype, SHMRT_DTYPE_COUNT - 1, (int)args->norm,
                               SHMRT_NORM_COUNT - 1);
    if (!comm->group.kernels.norm[args->dtype])
        return shmrt_error_set(&comm->error, -ENOTSUP,
                               "rows of %s can't be normed; use float32, bfloat16 or float16",
                               shmrt_dtype_name(args->dtype));
    if (!(args->epsilon >= 0))
        return shmrt_error_set(&comm->error, -EINVAL,
                               "all-reduce with a norm: epsilon is %g; give a number of 0 or more",
                               (double)args->epsilon);
    if (args->bias && args->norm == SHMRT_RMS_NORM)
        return refuse(comm, "an RMS norm has no bias; leave it NULL, or take the layer norm");
    if (args->columns && args->rows > PTRDIFF_MAX / element / args->columns)
        return shmrt_error_set(&comm->error, -EINVAL,
                               "%zu rows of %zu columns of %s are more than %td bytes", args->rows,
                               args->columns, shmrt_dtype_name(args->dtype), PTRDIFF_MAX);
    size_t bytes = args->rows * args->columns * element;
    return bytes ? check_places(comm, args, bytes) : 0;
}

struct norm_work {
    const struct shmrt_kernels *kernels;
    struct shmrt_norm_args reduced; /* in: what was reduced */
};

/* struct shmrt_finish.fn */
static void norm_rows(void *arg, size_t begin, size_t count)
{
    const struct norm_work *work = arg;
    size_t columns = work->reduced.columns;
    shmrt_kernels_norm(work->kernels, &work->reduced, begin / columns, count / columns);
}

static int reduce_and_norm(struct shmrt_comm *comm, const struct shmrt_norm_args *args)
{
    int rc = check(comm, args);
    if (rc == 0)
        rc = shmrt_comm_check(comm);
    void *reduced = args->sum_out == args->in ? args->sum_out : args->out;
    struct shmrt_coll coll;
    const struct shmrt_args reduction = {.collective = SHMRT_ALLREDUCE,
                                         .in = args->in,
                                         .out = reduced,
                                         .count = rc ? 0 : args->rows * args->columns,
                                         .dtype = args->dtype,
                                         .op = SHMRT_SUM};
    if (rc == 0)
        rc = shmrt_args_check(comm, &reduction, &coll);
    if (rc)
        return rc;
    struct norm_work work = {&comm->group.kernels, *args};
    work.reduced.in = reduced;
    if (reduction.count)
        coll.finish = (struct shmrt_finish){norm_rows, &work, args->columns};
    return shmrt_comm_run(comm, &coll);
}

int shmrt_allreduce_norm(struct shmrt_comm *comm, const struct shmrt_norm_args *args)
{
    int rc = shmrt_comm_enter(comm);
    if (rc)
        return rc;
    rc = reduce_and_norm(comm, args);
    shmrt_comm_leave(comm);
    return rc;
}
