/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_refused.c - collectives with wrong arguments: refused on the rank that makes the call, with
 * the reason, before anything is shared; buffers may be NULL where nothing is read or written.
 */
#include "ranks.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define REFUSED(call, words)                                                                       \
    do {                                                                                           \
        CHECK((call) == -EINVAL);                                                                  \
        if (!strstr(shmrt_comm_error(comm)->text, words))                                          \
            fprintf(stderr, "no \"%s\" in: %s\n", words, shmrt_comm_error(comm)->text);            \
        CHECK(strstr(shmrt_comm_error(comm)->text, words));                                        \
        CHECK(shmrt_comm_error(comm)->code == -EINVAL);                                            \
    } while (0)

static const enum shmrt_dtype F = SHMRT_FLOAT32;

static int refuse_roots(struct rank *rank, struct shmrt_comm *comm)
{
    static const int roots[] = {-1, 2, 64, 1000};
    float x[8] = {0}, y[8];
    for (size_t i = 0; i < sizeof roots / sizeof roots[0]; i++) {
        char words[48];
        int r = roots[i];
        snprintf(words, sizeof words, "%d of a ", r);
        REFUSED(shmrt_broadcast(comm, x, 4, F, r), words);
        REFUSED(shmrt_reduce(comm, x, y, 4, F, SHMRT_SUM, r), words);
        REFUSED(shmrt_gather(comm, x, y, 2, F, r), words);
        REFUSED(shmrt_scatter(comm, x, y, 2, F, r), words);
        REFUSED(shmrt_send(comm, x, 2, F, r), "destination");
        REFUSED(shmrt_recv(comm, x, 2, F, r), "source");
    }
    return 0;
}

static int refuse_types(struct rank *rank, struct shmrt_comm *comm)
{
    float x[8] = {0}, y[8];
    REFUSED(shmrt_broadcast(comm, x, 1, (enum shmrt_dtype)77, 0), "77 is not an element type");
    REFUSED(shmrt_send(comm, x, 1, (enum shmrt_dtype) - 2, 0), "-2 is not an element type");
    REFUSED(shmrt_reduce_scatter(comm, x, y, 1, F, (enum shmrt_op)9), "9 is not an operation");
    CHECK(shmrt_reduce(comm, x, y, 1, SHMRT_INT8, SHMRT_AVG, 0) == -ENOTSUP);
    CHECK(shmrt_reduce_scatter(comm, x, y, 1, SHMRT_INT64, SHMRT_AVG) == -ENOTSUP);
    struct shmrt_request *request = NULL;
    struct shmrt_args args = {.collective = (enum shmrt_collective)0};
    REFUSED(shmrt_start(comm, &args, &request), "0 is not a collective");
    args.collective = SHMRT_COLLECTIVE_END;
    REFUSED(shmrt_start(comm, &args, &request), "is not a collective");
    CHECK(!request);
    return 0;
}

static int refuse_null(struct rank *rank, struct shmrt_comm *comm)
{
    float x[8] = {0}, y[8];
    size_t some[2] = {1, 1};
    int own = rank->rank, other = 1 - own;
    REFUSED(shmrt_broadcast(comm, NULL, 1, F, own), "buffer is NULL");
    REFUSED(shmrt_broadcast(comm, NULL, 1, F, other), "buffer is NULL");
    REFUSED(shmrt_reduce(comm, NULL, y, 1, F, SHMRT_SUM, other), "input buffer is NULL");
    REFUSED(shmrt_reduce(comm, x, NULL, 1, F, SHMRT_SUM, own), "output buffer is NULL");
    REFUSED(shmrt_allgather(comm, NULL, y, 1, F), "input buffer is NULL");
    REFUSED(shmrt_allgather(comm, x, NULL, 1, F), "output buffer is NULL");
    REFUSED(shmrt_gather(comm, x, NULL, 1, F, own), "output buffer is NULL");
    REFUSED(shmrt_scatter(comm, NULL, y, 1, F, own), "input buffer is NULL");
    REFUSED(shmrt_scatter(comm, x, NULL, 1, F, other), "output buffer is NULL");
    REFUSED(shmrt_alltoall(comm, NULL, y, 1, F), "input buffer is NULL");
    REFUSED(shmrt_reduce_scatter(comm, x, NULL, 1, F, SHMRT_SUM), "output buffer is NULL");
    REFUSED(shmrt_send(comm, NULL, 1, F, other), "input buffer is NULL");
    REFUSED(shmrt_recv(comm, NULL, 1, F, other), "output buffer is NULL");
    REFUSED(shmrt_allgatherv(comm, x, y, NULL, F), "counts are NULL");
    REFUSED(shmrt_reduce_scatterv(comm, x, y, NULL, F, SHMRT_SUM), "counts are NULL");
    REFUSED(shmrt_alltoallv(comm, x, NULL, y, some, F), "counts are NULL");
    REFUSED(shmrt_alltoallv(comm, x, some, y, NULL, F), "counts are NULL");
    return 0;
}

