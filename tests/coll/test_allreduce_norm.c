/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_allreduce_norm.c - the fused call against a plain all-reduce in rank order and the reference
 * norm, on all ranks, with every aliasing that the contract allows; and what it refuses.
 */
#include "kernels/kernels.h"
#include "ranks.h"
#include "values.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct shape {
    size_t rows, columns;
};

/* One-shot and two-shot; rows longer and shorter than parts and chunks, odd ones too. */
static const struct shape shapes[] = {{0, 64},   {3, 0},    {1, 1},     {1, 4096}, {5, 7},
                                      {16, 250}, {2, 9001}, {64, 1024}, {33, 777}, {300, 130}};
static const enum shmrt_dtype dtypes[] = {SHMRT_FLOAT32, SHMRT_BFLOAT16, SHMRT_FLOAT16};

enum aliasing { SEPARATE, SUM_IS_RESIDUAL, SUM_IS_IN, OUT_IS_IN, BOTH, NO_RESIDUAL, ALIASINGS };

enum { IN, RESIDUAL, SUM, OUT, WEIGHT, BIAS, EXPECTED_SUM, EXPECTED, BUFFERS };
enum { SEED = 11, SHARED = 1000 }; /* SHARED: the "rank" of what all ranks hold alike */

struct call {
    struct shape shape;
    enum shmrt_dtype dtype;
    enum shmrt_norm norm;
    enum aliasing aliasing;
};

static void fill(char *at[BUFFERS], const struct call *call, const struct rank *rank)
{
    size_t count = call->shape.rows * call->shape.columns;
    values_fill(at[IN], 0, count, call->dtype, rank->rank, SEED);
    values_fill(at[RESIDUAL], 0, count, call->dtype, SHARED, SEED);
    values_fill(at[WEIGHT], 0, call->shape.columns, call->dtype, SHARED + 1, SEED);
    values_fill(at[BIAS], 0, call->shape.columns, call->dtype, SHARED + 2, SEED);
    values_reduce(at[EXPECTED], 0, count, call->dtype, SHMRT_SUM, rank->size, SEED);
}

static struct shmrt_norm_args args_of(char *at[BUFFERS], const struct call *call)
{
    return (struct shmrt_norm_args){
        .in = at[IN],
        .residual = call->aliasing == NO_RESIDUAL ? NULL : at[RESIDUAL],
        .sum_out = at[SUM],
        .out = at[OUT],
        .weight = at[WEIGHT],
        .bias = call->norm == SHMRT_LAYER_NORM && call->shape.rows % 2 ? at[BIAS] : NULL,
        .rows = call->shape.rows,
        .columns = call->shape.columns,
        .dtype = call->dtype,
        .norm = call->norm,
        .epsilon = 1e-6};
}

/* EXPECTED holds the plain sum over ranks. */
static void expect(char *at[BUFFERS], const struct call *call,
                   const struct shmrt_kernels *reference)
{
    struct shmrt_norm_args args = args_of(at, call);
    args.in = args.out = at[EXPECTED];
    args.sum_out = at[EXPECTED_SUM];
    shmrt_kernels_norm(reference, &args, 0, call->shape.rows);
}

static void alias(struct shmrt_norm_args *args, char *at[BUFFERS], enum aliasing aliasing)
{
    if (aliasing == SUM_IS_RESIDUAL || aliasing == BOTH)
        args->sum_out = at[RESIDUAL];
    if (aliasing == SUM_IS_IN)
        args->sum_out = at[IN];
    if (aliasing == OUT_IS_IN || aliasing == BOTH)
        args->out = at[IN];
}

