/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_order.c - groups of ranks: in which order terms are combined, by every way, and how many
 * bytes of other ranks' memory the flat ways move.
 */
#include "ranks.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { RANKS = 4, MOST = 1 << 18 };

/* 1e8 + 1 is 1e8 in fp32, so every order of the four terms shows. */
static const float term_of[RANKS] = {1e8f, 1, -1e8f, 3};

struct expectation {
    float sum;
    const size_t *counts; /* elements, ends with 0 */
    bool pooled;
};

static int fill(struct rank *rank, struct shmrt_comm *comm, bool pooled, size_t count, float **in)
{
    static float buffers[RANKS][MOST]; /* ranks are processes: each uses its own */
    void *memory = buffers[rank->rank];
    if (pooled)
        CHECK(shmrt_alloc(comm, count * sizeof(float), &memory) == 0);
    *in = memory;
    for (size_t i = 0; i < count; i++)
        (*in)[i] = term_of[rank->rank];
    return 0;
}

static int sum_everywhere(struct rank *rank)
{
    const struct expectation *expected = rank->arg;
    struct shmrt_error error;
    struct shmrt_comm *comm = rank_comm(rank, &error);
    CHECK(comm);
    for (const size_t *count = expected->counts; *count; count++) {
        float *values;
        CHECK(fill(rank, comm, expected->pooled, *count, &values) == 0);
        CHECK(shmrt_allreduce(comm, values, values, *count, SHMRT_FLOAT32, SHMRT_SUM) == 0);
        for (size_t i = 0; i < *count; i++)
            CHECK(values[i] == expected->sum);
        if (expected->pooled)
            shmrt_free(values);
    }
    shmrt_comm_destroy(comm);
    return 0;
}

static const size_t all_sizes[] = {1, 10, 100, 3000, 5000, 40000, MOST, 0};

/* One way each, from tiny to large, private and shared. */
static void expect_sum(const char *groups, const char *order, float sum)
{
    const char *const ways[][2] = {{"oneshot_max=16K", "exchange_max=0"},
                                   {"oneshot_max=0", "exchange_max=1G"},
                                   {"oneshot_max=0", "exchange_max=0"}};
    for (size_t w = 0; w < sizeof ways / sizeof ways[0]; w++)
        for (int pooled = 0; pooled < 2; pooled++) {
            const char *settings[] = {groups, order, ways[w][0], ways[w][1], "lanes=2", NULL};
            struct expectation expected = {sum, all_sizes, pooled};
            struct ranks_run run = {.kind = RANKS_PROCESSES,
                                    .size = RANKS,
                                    .settings = settings,
                                    .body = sum_everywhere,
                                    .arg = &expected};
            ranks_run_well(&run);
        }
}

/* ((1e8 + 1) - 1e8) + 3 */
static void one_group_is_rank_order(void **state)
{
    (void)state;
    expect_sum("groups=one", "sum_order=placement", 3);
}

/* (1e8 + 1) + (-1e8 + 3): both groups lose their small term. */
static void within_groups_first(void **state)
{
    (void)state;
    expect_sum("groups=0-1/2-3", "sum_order=placement", 0);
}

/* (1e8 - 1e8) + (1 + 3): neighbours need not be in one group, nor groups in order. */
static void groups_go_by_their_lowest_rank(void **state)
{
    (void)state;
    expect_sum("groups=1,3/0,2", "sum_order=placement", 4);
}

static void rank_order_can_be_forced(void **state)
{
    (void)state;
    expect_sum("groups=0-1/2-3", "sum_order=rank", 3);
}

static int reports(struct rank *rank)
{
    struct shmrt_error error;
    struct shmrt_comm *comm = rank_comm(rank, &error);
    char text[4096];
    CHECK(comm);
    CHECK(shmrt_comm_report(comm, text, sizeof text) < sizeof text);
    CHECK(strstr(text, rank->arg));
    shmrt_comm_destroy(comm);
    return 0;
}

static void expect_report(const char *groups, const char *order, const char *words)
{
    const char *settings[] = {groups, order, "pool=0", NULL};
    char line[128];
    snprintf(line, sizeof line, "%s", words);
    struct ranks_run run = {
        .kind = RANKS_PROCESSES, .size = RANKS, .settings = settings, .body = reports, .arg = line};
    ranks_run_well(&run);
}