static int refuse_overlap(struct rank *rank, struct shmrt_comm *comm)
{
    float x[16] = {0};
    size_t counts[2] = {3, 3};
    int own = rank->rank;
    REFUSED(shmrt_allgather(comm, x, x, 2, F), "overlap");
    REFUSED(shmrt_allgather(comm, x + 3, x, 2, F), "overlap");
    REFUSED(shmrt_alltoall(comm, x, x + 3, 2, F), "overlap");
    REFUSED(shmrt_alltoallv(comm, x + 5, counts, x, counts, F), "overlap");
    REFUSED(shmrt_reduce(comm, x, x + 1, 2, F, SHMRT_SUM, own), "overlap");
    REFUSED(shmrt_reduce_scatter(comm, x, x, 2, F, SHMRT_SUM), "overlap");
    REFUSED(shmrt_gather(comm, x + 1, x, 2, F, own), "overlap");
    REFUSED(shmrt_scatter(comm, x, x + 1, 2, F, own), "overlap");
    return 0;
}

/* Totals that wrap around, or are more than an address space. */
static int refuse_totals(struct rank *rank, struct shmrt_comm *comm)
{
    float x[4] = {0}, y[4];
    size_t half = SIZE_MAX / 2 + 1, wraps[2] = {half, half}, much[2] = {SIZE_MAX / 8, 1};
    int own = rank->rank;
    REFUSED(shmrt_broadcast(comm, x, SIZE_MAX / 2, F, own), "elements");
    REFUSED(shmrt_allgather(comm, x, y, SIZE_MAX / 8, F), "elements");
    REFUSED(shmrt_gather(comm, x, y, SIZE_MAX / 8, F, own), "elements");
    REFUSED(shmrt_scatter(comm, x, y, half, SHMRT_UINT8, own), "elements");
    REFUSED(shmrt_alltoall(comm, x, y, SIZE_MAX / 8, F), "elements");
    REFUSED(shmrt_reduce_scatter(comm, x, y, half, SHMRT_INT8, SHMRT_SUM), "elements");
    REFUSED(shmrt_allgatherv(comm, x, y, wraps, SHMRT_UINT8), "elements");
    REFUSED(shmrt_reduce_scatterv(comm, x, y, wraps, SHMRT_UINT8, SHMRT_SUM), "elements");
    REFUSED(shmrt_alltoallv(comm, x, much, y, much, F), "elements");
    REFUSED(shmrt_send(comm, x, SIZE_MAX / 4, F, 0), "elements");
    REFUSED(shmrt_recv(comm, x, SIZE_MAX, SHMRT_UINT8, 0), "elements");
    return 0;
}

