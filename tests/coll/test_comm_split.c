/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_comm_split.c - subgroups: who is in them and in which order, groups of groups, both used in
 * turn, and failures that stay in their group.
 */
#include "calls.h"
#include "comm.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

static void run(enum ranks_kind kind, int size, rank_body body)
{
#ifdef TEST_THREADS_ONLY
    if (kind == RANKS_PROCESSES)
        return;
#endif
    static const char *const settings[] = {"segment=512K", "oneshot_max=1K", NULL};
    struct ranks_run run = {.kind = kind, .size = size, .settings = settings, .body = body};
    ranks_run_well(&run);
}

/* Who is in @comm, in its order, by their ranks in the whole. */
static int members(struct rank *rank, struct shmrt_comm *comm, int *out)
{
    int32_t own = rank->rank, all[RANKS_MAX];
    CHECK(shmrt_allgather(comm, &own, all, 1, SHMRT_INT32) == 0);
    for (int r = 0; r < shmrt_comm_size(comm); r++)
        out[r] = all[r];
    CHECK(all[shmrt_comm_rank(comm)] == own);
    return 0;
}

static int split_by_color_and_key(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL), *part;
    int who[RANKS_MAX];
    CHECK(comm);
    /* Backwards, in three groups of which one gets none. */
    int color = rank->rank % 3 == 2 ? -5 : rank->rank % 3 + 100000;
    part = comm;
    CHECK(shmrt_comm_split(comm, color, -rank->rank, &part) == 0);
    if (color < 0) {
        CHECK(part == NULL);
    } else {
        CHECK(members(rank, part, who) == 0);
        CHECK(shmrt_comm_size(part) == (rank->size + 2 - rank->rank % 3) / 3);
        for (int r = 1; r < shmrt_comm_size(part); r++)
            CHECK(who[r] == who[r - 1] - 3);
    }
    shmrt_comm_destroy(part);
    /* Equal keys keep their order. */
    CHECK(shmrt_comm_split(comm, 0, 7, &part) == 0);
    CHECK(members(rank, part, who) == 0 && shmrt_comm_size(part) == rank->size);
    for (int r = 0; r < rank->size; r++)
        CHECK(who[r] == r);
    shmrt_comm_destroy(part);
    /* Each alone. */
    CHECK(shmrt_comm_split(comm, rank->rank, 0, &part) == 0 && shmrt_comm_size(part) == 1);
    CHECK(members(rank, part, who) == 0 && shmrt_comm_rank(part) == 0);
    shmrt_comm_destroy(part);
    /* Nobody. */
    CHECK(shmrt_comm_split(comm, -1, 0, &part) == 0 && !part);
    CHECK(shmrt_barrier(comm) == 0);
    shmrt_comm_destroy(comm);
    return 0;
}

static void colors_and_keys(void **state)
{
    (void)state;
    run(RANKS_THREADS, 1, split_by_color_and_key);
    run(RANKS_THREADS, 4, split_by_color_and_key);
    run(RANKS_PROCESSES, 7, split_by_color_and_key);
}

/* A few random calls on @comm, as rank @own of it. */
static int call_some(struct rank *rank, struct shmrt_comm *comm, uint64_t *state, int n)
{
    struct rank own = *rank;
    own.rank = shmrt_comm_rank(comm);
    own.size = shmrt_comm_size(comm);
    for (int i = 0; i < n; i++) {
        struct call call = call_random(state, own.size, 3000, own.size > 1);
        int line = call_once(&own, comm, &call);
        if (line)
            return line;
    }
    return 0;
}

/* Rows and columns of a grid, the whole, and halves of rows, all in turn. */
static int use_a_grid(struct rank *rank)
{
    enum { WIDTH = 4 };
    struct shmrt_comm *all = rank_comm(rank, NULL), *row, *column, *half;
    int x = rank->rank % WIDTH, y = rank->rank / WIDTH;
    CHECK(all);
    CHECK(shmrt_comm_split(all, y, x, &row) == 0);
    CHECK(shmrt_comm_split(all, x, y, &column) == 0);
    CHECK(shmrt_comm_split(row, x / 2, 0, &half) == 0);
    CHECK(shmrt_comm_size(half) == 2 && shmrt_comm_rank(half) == x % 2);
    uint64_t states[4] = {1, 2 + (uint64_t)y, 100 + (uint64_t)x, 200 + (uint64_t)(rank->rank / 2)};
    struct shmrt_comm *const comms[] = {all, row, column, half};
    for (int i = 0; i < 40; i++) {
        int line = call_some(rank, comms[i % 4], &states[i % 4], 3);
        if (line)
            return line;
    }
    /* Parents first: each has its own memory. */
    shmrt_comm_destroy(all);
    shmrt_comm_destroy(row);
    int line = call_some(rank, column, &states[2], 5);
    line = line ? line : call_some(rank, half, &states[3], 5);
    shmrt_comm_destroy(half);
    shmrt_comm_destroy(column);
    return line;
}

