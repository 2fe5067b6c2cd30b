/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_few.c - a few of every collective, between processes: what an emulated CPU gets through in
 * seconds. Says which kernels ran.
 */
#include "calls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* One-shot, two-shot in one part, and several parts of a ring. */
static const size_t counts[] = {1, 10, 1027, 20011};

/* SHMRT_TEST_WITHOUT names a dtype that an emulated CPU gets wrong. */
static bool is_left_out(enum shmrt_dtype dtype)
{
    const char *name = getenv("SHMRT_TEST_WITHOUT");
    return name && strcmp(name, shmrt_dtype_name(dtype)) == 0;
}

static int call_types(struct rank *rank, struct shmrt_comm *comm, struct call call)
{
    for (int dtype = 0; dtype < SHMRT_DTYPE_COUNT; dtype++)
        for (int op = 0; op < SHMRT_OP_COUNT; op++) {
            if ((op == SHMRT_AVG && dtype > SHMRT_FLOAT16) || is_left_out((enum shmrt_dtype)dtype))
                continue;
            call.dtype = (enum shmrt_dtype)dtype;
            call.op = (enum shmrt_op)op;
            call.shift = (size_t)op;
            call.in_place = call.collective == SHMRT_ALLREDUCE && op % 2;
            call.seed = (unsigned)(dtype * 31 + op);
            int line = call_once(rank, comm, &call);
            if (line)
                return line;
        }
    return 0;
}

static int reduce_every_type(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm);
    if (rank->rank == 0)
        fprintf(stderr, "kernels: %s\n", shmrt_comm_kernel(comm));
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        struct call call = {.collective = SHMRT_ALLREDUCE, .count = counts[i]};
        int line = call_types(rank, comm, call);
        if (line)
            return line;
    }
    shmrt_comm_destroy(comm);
    return 0;
}

static int call_every_collective(struct rank *rank)
{
    static const enum shmrt_collective all[] = {
        SHMRT_REDUCE,   SHMRT_BROADCAST, SHMRT_ALLGATHER, SHMRT_GATHER,        SHMRT_SCATTER,
        SHMRT_ALLTOALL, SHMRT_ALLREDUCE, SHMRT_SEND,      SHMRT_REDUCE_SCATTER};
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        for (size_t c = 0; c < sizeof all / sizeof all[0]; c++) {
            struct call call = {.collective = all[c],
                                .dtype = i % 2 && !is_left_out(SHMRT_FLOAT16) ? SHMRT_FLOAT16
                                                                              : SHMRT_BFLOAT16,
                                .op = SHMRT_SUM,
                                .count = counts[i],
                                .root = (int)c % rank->size,
                                .to = ((int)c + 1) % rank->size,
                                .pooled = c % 2 ? UINT64_MAX : 0,
                                .seed = (unsigned)c};
            int line = call_once(rank, comm, &call);
            if (line)
                return line;
        }
    CHECK(shmrt_barrier(comm) == 0);
    shmrt_comm_destroy(comm);
    return 0;
}

static void run(int size, rank_body body)
{
#ifdef TEST_THREADS_ONLY
    enum ranks_kind kind = RANKS_THREADS;
#else
    enum ranks_kind kind = RANKS_PROCESSES;
#endif
    struct ranks_run run = {.kind = kind, .size = size, .body = body};
    ranks_run_well(&run);
}

static void every_type_and_operation(void **state)
{
    (void)state;
    run(2, reduce_every_type);
}

static void every_collective(void **state)
{
    (void)state;
    run(2, call_every_collective);
    run(3, call_every_collective);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_and_operation),
        cmocka_unit_test(every_collective),
    };
    return cmocka_run_group_tests_name("few", tests, NULL, NULL);
}