/* Counts of shmrt_start() that its functions could not even say. */
static int refuse_counts(struct rank *rank, struct shmrt_comm *comm)
{
    float x[16] = {0}, y[16];
    size_t two[2] = {2, 2}, off[2] = {2, 2};
    off[rank->rank] = 3;
    struct shmrt_request *request;
    struct shmrt_args args = {
        .collective = SHMRT_ALLREDUCE, .in = x, .out = y, .in_counts = two, .dtype = F};
    REFUSED(shmrt_start(comm, &args, &request), "takes no input counts");
    args.collective = SHMRT_GATHER;
    REFUSED(shmrt_start(comm, &args, &request), "takes no input counts");
    args.collective = SHMRT_ALLGATHER;
    args.out_counts = two;
    REFUSED(shmrt_start(comm, &args, &request), "takes no output counts");
    args.collective = SHMRT_ALLTOALL;
    args.in_counts = NULL;
    REFUSED(shmrt_start(comm, &args, &request), "both");
    REFUSED(shmrt_alltoallv(comm, x, two, y, off, F), "sends itself 2 elements, but expects 3");
    return 0;
}

/* NULL where nothing is read or written. */
static int accept_null(struct rank *rank, struct shmrt_comm *comm)
{
    float x[4] = {1, 2, 3, 4}, y[4] = {0};
    size_t zeros[2] = {0, 0};
    bool root = rank->rank == 1;
    CHECK(shmrt_broadcast(comm, NULL, 0, F, 0) == 0);
    CHECK(shmrt_allgather(comm, NULL, NULL, 0, F) == 0);
    CHECK(shmrt_alltoall(comm, NULL, NULL, 0, F) == 0);
    CHECK(shmrt_reduce_scatter(comm, NULL, NULL, 0, F, SHMRT_SUM) == 0);
    CHECK(shmrt_alltoallv(comm, NULL, zeros, NULL, zeros, F) == 0);
    CHECK(shmrt_allgatherv(comm, NULL, NULL, zeros, F) == 0);
    CHECK(shmrt_reduce(comm, x, root ? y : NULL, 2, F, SHMRT_SUM, 1) == 0 && (!root || y[1] == 4));
    CHECK(shmrt_gather(comm, x, root ? y : NULL, 2, F, 1) == 0 && (!root || y[3] == 2));
    CHECK(shmrt_scatter(comm, root ? x : NULL, y, 2, F, 1) == 0);
    CHECK(y[0] == (root ? 3 : 1));
    size_t one_sided[2] = {0, 3};
    CHECK(shmrt_allgatherv(comm, root ? x : NULL, y, one_sided, F) == 0 && y[2] == 3);
    memset(y, 0, sizeof y);
    CHECK(shmrt_reduce_scatterv(comm, x, root ? y : NULL, one_sided, F, SHMRT_MAX) == 0);
    CHECK(!root || y[2] == 3);
    return 0;
}

static int accept_barrier(struct rank *rank, struct shmrt_comm *comm)
{
    struct shmrt_request *request;
    struct shmrt_args args = {.collective = SHMRT_BARRIER,
                              .count = 5,
                              .dtype = (enum shmrt_dtype)99,
                              .op = (enum shmrt_op)99,
                              .peer = 7};
    CHECK(shmrt_start(comm, &args, &request) == 0 && shmrt_wait(request) == 0);
    return 0;
}

static int refuse_all(struct rank *rank)
{
    static int (*const parts[])(struct rank *, struct shmrt_comm *) = {
        refuse_roots,  refuse_types,  refuse_null, refuse_overlap,
        refuse_totals, refuse_counts, accept_null, accept_barrier};
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        int line = parts[i](rank, comm);
        if (line)
            return line;
        int32_t x = rank->rank + 1, all[2];
        CHECK(shmrt_allgather(comm, &x, all, 1, SHMRT_INT32) == 0 && all[0] == 1 && all[1] == 2);
    }
    shmrt_comm_destroy(comm);
    return 0;
}

static void wrong_arguments_are_refused(void **state)
{
    (void)state;
    static const char *const settings[][3] = {{NULL}, {"oneshot_max=0", NULL}};
    for (size_t i = 0; i < 2; i++) {
        struct ranks_run run = {
            .kind = RANKS_THREADS, .size = 2, .settings = settings[i], .body = refuse_all};
        ranks_run_well(&run);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(wrong_arguments_are_refused)};
    return cmocka_run_group_tests_name("refused", tests, NULL, NULL);
}