static void groups_of_groups_in_turn(void **state)
{
    (void)state;
    run(RANKS_THREADS, 8, use_a_grid);
    run(RANKS_PROCESSES, 8, use_a_grid);
}

/* Started on both: a wait on one does not need the other. */
static int start_on_both(struct rank *rank)
{
    struct shmrt_comm *all = rank_comm(rank, NULL), *part;
    struct shmrt_request *whole, *some;
    int32_t a = 1, b = 1;
    struct shmrt_args args = {
        .collective = SHMRT_ALLREDUCE, .in = &a, .out = &a, .count = 1, .dtype = SHMRT_INT32};
    CHECK(all && shmrt_comm_split(all, rank->rank % 2, 0, &part) == 0);
    CHECK(shmrt_start(all, &args, &whole) == 0);
    args.in = args.out = &b;
    CHECK(shmrt_start(part, &args, &some) == 0);
    if (rank->rank % 2)
        CHECK(shmrt_wait(whole) == 0 && shmrt_wait(some) == 0);
    else
        CHECK(shmrt_wait(some) == 0 && shmrt_wait(whole) == 0);
    CHECK(a == rank->size && b == shmrt_comm_size(part));
    shmrt_comm_destroy(part);
    shmrt_comm_destroy(all);
    return 0;
}

static void requests_of_two_communicators(void **state)
{
    (void)state;
    run(RANKS_THREADS, 4, start_on_both);
}

/* Odd ranks disagree in their group; the even ones and the whole go on. */
static int fail_in_one_group(struct rank *rank)
{
    struct shmrt_comm *all = rank_comm(rank, NULL), *part;
    int32_t x = 1, y[4] = {0};
    CHECK(all && shmrt_comm_split(all, rank->rank % 2, 0, &part) == 0);
    if (rank->rank % 2) {
        int rc = rank->rank == 1 ? shmrt_barrier(part)
                                 : shmrt_allreduce(part, &x, &x, 1, SHMRT_INT32, SHMRT_SUM);
        CHECK(rc == -EPROTO && shmrt_barrier(part) == -EPROTO);
        CHECK(shmrt_comm_error(all)->code == 0);
    }
    CHECK(shmrt_allgather(all, &x, y, 1, SHMRT_INT32) == 0 && y[3] == 1);
    if (rank->rank % 2 == 0)
        CHECK(shmrt_allreduce(part, &x, &x, 1, SHMRT_INT32, SHMRT_SUM) == 0 && x == 2);
    shmrt_comm_destroy(part);
    /* The group that failed can be made again. */
    CHECK(shmrt_comm_split(all, rank->rank % 2, 0, &part) == 0 && shmrt_barrier(part) == 0);
    shmrt_comm_destroy(all);
    shmrt_comm_destroy(part);
    return 0;
}

static void a_failure_stays_in_its_group(void **state)
{
    (void)state;
    run(RANKS_THREADS, 4, fail_in_one_group);
    run(RANKS_PROCESSES, 4, fail_in_one_group);
}

/* Rank 3 dies; the group that it is not in goes on, its own and the whole hear of it. */
static int lose_a_member(struct rank *rank)
{
    struct shmrt_comm *all = rank_comm(rank, NULL), *part;
    CHECK(all && shmrt_comm_split(all, rank->rank % 2, 0, &part) == 0);
    CHECK(shmrt_barrier(all) == 0); /* all have their groups before one dies */
    if (rank->rank == 3)
        raise(SIGKILL);
    if (rank->rank % 2) {
        CHECK(shmrt_barrier(part) == -ECONNABORTED);
        CHECK(strstr(shmrt_comm_error(part)->text, "rank 1 (pid")); /* as that group counts */
    } else {
        for (int i = 0; i < 100; i++)
            CHECK(shmrt_barrier(part) == 0);
    }
    CHECK(shmrt_barrier(all) == -ECONNABORTED);
    CHECK(strstr(shmrt_comm_error(all)->text, "rank 3 (pid"));
    if (rank->rank % 2 == 0)
        CHECK(shmrt_barrier(part) == 0);
    shmrt_comm_destroy(part);
    shmrt_comm_destroy(all);
    return 0;
}