static void the_report_tells_the_groups(void **state)
{
    (void)state;
    expect_report("groups=1,3/0,2", "sum_order=placement",
                  "groups    ranks 0,2 | 1,3; sums go group by group\n");
    expect_report("groups=1,3/0,2", "sum_order=rank",
                  "groups    ranks 0,2 | 1,3; sums go in the order of ranks\n");
    /* Groups of one rank each: the same order, and the kernels have one group. */
    expect_report("groups=3/2/1/0", "sum_order=placement",
                  "groups    ranks 0 | 1 | 2 | 3; sums go in the order of ranks\n");
    expect_report("groups=one", "sum_order=placement", "pool      off\n");
}

static int is_refused_with_words(struct rank *rank)
{
    struct shmrt_error error;
    struct shmrt_comm *comm = NULL;
    const char *settings[] = {rank->rank == 1 ? "groups=one" : "groups=0/1", NULL};
    struct shmrt_params params = {
        .rank = rank->rank, .size = rank->size, .job = rank->job, .settings = settings};
    CHECK(shmrt_comm_create(&params, &comm, &error) == -EPROTO);
    CHECK(strstr(error.text, "differ in SHMRT_GROUPS"));
    return 0;
}

static void ranks_that_differ_are_refused(void **state)
{
    (void)state;
    struct ranks_run run = {.kind = RANKS_PROCESSES, .size = 2, .body = is_refused_with_words};
    ranks_run_well(&run);
}

static void wrong_settings_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *setting, *words;
    } cases[] = {
        {"groups=0/2-3", "names no group for rank 1"},
        {"groups=0-1//2-3", "lists of ranks"},
        {"groups=0-1/1-3", "each named once"},
        {"groups=sockets", "lists of ranks"},
        {"groups=0-99", "up to 63"},
        {"sum_order=any", "not placement or rank"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *settings[] = {cases[i].setting, "rendezvous_timeout=1", NULL};
        struct shmrt_error error;
        struct shmrt_comm *comm = NULL;
        struct shmrt_params params = {.rank = 0, .size = 3, .job = "wrong", .settings = settings};
        assert_int_equal(shmrt_comm_create(&params, &comm, &error), -EINVAL);
        assert_non_null(strstr(error.text, cases[i].words));
    }
}

struct traffic_case {
    size_t bytes;
    uint64_t read, written; /* in all, from other ranks */
    bool pooled;
};

static int moves_so_much(struct rank *rank)
{
    const struct traffic_case *expected = rank->arg;
    struct shmrt_error error;
    struct shmrt_comm *comm = rank_comm(rank, &error);
    struct shmrt_traffic before, after;
    float *values;
    CHECK(comm);
    CHECK(fill(rank, comm, expected->pooled, expected->bytes / sizeof(float), &values) == 0);
    shmrt_comm_traffic(comm, &before);
    CHECK(shmrt_allreduce(comm, values, values, expected->bytes / sizeof(float), SHMRT_FLOAT32,
                          SHMRT_SUM) == 0);
    shmrt_comm_traffic(comm, &after);
    CHECK(after.groups == 1);
    uint64_t read = 0, written = 0;
    for (int r = 0; r < RANKS; r++) {
        read += after.read_from[r] - before.read_from[r];
        written += after.written_to[r] - before.written_to[r];
    }
    CHECK(after.read_from[rank->rank] == 0 && after.written_to[rank->rank] == 0);
    CHECK(read == expected->read && written == expected->written);
    if (expected->pooled)
        shmrt_free(values);
    shmrt_comm_destroy(comm);
    return 0;
}

/* Of S bytes: one-shot and exchange read 3 S, two-shot 6/4 S; tensors in pools are read and pushed
 * by parts of S/4. */
