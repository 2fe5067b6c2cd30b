/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_hierarchy.c - ranks in groups: the same bits as in one pass over groups, whatever the groups
 * are, and no more bytes from group to group than it takes.
 */
#include "calls.h"
#include "comm.h"
#include "values.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const enum shmrt_collective hierarchical[] = {SHMRT_ALLREDUCE, SHMRT_REDUCE_SCATTER,
                                                     SHMRT_ALLGATHER, SHMRT_BROADCAST};
enum {
    HIERARCHICAL = sizeof hierarchical / sizeof hierarchical[0],
    MOST_RANKS = 8,
    MOST_SETTINGS = 12,
};

struct placement {
    int size;
    const char *setting;
    int groups[MOST_RANKS]; /* the same */
};

static const struct placement pair_of_pairs = {4, "groups=0-1/2-3", {0, 0, 1, 1}};
static const struct placement two_of_four = {8, "groups=0-3/4-7", {0, 0, 0, 0, 1, 1, 1, 1}};
static const struct placement placements[] = {
    {4, "groups=0-1/2-3", {0, 0, 1, 1}},
    {4, "groups=0,2/1,3", {0, 1, 0, 1}},
    {3, "groups=0-1/2", {0, 0, 1}},
    {5, "groups=0-2/3-4", {0, 0, 0, 1, 1}},
    {5, "groups=0/1/2-4", {0, 1, 2, 2, 2}},
    {6, "groups=0-1/2-3/4-5", {0, 0, 1, 1, 2, 2}},
    {6, "groups=1-2,4-5/0,3", {1, 0, 0, 1, 0, 0}},
    {7, "groups=0,2,4/1,3,5/6", {0, 1, 0, 1, 0, 1, 2}},
    {8, "groups=0-3/4-7", {0, 0, 0, 0, 1, 1, 1, 1}},
    {8, "groups=0-1/2-3/4-5/6-7", {0, 0, 1, 1, 2, 2, 3, 3}},
};
enum { PLACEMENTS = sizeof placements / sizeof placements[0] };

/* ThreadSanitizer takes its time. */
#ifdef TEST_THREADS_ONLY
enum { STEP = 4 };
#else
enum { STEP = 1 };
#endif

static bool reduces(enum shmrt_collective collective)
{
    return collective == SHMRT_ALLREDUCE || collective == SHMRT_REDUCE_SCATTER;
}

struct plan {
    const struct placement *placement;
    const size_t *counts;
    size_t count_n;
    bool all_types;
};

static const size_t few_counts[] = {1, 3, 100, 5001};
static const size_t counts[] = {1, 2, 15, 16, 17, 64, 65, 129, 1000, 4001, 30011};

/* A call of each operation of one type, in place and not, in pools and not as @turn goes on. */
static int call_operations(struct rank *rank, struct shmrt_comm *comm, struct call call, bool all,
                           size_t *turn)
{
    int ops = !reduces(call.collective) || !all ? 1
              : call.dtype <= SHMRT_FLOAT16     ? SHMRT_OP_COUNT
                                                : SHMRT_AVG;
    for (int op = 0; op < ops; op++, ++*turn) {
        call.op = (enum shmrt_op)op;
        call.shift = *turn % 3;
        call.in_place = call.collective == SHMRT_ALLREDUCE && *turn % 2;
        call.pooled = *turn % 5 == 3 ? UINT64_MAX : *turn % 5 == 4 ? 0x96c5a3 : 0;
        call.uneven = *turn % 3 == 1 && (call.collective == SHMRT_REDUCE_SCATTER ||
                                         call.collective == SHMRT_ALLGATHER);
        call.root = (int)*turn % rank->size;
        call.seed = (unsigned)*turn;
        int line = call_once(rank, comm, &call);
        if (line)
            return line;
    }
    return 0;
}

