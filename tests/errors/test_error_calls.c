/* SPDX-License-Identifier: Apache-2.0 */
/* test_error_calls.c - calls that are refused, in the words of docs/errors.md; after each, the
 * communicator does an all-reduce. */
#include "comm.h"
#include "documented.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct shmrt_comm *create(const char *setting)
{
    const char *const settings[] = {setting, NULL};
    struct shmrt_params params = {.size = 1, .job = "errors-calls", .settings = settings};
    struct shmrt_comm *comm = NULL;
    assert_int_equal(shmrt_comm_create(&params, &comm, NULL), 0);
    return comm;
}

static void goes_on(struct shmrt_comm *comm)
{
    int32_t one = 1;
    assert_int_equal(shmrt_allreduce(comm, &one, &one, 1, SHMRT_INT32, SHMRT_SUM), 0);
    assert_int_equal(one, 1);
}

static void refused(struct shmrt_comm *comm, int rc, const char *words)
{
    assert_int_not_equal(rc, 0);
    assert_int_equal(rc, shmrt_comm_error(comm)->code);
    assert_documented(shmrt_comm_error(comm), words);
    goes_on(comm);
}

static int start(struct shmrt_comm *comm, const struct shmrt_args *args)
{
    struct shmrt_request *request = NULL;
    return shmrt_start(comm, args, &request);
}

static void calls_are_refused(void **state)
{
    (void)state;
    struct shmrt_comm *comm = create(NULL);
    float x[16] = {0}, y[16];
    const size_t one[] = {1}, two[] = {2};
    const enum shmrt_dtype f = SHMRT_FLOAT32;
    refused(comm, start(comm, &(struct shmrt_args){.collective = (enum shmrt_collective)99}),
            "is not a collective (");
    refused(comm, shmrt_allreduce(comm, x, x, 4, (enum shmrt_dtype)99, SHMRT_SUM),
            "{number} is not an element type (0 to {last})");
    refused(comm, shmrt_allreduce(comm, x, x, 4, f, (enum shmrt_op)7), "is not an operation (0 to");
    refused(comm, shmrt_allreduce(comm, x, x, 4, SHMRT_INT32, SHMRT_AVG),
            "is not defined (the quotient of integers");
    refused(comm, shmrt_broadcast(comm, x, 4, f, 1), "of a {collective} is not a rank from 0 to");
    refused(comm, shmrt_send(comm, x, 4, f, -1), "of a {collective} is not a rank from 0 to");
    refused(
        comm,
        start(comm,
              &(struct shmrt_args){
                  .collective = SHMRT_ALLREDUCE, .in = x, .out = y, .in_counts = one, .dtype = f}),
        "takes no {input or output} counts");
    refused(
        comm,
        start(comm,
              &(struct shmrt_args){
                  .collective = SHMRT_ALLTOALL, .in = x, .out = y, .in_counts = one, .dtype = f}),
        "an all-to-all takes both input and output counts");
    refused(comm, shmrt_alltoallv(comm, x, one, y, two, f),
            "elements, but expects {count} of itself");
    refused(comm, shmrt_allgatherv(comm, x, y, NULL, f), "the counts are NULL; give one for each");
    refused(comm, shmrt_allreduce(comm, x, x + 2, 8, f, SHMRT_SUM),
            "input and output of a {collective}");
    refused(comm, shmrt_allreduce(comm, x, x, SIZE_MAX / 2, f, SHMRT_SUM),
            "the elements of a {collective} of {dtype} are more than");
    refused(comm, shmrt_allreduce(comm, NULL, x, 4, f, SHMRT_SUM),
            "the {input or output} buffer is NULL");
    bool is_there;
    refused(comm, shmrt_probe(comm, 5, &is_there), "rank {rank} is not from 0 to {last}");
    shmrt_comm_destroy(comm);
}

static void norms_are_refused(void **state)
{
    (void)state;
    struct shmrt_comm *comm = create(NULL);
    float m[6][64] = {{0}};
    const struct {
        const char *words;
        struct shmrt_norm_args args;
    } cases[] = {
        {"in, sum_out, out or weight is NULL",
         {.sum_out = m[2], .out = m[3], .weight = m[4], .rows = 2}},
        {"out overlaps sum_out or residual", {m[0], m[1], m[2], m[2], m[4], .rows = 2}},
        {"buffers overlap partly; use the same one", {m[0], m[1], m[0] + 1, m[3], m[4], .rows = 2}},
        {"residual overlaps in, which sum_out overwrites",
         {m[0], m[0], m[0], m[3], m[4], .rows = 2}},
        {"weight or bias overlaps an output", {m[0], m[1], m[2], m[3], m[3], .rows = 2}},
        {"epsilon is {epsilon}; give a number of 0 or more",
         {m[0], m[1], m[2], m[3], m[4], .epsilon = -1}},
        {"epsilon is {epsilon}; give a number of 0 or more",
         {m[0], m[1], m[2], m[3], m[4], .epsilon = NAN}},
        {"an RMS norm has no bias; leave it NULL",
         {m[0], m[1], m[2], m[3], m[4], m[5], .norm = SHMRT_RMS_NORM}},
        {"or {number} not a norm (0 to {last})",
         {m[0], m[1], m[2], m[3], m[4], .norm = (enum shmrt_norm)9}},
        {"can't be normed; use float32, bfloat16",
         {m[0], m[1], m[2], m[3], m[4], .dtype = SHMRT_INT32}},
        {"{count} rows of {count} columns of", {m[0], m[1], m[2], m[3], m[4], .rows = SIZE_MAX}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct shmrt_norm_args args = cases[i].args;
        args.rows = args.rows ? args.rows : 2;
        args.columns = 32;
        refused(comm, shmrt_allreduce_norm(comm, &args), cases[i].words);
    }
    shmrt_comm_destroy(comm);
}

static void pools_are_full_or_absent(void **state)
{
    (void)state;
    void *block;
    struct shmrt_comm *comm = create("pool=2M");
    refused(comm, shmrt_alloc(comm, 4 << 20, &block), "the pool has no room for a block of");
    assert_int_equal(shmrt_alloc(comm, 1 << 20, &block), 0);
    shmrt_free(block);
    shmrt_comm_destroy(comm);
    comm = create("pool=0");
    refused(comm, shmrt_alloc(comm, 1, &block), "there is no pool to take a block from");
    shmrt_comm_destroy(comm);
}

static void a_forked_child_is_refused(void **state)
{
    (void)state;
    struct shmrt_comm *comm = create(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        int rc = shmrt_barrier(comm);
        bool is_told = is_documented(shmrt_comm_error(comm), "was made before fork() and belongs");
        shmrt_comm_destroy(comm);
        _exit(rc == 0 || !is_told);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    goes_on(comm);
    shmrt_comm_destroy(comm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_are_refused),
        cmocka_unit_test(norms_are_refused),
        cmocka_unit_test(pools_are_full_or_absent),
        cmocka_unit_test(a_forked_child_is_refused),
    };
    return cmocka_run_group_tests_name("error_calls", tests, NULL, NULL);
}
