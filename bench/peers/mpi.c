/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mpi.c - an MPI library takes turns in a run of shm-bench.
 *
 * One source, compiled once for each MPI; settings.sh beside it has the settings, and which others
 * were tried. Each rank serves its turns from MPI_Init to MPI_Finalize.
 *
 * Usage, under mpirun: mpi-peer [SETTING], where SETTING is the text that reports show.
 */
#include "peer.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <mpi.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef OPEN_MPI
#include <mpi-ext.h>
#endif

/* Names that an MPI has or has not: neither 16-bit float is in the standard. */
#if defined(MPIX_C_FLOAT16)
#define PEER_FP16 MPIX_C_FLOAT16
#else
#define PEER_FP16 MPI_DATATYPE_NULL
#endif
#if defined(MPIX_BFLOAT16)
#define PEER_BF16 MPIX_BFLOAT16
#else
#define PEER_BF16 MPI_DATATYPE_NULL
#endif

/* One task, in MPI's terms. */
struct call {
    const struct bench_task *task;
    void *in;
    void *out;
    int rank;
    int count;
    int root;
    MPI_Datatype type;
    MPI_Op op;
};

static bool is_reduction(uint32_t collective)
{
    return collective == BENCH_ALLREDUCE || collective == BENCH_REDUCE ||
           collective == BENCH_REDUCE_SCATTER;
}

static MPI_Datatype type_of(uint32_t dtype, bool reduces)
{
    switch (dtype) {
    case BENCH_FP32:
        return MPI_FLOAT;
    case BENCH_FP64:
        return MPI_DOUBLE;
    case BENCH_BF16: /* moved as what it is: 16 bits */
        return reduces ? PEER_BF16 : MPI_UINT16_T;
    case BENCH_FP16:
        return reduces ? PEER_FP16 : MPI_UINT16_T;
    case BENCH_INT8:
        return MPI_INT8_T;
    case BENCH_UINT8:
        return MPI_UINT8_T;
    case BENCH_INT16:
        return MPI_INT16_T;
    case BENCH_INT32:
        return MPI_INT32_T;
    case BENCH_INT64:
        return MPI_INT64_T;
    default:
        return MPI_DATATYPE_NULL;
    }
}

static MPI_Op op_of(uint32_t op)
{
    switch (op) {
    case BENCH_SUM:
        return MPI_SUM;
    case BENCH_MIN:
        return MPI_MIN;
    case BENCH_MAX:
        return MPI_MAX;
    case BENCH_PROD:
        return MPI_PROD;
    default:
        return MPI_OP_NULL;
    }
}

static int reduce(const struct call *c)
{
    bool in_place = c->in == c->out && c->rank == c->root;
    return MPI_Reduce(in_place ? MPI_IN_PLACE : c->in, c->rank == c->root ? c->out : NULL, c->count,
                      c->type, c->op, c->root, MPI_COMM_WORLD);
}