static int call_everything(struct rank *rank)
{
    const struct plan *plan = rank->arg;
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm);
    size_t turn = 0;
    for (size_t i = 0; i < plan->count_n; i++)
        for (size_t c = 0; c < HIERARCHICAL; c++)
            for (int dtype = 0; dtype < (plan->all_types ? SHMRT_DTYPE_COUNT : 1); dtype++) {
                struct call call = {.collective = hierarchical[c],
                                    .dtype = (enum shmrt_dtype)dtype,
                                    .count = plan->counts[i],
                                    .groups = plan->placement->groups};
                int line = call_operations(rank, comm, call, plan->all_types, &turn);
                if (line)
                    return line;
            }
    shmrt_comm_destroy(comm);
    return 0;
}

/* @settings, and the placement's groups, for all ranks. */
static void begin(struct ranks_run *run, const struct placement *placement, const void *arg,
                  const char *const *settings, const char *all[MOST_SETTINGS])
{
    int n = 0;
    for (; settings[n]; n++)
        all[n] = settings[n];
    all[n++] = placement->setting;
    all[n] = NULL;
    run->size = placement->size;
    run->settings = all;
    run->arg = (void *)(uintptr_t)arg;
}

static void run(enum ranks_kind kind, rank_body body, const struct placement *placement,
                const void *arg, const char *const *settings)
{
    const char *all[MOST_SETTINGS];
    struct ranks_run run = {.kind = kind, .body = body};
#ifdef TEST_THREADS_ONLY
    run.kind = RANKS_THREADS;
#endif
    begin(&run, placement, arg, settings, all);
    ranks_run_well(&run);
}

static const char *const by_groups[] = {"hierarchy_min=0", "oneshot_max=0", "segment=2M",
                                        "pool=8M",         "lanes=1",       NULL};

/* Rings that wrap around, with as few slots as there are; parts of a few elements. */
static const char *const tiny_parts[] = {
    "hierarchy_min=0", "oneshot_max=0", "segment=256K", "pool=8M", "lanes=1", "chunk=256", NULL};
static const char *const tiny_parts_and_lanes[] = {
    "hierarchy_min=0", "oneshot_max=0", "segment=512K", "pool=8M",
    "lanes=3",         "chunk=128",     "lane_min=1K",  NULL};

static void types_and_operations(void **state)
{
    (void)state;
    for (size_t i = 0; i < PLACEMENTS; i += STEP) {
        struct plan plan = {&placements[i], few_counts, sizeof few_counts / sizeof few_counts[0],
                            true};
        run(i % 2 ? RANKS_THREADS : RANKS_PROCESSES, call_everything, &placements[i], &plan,
            by_groups);
    }
}

static void many_rounds(void **state)
{
    (void)state;
    for (size_t i = 0; i < PLACEMENTS; i += STEP) {
        struct plan plan = {&placements[i], counts, sizeof counts / sizeof counts[0], false};
        run(i % 2 ? RANKS_PROCESSES : RANKS_THREADS, call_everything, &placements[i], &plan,
            tiny_parts);
        run(i % 2 ? RANKS_THREADS : RANKS_PROCESSES, call_everything, &placements[i], &plan,
            tiny_parts_and_lanes);
    }
}

/* Calls of all kinds and ways one after the other on the same rings; each rank naps on its own. */
static int call_at_random(struct rank *rank)
{
    const struct placement *placement = rank->arg;
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm);
    uint64_t calls = (uint64_t)placement->size * 31 + (uint64_t)placement->groups[1];
    uint64_t naps = calls + 1000 + (uint64_t)rank->rank;
    for (int i = 0; i < 300; i++) {
        struct call call = call_random(&calls, rank->size, 6000, true);
        call.groups = placement->groups;
        nap_at_random(&naps);
        int line = call_once(rank, comm, &call);
        if (line)
            return line;
    }
    shmrt_comm_destroy(comm);
    return 0;
}

static void sequences_of_all_ways(void **state)
{
    (void)state;
    static const char *const settings[][8] = {
        {"hierarchy_min=2K", "oneshot_max=200", "segment=256K", "pool=8M", "lanes=1", "chunk=256"},
        {"hierarchy_min=2K", "oneshot_max=200", "exchange_max=1K", "segment=512K", "pool=8M",
         "lanes=3", "chunk=128"},
        {"hierarchy_min=1K", "oneshot_max=64", "spin=0", "yield=0", "segment=2M", "pool=8M",
         "lanes=2"},
    };
    for (size_t i = 0; i < PLACEMENTS; i += STEP)
        for (size_t s = 0; s < sizeof settings / sizeof settings[0]; s++)
            run((i + s) % 2 ? RANKS_PROCESSES : RANKS_THREADS, call_at_random, &placements[i],
                &placements[i], settings[s]);
}