static int norm_once(struct rank *rank, struct shmrt_comm *comm,
                     const struct shmrt_kernels *reference, const struct call *call)
{
    size_t bytes = call->shape.rows * call->shape.columns * shmrt_dtype_bytes(call->dtype);
    size_t room = bytes + call->shape.columns * sizeof(float) + 64;
    char *memory = malloc(BUFFERS * room), *at[BUFFERS];
    CHECK(memory);
    memset(memory, 0xA5, BUFFERS * room);
    for (size_t b = 0; b < BUFFERS; b++)
        at[b] = memory + b * room;
    fill(at, call, rank);
    expect(at, call, reference);
    struct shmrt_norm_args args = args_of(at, call);
    alias(&args, at, call->aliasing);
    int rc = shmrt_allreduce_norm(comm, &args);
    if (rc)
        fprintf(stderr, "rank %d: %s\n", rank->rank, shmrt_comm_error(comm)->text);
    CHECK(rc == 0);
    if (memcmp(args.out, at[EXPECTED], bytes) || memcmp(args.sum_out, at[EXPECTED_SUM], bytes))
        fprintf(stderr, "%zu x %zu %s, norm %d, aliasing %d\n", call->shape.rows,
                call->shape.columns, shmrt_dtype_name(call->dtype), call->norm, call->aliasing);
    CHECK(memcmp(args.sum_out, at[EXPECTED_SUM], bytes) == 0);
    CHECK(memcmp(args.out, at[EXPECTED], bytes) == 0);
    char *const outputs[] = {args.sum_out, args.out};
    for (int i = 0; i < 2; i++)
        CHECK((unsigned char)outputs[i][bytes] == 0xA5);
    values_fill(at[EXPECTED], 0, bytes / shmrt_dtype_bytes(call->dtype), call->dtype, rank->rank,
                SEED);
    if (args.in != args.sum_out && args.in != args.out)
        CHECK(memcmp(args.in, at[EXPECTED], bytes) == 0);
    free(memory);
    return 0;
}

static int norm_everything(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm);
    struct shmrt_kernels reference;
    CHECK(shmrt_kernels_choose("reference", &reference) == 0);
    uint64_t calls = 0;
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        for (size_t d = 0; d < sizeof dtypes / sizeof dtypes[0]; d++)
            for (int norm = 0; norm < SHMRT_NORM_COUNT; norm++)
                for (int turn = 0; turn < 2; turn++, calls++) {
                    /* They take turns: each shape and each type meets all of them. */
                    enum aliasing aliasing = (s * 2 + d + 3 * (size_t)turn) % ALIASINGS;
                    struct call call = {shapes[s], dtypes[d], norm, aliasing};
                    int line = norm_once(rank, comm, &reference, &call);
                    if (line)
                        return line;
                }
    struct shmrt_counters counters;
    shmrt_comm_counters(comm, &counters);
    CHECK(counters.calls == calls);
    CHECK(rank->size == 1 || (counters.oneshot_calls > 0 && counters.pipelined_calls > 0));
    shmrt_comm_destroy(comm);
    return 0;
}

static void run(enum ranks_kind kind, int size, const char *const *settings)
{
#ifdef TEST_THREADS_ONLY
    if (kind == RANKS_PROCESSES)
        return;
#endif
    struct ranks_run run = {
        .kind = kind, .size = size, .settings = settings, .body = norm_everything};
    ranks_run_well(&run);
}

static void ranks_of_every_size(void **state)
{
    (void)state;
    static const int sizes[] = {1, 2, 3, 5};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        run(RANKS_THREADS, sizes[i], NULL);
    run(RANKS_PROCESSES, 2, NULL);
    run(RANKS_PROCESSES, 4, NULL);
}

/* Parts smaller than a row, and lanes whose slices begin inside of one. */
static void tiny_parts_and_lanes(void **state)
{
    (void)state;
    static const char *const settings[][6] = {
        {"chunk=64", "oneshot_max=0", "segment=256K", "lanes=1", NULL},
        {"chunk=128", "oneshot_max=64", "segment=256K", "lanes=3", NULL},
        {"chunk=4K", "oneshot_max=1K", "segment=1M", "lanes=2", "kernel=reference", NULL},
    };
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        run(RANKS_THREADS, 3, settings[i]);
        run(RANKS_PROCESSES, 2, settings[i]);
    }
}

static void *memory_of(const void *in)
{
    return (void *)(uintptr_t)in;
}