static void flat_ways_move_what_they_must(void **state)
{
    (void)state;
    enum { S = 1 << 20, SMALL = 8192 };
    static const struct {
        const char *ways[2];
        struct traffic_case expected;
    } cases[] = {
        {{"oneshot_max=16K", "exchange_max=0"}, {SMALL, 3 * SMALL, 0, false}},
        {{"oneshot_max=0", "exchange_max=1G"}, {S, 3 * S, 0, false}},
        {{"oneshot_max=0", "exchange_max=0"}, {S, 6 * (S / 4), 0, false}},
        {{"oneshot_max=0", "exchange_max=0"}, {S, 3 * (S / 4), 3 * (S / 4), true}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *settings[] = {"groups=one", cases[i].ways[0], cases[i].ways[1], "tune=off",
                                  NULL};
        struct traffic_case expected = cases[i].expected;
        struct ranks_run run = {.kind = RANKS_PROCESSES,
                                .size = RANKS,
                                .settings = settings,
                                .body = moves_so_much,
                                .arg = &expected};
        ranks_run_well(&run);
    }
}

/* Rank order at the wish of rank 3 alone, and what the sum of the first three ranks is by it. */
struct part_case {
    const char *order_of_last;
    float sum;
};

static int sums_in_a_part(struct rank *rank)
{
    const struct part_case *expected = rank->arg;
    const char *settings[] = {"groups=0,2/1,3", "pool=0",
                              rank->rank == 3 ? expected->order_of_last : NULL, NULL};
    rank->settings = settings;
    struct shmrt_comm *whole = rank_comm(rank, NULL), *part, *again;
    CHECK(whole);
    CHECK(shmrt_comm_split(whole, rank->rank == 3, 0, &part) == 0);
    CHECK(shmrt_comm_split(part, 0, 0, &again) == 0);
    struct shmrt_comm *const comms[] = {part, again};
    for (int i = 0; i < 2 && rank->rank < 3; i++) {
        float value = term_of[rank->rank];
        CHECK(shmrt_allreduce(comms[i], &value, &value, 1, SHMRT_FLOAT32, SHMRT_SUM) == 0);
        CHECK(value == expected->sum);
    }
    shmrt_comm_destroy(again);
    shmrt_comm_destroy(part);
    shmrt_comm_destroy(whole);
    return 0;
}

/* By groups (1e8 - 1e8) + 1, by ranks (1e8 + 1) - 1e8. */
static void a_part_keeps_the_order_of_the_whole(void **state)
{
    (void)state;
    static const struct part_case cases[] = {{"sum_order=placement", 1}, {"sum_order=rank", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct part_case expected = cases[i];
        struct ranks_run run = {
            .kind = RANKS_PROCESSES, .size = RANKS, .body = sums_in_a_part, .arg = &expected};
        ranks_run_well(&run);
    }
}

static int crosses_so_much(struct rank *rank)
{
    enum { S = MOST * sizeof(int32_t) };
    static const struct {
        enum shmrt_dtype dtype;
        int64_t bytes; /* from group to group, by all ranks together */
    } cases[] = {{SHMRT_INT32, 2 * S}, {SHMRT_FLOAT32, 4 * S}};
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        static int32_t zeros[MOST]; /* of either type */
        struct shmrt_traffic before, after;
        int64_t crossed = 0;
        shmrt_comm_traffic(comm, &before);
        CHECK(shmrt_allreduce(comm, zeros, zeros, MOST, cases[i].dtype, SHMRT_SUM) == 0);
        shmrt_comm_traffic(comm, &after);
        for (int r = 0; r < RANKS; r++)
            if (after.group_of[r] != after.group_of[rank->rank])
                crossed += (int64_t)(after.read_from[r] - before.read_from[r] +
                                     after.written_to[r] - before.written_to[r]);
        CHECK(shmrt_allreduce(comm, &crossed, &crossed, 1, SHMRT_INT64, SHMRT_SUM) == 0);
        CHECK(crossed == cases[i].bytes);
    }
    shmrt_comm_destroy(comm);
    return 0;
}

/* Sums of integers are the same in any order: they go by groups even so. */
static void rank_order_binds_only_what_it_changes(void **state)
{
    (void)state;
    static const char *const settings[] = {"groups=0-1/2-3", "sum_order=rank", "hierarchy_min=0",
                                           "oneshot_max=0",  "exchange_max=0", NULL};
    struct ranks_run run = {
        .kind = RANKS_PROCESSES, .size = RANKS, .settings = settings, .body = crosses_so_much};
    ranks_run_well(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_group_is_rank_order),
        cmocka_unit_test(within_groups_first),
        cmocka_unit_test(groups_go_by_their_lowest_rank),
        cmocka_unit_test(rank_order_can_be_forced),
        cmocka_unit_test(the_report_tells_the_groups),
        cmocka_unit_test(ranks_that_differ_are_refused),
        cmocka_unit_test(wrong_settings_are_refused),
        cmocka_unit_test(flat_ways_move_what_they_must),
        cmocka_unit_test(a_part_keeps_the_order_of_the_whole),
        cmocka_unit_test(rank_order_binds_only_what_it_changes),
    };
    return cmocka_run_group_tests_name("order", tests, NULL, NULL);
}