/* Several calls on their way at once, which are come back to. */
static int start_several(struct rank *rank)
{
    enum { AT_ONCE = 6, ROUNDS = 12 };
    const struct placement *placement = rank->arg;
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm);
    for (int round = 0; round < ROUNDS; round++) {
        struct side sides[AT_ONCE];
        struct shmrt_request *requests[AT_ONCE];
        for (int i = 0; i < AT_ONCE; i++) {
            int turn = round * AT_ONCE + i;
            struct call call = {.collective = hierarchical[turn % HIERARCHICAL],
                                .dtype = SHMRT_FLOAT16,
                                .count = 3000 + (size_t)turn,
                                .root = turn % rank->size,
                                .pooled = turn % 3 ? 0 : UINT64_MAX,
                                .groups = placement->groups,
                                .seed = (unsigned)turn};
            CHECK(side_make(&sides[i], &call, comm));
            CHECK(side_start(&sides[i], comm, &requests[i]) == 0);
        }
        for (int i = AT_ONCE - 1; i >= 0; i--) {
            CHECK(shmrt_wait(requests[i]) == 0);
            CHECK(side_is_right(&sides[i]));
            side_free(&sides[i]);
        }
    }
    shmrt_comm_destroy(comm);
    return 0;
}

static void started_calls(void **state)
{
    (void)state;
    for (size_t i = 0; i < PLACEMENTS; i += 3 * STEP)
        run(i % 2 ? RANKS_THREADS : RANKS_PROCESSES, start_several, &placements[i], &placements[i],
            tiny_parts_and_lanes);
}

/* A norm of what has just become final, by groups and without: the same bits. */
static int norm_both_ways(struct rank *rank)
{
    enum { ROWS = 57, COLUMNS = 300, COUNT = ROWS * COLUMNS, SHARED = 1000 };
    static const enum shmrt_dtype dtypes[] = {SHMRT_FLOAT32, SHMRT_BFLOAT16};
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm);
    for (unsigned turn = 0; turn < 8; turn++) {
        bool pooled = turn / 2 % 2;
        enum shmrt_dtype dtype = dtypes[turn % 2];
        size_t bytes = COUNT * shmrt_dtype_bytes(dtype);
        char *memory = malloc(5 * bytes), *out[2] = {memory, memory + bytes};
        char *sum[2] = {memory + 2 * bytes, memory + 3 * bytes}, *residual = memory + 4 * bytes;
        void *in = NULL;
        CHECK(memory && shmrt_alloc(comm, bytes, &in) == 0);
        values_fill(residual, 0, COUNT, dtype, SHARED, turn);
        for (int by = 0; by < 2; by++) {
            values_fill(in, 0, COUNT, dtype, rank->rank, turn);
            if (!pooled)
                memcpy(out[by], in, bytes);
            struct shmrt_norm_args args = {.in = pooled ? in : out[by],
                                           .residual = residual,
                                           .sum_out = sum[by],
                                           .out = out[by],
                                           .weight = residual,
                                           .rows = ROWS,
                                           .columns = COLUMNS,
                                           .dtype = dtype,
                                           .norm = SHMRT_RMS_NORM,
                                           .epsilon = 1e-6};
            comm->group.tuning.hierarchy_min_bytes = by ? 0 : SIZE_MAX;
            CHECK(shmrt_allreduce_norm(comm, &args) == 0);
        }
        CHECK(memcmp(out[0], out[1], bytes) == 0 && memcmp(sum[0], sum[1], bytes) == 0);
        shmrt_free(in);
        free(memory);
    }
    shmrt_comm_destroy(comm);
    return 0;
}

static void norms(void **state)
{
    (void)state;
    for (size_t i = 0; i < PLACEMENTS; i += STEP)
        run(i % 2 ? RANKS_THREADS : RANKS_PROCESSES, norm_both_ways, &placements[i], &placements[i],
            i % 3 ? tiny_parts : by_groups);
}