/* Each entry spoils good arguments in one way. */
static void spoil(int way, struct shmrt_norm_args *args)
{
    char *at = args->out;
    const void **const inputs[] = {&args->in, &args->weight};
    void **const outputs[] = {&args->sum_out, &args->out};
    if (way < 2)
        *inputs[way] = NULL;
    else if (way < 4)
        *outputs[way - 2] = NULL;
    else if (way == 4)
        args->sum_out = at;
    else if (way == 5)
        args->residual = at + 4;
    else if (way == 6)
        args->in = at + 4;
    else if (way == 7)
        args->weight = at;
    else if (way == 8)
        args->bias = args->sum_out;
    else if (way == 9)
        args->epsilon = NAN;
    else if (way == 10)
        args->epsilon = -1e-9;
    else if (way == 11)
        args->norm = (enum shmrt_norm)SHMRT_NORM_COUNT;
    else if (way == 12)
        args->dtype = (enum shmrt_dtype)SHMRT_DTYPE_COUNT;
    else if (way == 13)
        args->rows = SIZE_MAX / 8;
    else if (way == 14)
        args->norm = SHMRT_RMS_NORM;
    else if (way == 15)
        args->residual = args->sum_out = memory_of(args->in);
    else
        args->dtype = SHMRT_FLOAT64;
}

static int refuse_and_go_on(struct rank *rank)
{
    enum { WAYS = 17 };
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm);
    struct shmrt_kernels reference;
    CHECK(shmrt_kernels_choose("reference", &reference) == 0);
    float memory[6][64] = {{0}}, before[6][64] = {{0}};
    const struct shmrt_norm_args good = {.in = memory[0],
                                         .residual = memory[1],
                                         .sum_out = memory[2],
                                         .out = memory[3],
                                         .weight = memory[4],
                                         .bias = memory[5],
                                         .rows = 2,
                                         .columns = 32,
                                         .norm = SHMRT_LAYER_NORM};
    for (int way = 0; way < WAYS; way++) {
        struct shmrt_norm_args args = good;
        spoil(way, &args);
        int rc = shmrt_allreduce_norm(comm, &args);
        CHECK(rc == (way == WAYS - 1 ? -ENOTSUP : -EINVAL));
        CHECK(shmrt_comm_error(comm)->code == rc && strlen(shmrt_comm_error(comm)->text) > 20);
        CHECK(memcmp(memory, before, sizeof memory) == 0);
    }
    struct call call = {{3, 100}, SHMRT_BFLOAT16, SHMRT_RMS_NORM, SEPARATE};
    int line = norm_once(rank, comm, &reference, &call);
    shmrt_comm_destroy(comm);
    return line;
}

static void what_is_refused(void **state)
{
    (void)state;
    struct ranks_run run = {.kind = RANKS_THREADS, .size = 2, .body = refuse_and_go_on};
    ranks_run_well(&run);
}

/* What rank 1 does otherwise than rank 0. */
enum difference { ROWS, SHAPE, PLAIN, DIFFERENCES };

static int disagree(struct rank *rank)
{
    enum difference difference = *(const enum difference *)rank->arg;
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm);
    float memory[4][64] = {{0}};
    bool other = rank->rank == 1;
    struct shmrt_norm_args args = {.in = memory[0],
                                   .sum_out = memory[1],
                                   .out = memory[2],
                                   .weight = memory[3],
                                   .rows = other ? 4 : 2,
                                   .columns = other && difference == SHAPE ? 8 : 16};
    if (other && difference == PLAIN)
        CHECK(shmrt_allreduce(comm, memory[0], memory[1], 32, SHMRT_FLOAT32, SHMRT_SUM) == -EPROTO);
    CHECK(shmrt_allreduce_norm(comm, &args) == -EPROTO);
    CHECK(strstr(shmrt_comm_error(comm)->text, "rows of 16"));
    CHECK(shmrt_allreduce_norm(comm, &args) == -EPROTO);
    shmrt_comm_destroy(comm);
    return 0;
}

/* As many elements in other rows would be cut otherwise between the lanes. */
static void different_rows_on_two_ranks(void **state)
{
    (void)state;
    for (enum difference difference = ROWS; difference < DIFFERENCES; difference++) {
        struct ranks_run run = {
            .kind = RANKS_THREADS, .size = 2, .body = disagree, .arg = &difference};
        ranks_run_well(&run);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_of_every_size),
        cmocka_unit_test(tiny_parts_and_lanes),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(different_rows_on_two_ranks),
    };
    return cmocka_run_group_tests_name("allreduce_norm", tests, NULL, NULL);
}