/* There and back between ranks 0 and 1. */
static int ping_pong(const struct call *c)
{
    if (c->rank > 1)
        return MPI_SUCCESS;
    int other = 1 - c->rank, rc = MPI_SUCCESS;
    if (c->rank == 0)
        rc = MPI_Send(c->in, c->count, c->type, other, 0, MPI_COMM_WORLD);
    if (rc == MPI_SUCCESS)
        rc = MPI_Recv(c->out, c->count, c->type, other, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    if (rc == MPI_SUCCESS && c->rank == 1)
        rc = MPI_Send(c->in, c->count, c->type, other, 0, MPI_COMM_WORLD);
    return rc;
}

static int call_once(const struct call *c)
{
    int n = c->count, root = c->root;
    MPI_Datatype t = c->type;
    MPI_Comm world = MPI_COMM_WORLD;
    switch (c->task->collective) {
    case BENCH_ALLREDUCE:
        return MPI_Allreduce(c->in == c->out ? MPI_IN_PLACE : c->in, c->out, n, t, c->op, world);
    case BENCH_BROADCAST:
        return MPI_Bcast(c->out, n, t, root, world);
    case BENCH_REDUCE:
        return reduce(c);
    case BENCH_ALLGATHER:
        return MPI_Allgather(c->in, n, t, c->out, n, t, world);
    case BENCH_REDUCE_SCATTER:
        return MPI_Reduce_scatter_block(c->in, c->out, n, t, c->op, world);
    case BENCH_ALLTOALL:
        return MPI_Alltoall(c->in, n, t, c->out, n, t, world);
    case BENCH_GATHER:
        return MPI_Gather(c->in, n, t, c->out, n, t, root, world);
    case BENCH_SCATTER:
        return MPI_Scatter(c->in, n, t, c->out, n, t, root, world);
    case BENCH_SENDRECV:
        return ping_pong(c);
    case BENCH_BARRIER:
        return MPI_Barrier(world);
    default:
        return MPI_ERR_OTHER;
    }
}

static bool knows_in_place(uint32_t collective)
{
    return collective == BENCH_ALLREDUCE || collective == BENCH_REDUCE ||
           collective == BENCH_BROADCAST || collective == BENCH_BARRIER;
}

/* False: this MPI has no such type or operation, or the task asks for what MPI refuses. */
static bool is_possible(const struct call *c)
{
    uint32_t collective = c->task->collective;
    bool reduces = is_reduction(collective);
    return c->task->count <= INT_MAX &&
           (collective == BENCH_BARRIER || c->type != MPI_DATATYPE_NULL) &&
           (!reduces || c->op != MPI_OP_NULL) && (c->in != c->out || knows_in_place(collective));
}

static int run(void *arg, const struct bench_task *task, void *in, void *out, int calls)
{
    struct call c = {.task = task,
                     .in = in,
                     .out = out,
                     .rank = *(const int *)arg,
                     .count = (int)task->count,
                     .root = (int)task->root,
                     .type = type_of(task->dtype, is_reduction(task->collective)),
                     .op = op_of(task->op)};
    if (!is_possible(&c))
        return -ENOTSUP;
    int rc = MPI_SUCCESS, kind = MPI_SUCCESS;
    for (int i = 0; i < calls && rc == MPI_SUCCESS; i++)
        rc = call_once(&c);
    if (rc == MPI_SUCCESS)
        return 0;
    /* A type that the header names and the library was built without is refused here. */
    MPI_Error_class(rc, &kind);
    return kind == MPI_ERR_TYPE || kind == MPI_ERR_OP ? -ENOTSUP : -EIO;
}

/* The rank before MPI_Init, since the library starts threads and takes memory there. */
static int rank_of_environment(void)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (getenv(names[i]))
            return atoi(getenv(names[i]));
    return -1;
}

/* "Open MPI v4.1.4: bound to cores". The library's own text may be long, and go on after a comma.
 */
static void describe(const char *setting, char *out, size_t bytes)
{
    char library[MPI_MAX_LIBRARY_VERSION_STRING];
    int length;
    if (MPI_Get_library_version(library, &length) != MPI_SUCCESS)
        library[0] = '\0';
    library[strcspn(library, ",\n")] = '\0';
    size_t kept = 0;
    for (const char *at = library; *at; at++)
        if (!isspace((unsigned char)*at) || !isspace((unsigned char)at[1]))
            library[kept++] = isspace((unsigned char)*at) ? ' ' : *at;
    library[kept] = '\0';
    snprintf(out, bytes, "%.80s: %s", library, setting);
}

int main(int argc, char **argv)
{
    char setting[BENCH_TEXT_BYTES];
    int early = rank_of_environment(), rank;
    int rc = early >= 0 ? bench_peer_pin(NULL, early) : -ENOENT;
    if (rc) {
        fprintf(stderr, "mpi-peer: rank %d: %s (it is started by shm-bench through mpirun)\n",
                early, strerror(-rc));
        return 1;
    }
    if (MPI_Init(&argc, &argv) != MPI_SUCCESS)
        return 1;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    describe(argc > 1 ? argv[1] : "defaults", setting, sizeof setting);
    struct bench_peer_ops ops = {.setting = setting, .run = run, .arg = &rank};
    rc = bench_peer_serve(NULL, rank, &ops);
    if (rc)
        fprintf(stderr, "mpi-peer: rank %d: %s\n", rank, strerror(-rc));
    MPI_Finalize();
    return rc != 0;
}