/* Rank 1 dies in the middle: everyone else, in its group or another, hears who it was. */
static int outlive(struct rank *rank)
{
    enum { COUNT = 100000, VICTIM = 1 };
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    float *in = calloc(COUNT, sizeof *in), *out = calloc(COUNT, sizeof *out);
    int rc = 0;
    CHECK(comm && in && out);
    for (int i = 0; rc == 0; i++) {
        if (i == 20 && rank->rank == VICTIM)
            raise(SIGKILL);
        rc = i % 2 ? shmrt_broadcast(comm, out, COUNT, SHMRT_FLOAT32, i / 2 % rank->size)
                   : shmrt_allreduce(comm, in, out, COUNT, SHMRT_FLOAT32, SHMRT_SUM);
    }
    CHECK(rc == -ECONNABORTED);
    CHECK(strstr(shmrt_comm_error(comm)->text, "rank 1 (pid") != NULL);
    CHECK(strstr(shmrt_comm_error(comm)->text, "died") != NULL);
    shmrt_comm_destroy(comm);
    free(in);
    free(out);
    return 0;
}

static void death_is_an_error_that_names_the_rank(void **state)
{
    (void)state;
#ifdef TEST_THREADS_ONLY
    skip();
#endif
    for (size_t i = 0; i < PLACEMENTS; i += 4) {
        const char *all[MOST_SETTINGS];
        struct ranks_run run = {.kind = RANKS_PROCESSES, .body = outlive};
        begin(&run, &placements[i], &placements[i], by_groups, all);
        ranks_run(&run);
        for (int r = 0; r < run.size; r++)
            assert_int_equal(run.results[r], r == 1 ? 128 + SIGKILL : 0);
    }
}

/* Bytes that crossed so far: [g] into group g, of all ranks together. */
static int count_crossing(struct rank *rank, struct shmrt_comm *comm, int64_t into[MOST_RANKS])
{
    struct shmrt_traffic traffic;
    shmrt_comm_traffic(comm, &traffic);
    int own = traffic.group_of[rank->rank];
    memset(into, 0, MOST_RANKS * sizeof *into);
    for (int r = 0; r < rank->size; r++)
        if (traffic.group_of[r] != own) {
            into[own] += (int64_t)traffic.read_from[r];
            into[traffic.group_of[r]] += (int64_t)traffic.written_to[r];
        }
    CHECK(shmrt_allreduce(comm, into, into, MOST_RANKS, SHMRT_INT64, SHMRT_SUM) == 0);
    return 0;
}

/* What a call makes cross: @moved is the difference that it made. */
static int measure(struct rank *rank, struct shmrt_comm *comm, const struct call *call,
                   int64_t moved[MOST_RANKS])
{
    int64_t before[MOST_RANKS], between[MOST_RANKS], after[MOST_RANKS];
    int line = count_crossing(rank, comm, before);
    line = line ? line : count_crossing(rank, comm, between); /* what counting itself moves */
    line = line ? line : call_once(rank, comm, call);
    line = line ? line : count_crossing(rank, comm, after);
    for (int g = 0; g < MOST_RANKS; g++)
        moved[g] = after[g] - between[g] - (between[g] - before[g]);
    return line;
}

static int64_t sum_of(const int64_t moved[MOST_RANKS])
{
    int64_t sum = 0;
    for (int g = 0; g < MOST_RANKS; g++)
        sum += moved[g];
    return sum;
}

/*
 * Every group but the owner's has to give away what it knows of a part, once, in as many bytes as a
 * partial result has; and to learn the result, once.
 */
static int64_t least_crossing(const struct call *call, int groups, int size)
{
    int64_t bytes = (int64_t)shmrt_dtype_bytes(call->dtype), all = 0;
    int64_t wide = (int64_t)shmrt_kernels_partial_bytes(call->dtype, call->op);
    for (int r = 0; r < size; r++)
        all += (int64_t)call_block(call, r, r);
    if (call->collective == SHMRT_ALLREDUCE)
        return (groups - 1) * (int64_t)call->count * (wide + bytes);
    if (call->collective == SHMRT_BROADCAST)
        return (groups - 1) * (int64_t)call->count * bytes;
    return (groups - 1) * all * (call->collective == SHMRT_ALLGATHER ? bytes : wide);
}