static void a_death_reaches_its_groups_only(void **state)
{
    (void)state;
#ifdef TEST_THREADS_ONLY
    skip();
#endif
    struct ranks_run run = {.kind = RANKS_PROCESSES, .size = 4, .body = lose_a_member};
    ranks_run(&run);
    for (int r = 0; r < 4; r++)
        assert_int_equal(run.results[r], r == 3 ? 128 + SIGKILL : 0);
}

static bool dies_at_its_segment;

/* What the library's own segments are made with. */
int memfd_create(const char *name, unsigned flags)
{
    if (dies_at_its_segment)
        raise(SIGKILL);
    return (int)syscall(SYS_memfd_create, name, flags);
}

/* Rank 3 dies on its way to the group's meeting. The first that looks there tells the others that
 * it gives up, which is not all that they say. */
static int lose_one_on_the_way(struct rank *rank)
{
    struct shmrt_comm *all = rank_comm(rank, NULL), *part = NULL;
    CHECK(all && shmrt_barrier(all) == 0);
    dies_at_its_segment = rank->rank == 3;
    CHECK(shmrt_comm_split(all, 0, 0, &part) == -ECONNABORTED && !part);
    struct shmrt_error error = *shmrt_comm_error(all);
    if (!strstr(error.text, "rank 3 (pid") || !strstr(error.text, "died"))
        fprintf(stderr, "rank %d: %s\n", rank->rank, error.text);
    CHECK(strstr(error.text, "rank 3 (pid") && strstr(error.text, "died"));
    CHECK(shmrt_barrier(all) == -ECONNABORTED);
    CHECK(strcmp(shmrt_comm_error(all)->text, error.text) == 0);
    shmrt_comm_destroy(all);
    return 0;
}

static void a_death_on_the_way_to_a_group_is_named(void **state)
{
    (void)state;
#ifdef TEST_THREADS_ONLY
    skip();
#endif
    struct ranks_run run = {.kind = RANKS_PROCESSES, .size = 4, .body = lose_one_on_the_way};
    ranks_run(&run);
    for (int r = 0; r < 4; r++)
        assert_int_equal(run.results[r], r == 3 ? 128 + SIGKILL : 0);
}

/* Ranks that do other things than split disagree, and know. */
static int split_or_not(struct rank *rank)
{
    struct shmrt_comm *all = rank_comm(rank, NULL), *part = NULL;
    CHECK(all);
    int rc = rank->rank == 1 ? shmrt_barrier(all) : shmrt_comm_split(all, 0, 0, &part);
    CHECK(rc == -EPROTO && !part);
    shmrt_comm_destroy(all);
    return 0;
}

static void splitting_is_a_call_of_all(void **state)
{
    (void)state;
    run(RANKS_THREADS, 3, split_or_not);
}

/* The part alone is to go to a node that is not there; a part of that has nothing new to say. */
static int warns_in_a_part(struct rank *rank)
{
    struct ranks_heard heard = {0};
    rank->heard = &heard;
    struct shmrt_comm *comm = rank_comm(rank, NULL), *part, *again;
    CHECK(comm);
    int32_t lines = heard.lines;
    CHECK(shmrt_allreduce(comm, &lines, &lines, 1, SHMRT_INT32, SHMRT_MAX) == 0);
    if (lines)
        printf("not tested: memory cannot be bound here anyway\n");
    shmrt_nodeset_add(&comm->options.nodes, SHMRT_NODES_MAX - 1);
    CHECK(shmrt_comm_split(comm, 0, 0, &part) == 0);
    CHECK(lines || heard.lines == (rank->rank == 0));
    CHECK(lines || rank->rank != 0 || strstr(heard.last, "all 3 ranks: mbind of "));
    lines = heard.lines;
    CHECK(shmrt_comm_split(part, 0, 0, &again) == 0);
    CHECK(heard.lines == lines);
    shmrt_comm_destroy(again);
    shmrt_comm_destroy(part);
    shmrt_comm_destroy(comm);
    return 0;
}

static void what_is_lost_in_a_part_is_said_once(void **state)
{
    (void)state;
    run(RANKS_PROCESSES, 3, warns_in_a_part);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(colors_and_keys),
        cmocka_unit_test(groups_of_groups_in_turn),
        cmocka_unit_test(requests_of_two_communicators),
        cmocka_unit_test(a_failure_stays_in_its_group),
        cmocka_unit_test(a_death_reaches_its_groups_only),
        cmocka_unit_test(a_death_on_the_way_to_a_group_is_named),
        cmocka_unit_test(splitting_is_a_call_of_all),
        cmocka_unit_test(what_is_lost_in_a_part_is_said_once),
    };
    return cmocka_run_group_tests_name("split", tests, NULL, NULL);
}