static int cross_least(struct rank *rank)
{
    const struct placement *placement = rank->arg;
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm);
    static const enum shmrt_dtype dtypes[] = {SHMRT_FLOAT32, SHMRT_BFLOAT16, SHMRT_INT8};
    for (unsigned turn = 0; turn < 3 * 2 * 3 * HIERARCHICAL; turn++) {
        struct call call = {.collective = hierarchical[turn % HIERARCHICAL],
                            .dtype = dtypes[turn / HIERARCHICAL % 3],
                            .count = turn % 5 ? 10007 : 20 * 1024,
                            .root = (int)turn % rank->size,
                            .pooled = turn / HIERARCHICAL / 3 % 2 ? UINT64_MAX : 0,
                            .groups = placement->groups,
                            .seed = turn};
        int64_t moved[MOST_RANKS];
        call.uneven = turn % 7 == 0 && (call.collective == SHMRT_REDUCE_SCATTER ||
                                        call.collective == SHMRT_ALLGATHER);
        int line = measure(rank, comm, &call, moved);
        if (line)
            return line;
        CHECK(sum_of(moved) == least_crossing(&call, comm->group.order.groups, rank->size));
    }
    shmrt_comm_destroy(comm);
    return 0;
}

static void what_crosses_crosses_once(void **state)
{
    (void)state;
    static const char *const several_lanes[] = {"hierarchy_min=0", "oneshot_max=0", "pool=8M",
                                                "lanes=2",         "lane_min=4K",   NULL};
    for (size_t i = 0; i < PLACEMENTS; i += STEP)
        run(i % 2 ? RANKS_PROCESSES : RANKS_THREADS, cross_least, &placements[i], &placements[i],
            i % 3 ? by_groups : several_lanes);
}

/* Two groups of equal size: S each way by groups, and N S / 2 each way without. */
static int compare_with_flat(struct rank *rank)
{
    const struct placement *placement = rank->arg;
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm && comm->group.order.groups == 2);
    for (int pooled = 0; pooled < 2; pooled++)
        for (int by = 0; by < 2; by++) {
            struct call call = {.collective = SHMRT_ALLREDUCE,
                                .dtype = SHMRT_FLOAT32,
                                .count = 64 * 1024,
                                .pooled = pooled ? UINT64_MAX : 0,
                                .groups = placement->groups};
            int64_t moved[MOST_RANKS], bytes = 64 * 1024 * (int64_t)sizeof(float);
            comm->group.tuning.hierarchy_min_bytes = by ? 0 : SIZE_MAX;
            int line = measure(rank, comm, &call, moved);
            if (line)
                return line;
            int64_t expected = by ? bytes : rank->size * bytes / 2;
            CHECK(moved[0] == expected && moved[1] == expected);
            if (rank->rank == 0)
                printf("%d ranks, %s, %s: %.2f S cross each way\n", rank->size,
                       by ? "by groups" : "flat", pooled ? "in pools" : "private",
                       (double)moved[0] / (double)bytes);
        }
    shmrt_comm_destroy(comm);
    return 0;
}

static void flat_ways_cross_more(void **state)
{
    (void)state;
    run(RANKS_THREADS, compare_with_flat, &pair_of_pairs, &pair_of_pairs, by_groups);
    run(RANKS_PROCESSES, compare_with_flat, &two_of_four, &two_of_four, by_groups);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_and_operations),
        cmocka_unit_test(many_rounds),
        cmocka_unit_test(sequences_of_all_ways),
        cmocka_unit_test(started_calls),
        cmocka_unit_test(norms),
        cmocka_unit_test(death_is_an_error_that_names_the_rank),
        cmocka_unit_test(what_crosses_crosses_once),
        cmocka_unit_test(flat_ways_cross_more),
    };
    return cmocka_run_group_tests_name("hierarchy", tests, NULL, NULL);
}
