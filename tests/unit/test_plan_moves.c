/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_plan_moves.c - plans: both ends of a move say the same of it, and the blocks of a rank cover
 * its input and its output once.
 */
#include "coll/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 9 };

/* Elements from one to the other, zeros and one long among them. */
static size_t uneven(int from, int to)
{
    int x = from * 5 + to * 3;
    return x % 4 == 0 ? 0 : x % 7 == 0 ? 1000003 : (size_t)x;
}

struct ends {
    size_t in_counts[MOST], out_counts[MOST];
    struct shmrt_coll coll;
    struct shmrt_plan plan;
};

static void make(struct ends *e, enum shmrt_collective collective, bool v, int size, int rank,
                 int root)
{
    e->coll = (struct shmrt_coll){
        .collective = collective, .count = 17, .element_bytes = 4, .root = root};
    for (int r = 0; r < size; r++) {
        bool same = collective != SHMRT_ALLTOALL; /* the counts of all ranks are the same */
        e->in_counts[r] = same ? uneven(r, r) : uneven(rank, r);
        e->out_counts[r] = uneven(r, rank);
    }
    if (v)
        e->coll.in_counts = e->in_counts;
    if (v && collective == SHMRT_ALLTOALL)
        e->coll.out_counts = e->out_counts;
    shmrt_plan_make(&e->plan, &e->coll, size, rank);
}

static bool reduces(enum shmrt_collective c)
{
    return c == SHMRT_ALLREDUCE || c == SHMRT_REDUCE || c == SHMRT_REDUCE_SCATTER;
}

/* The output of @reader is filled in order by its writers, or by one block of all of them. */
static void check_reader(struct ends *ranks, int size, int reader)
{
    const struct shmrt_plan *plan = &ranks[reader].plan;
    size_t next = 0;
    for (int w = 0; w < size; w++) {
        if (!shmrt_plan_writes(plan, w))
            continue;
        struct shmrt_block here = shmrt_plan_block(plan, w, reader);
        struct shmrt_block there = shmrt_plan_block(&ranks[w].plan, w, reader);
        assert_int_equal(here.count, there.count);
        if (shmrt_plan_is_transparent(plan))
            assert_int_equal(here.from, there.from);
        assert_int_equal(here.to, plan->combine ? 0 : next);
        next += here.count;
        assert_true(here.count <= shmrt_plan_longest(&ranks[w].plan));
    }
}

/* A writer's blocks are its input in rank order, or all of them its whole input. */
static void check_writer(struct ends *ranks, int size, int writer)
{
    const struct shmrt_plan *plan = &ranks[writer].plan;
    size_t next = 0;
    for (int r = 0; r < size; r++) {
        if (!shmrt_plan_reads(plan, r))
            continue;
        struct shmrt_block block = shmrt_plan_block(plan, writer, r);
        assert_int_equal(block.from, plan->each ? next : 0);
        next = plan->each ? next + block.count : block.count;
    }
    assert_int_equal(shmrt_plan_payload(plan, writer), next);
    assert_true(shmrt_plan_largest_payload(plan) >= next);
}

static void check(enum shmrt_collective collective, bool v, int size, int root)
{
    struct ends ranks[MOST];
    for (int r = 0; r < size; r++)
        make(&ranks[r], collective, v, size, r, root);
    for (int r = 0; r < size; r++) {
        const struct shmrt_plan *plan = &ranks[r].plan;
        assert_int_equal(plan->combine, reduces(collective));
        assert_int_equal(shmrt_plan_largest_payload(plan),
                         shmrt_plan_largest_payload(&ranks[0].plan));
        if (shmrt_plan_is_transparent(plan))
            assert_int_equal(shmrt_plan_longest(plan), shmrt_plan_longest(&ranks[0].plan));
        if (shmrt_plan_reads(plan, r))
            check_reader(ranks, size, r);
        if (shmrt_plan_writes(plan, r))
            check_writer(ranks, size, r);
        else
            assert_int_equal(shmrt_plan_payload(plan, r), 0);
    }
}

static void both_ends_agree_and_blocks_cover(void **state)
{
    (void)state;
    for (int size = 1; size <= MOST; size++)
        for (int c = SHMRT_ALLREDUCE; c <= SHMRT_SCATTER; c++)
            for (int root = 0; root < size; root++) {
                enum shmrt_collective collective = (enum shmrt_collective)c;
                check(collective, false, size, root);
                if (c == SHMRT_ALLGATHER || c == SHMRT_REDUCE_SCATTER || c == SHMRT_ALLTOALL)
                    check(collective, true, size, root);
            }
}

/* Who writes and who reads. */
static void roots(void **state)
{
    (void)state;
    static const struct {
        enum shmrt_collective collective;
        bool one_writes, one_reads;
    } table[] = {{SHMRT_BROADCAST, true, false},       {SHMRT_SCATTER, true, false},
                 {SHMRT_REDUCE, false, true},          {SHMRT_GATHER, false, true},
                 {SHMRT_ALLREDUCE, false, false},      {SHMRT_ALLGATHER, false, false},
                 {SHMRT_REDUCE_SCATTER, false, false}, {SHMRT_ALLTOALL, false, false},
                 {SHMRT_BARRIER, false, false}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct ends e;
        make(&e, table[i].collective, false, 5, 1, 3);
        for (int r = 0; r < 5; r++) {
            assert_int_equal(shmrt_plan_writes(&e.plan, r), !table[i].one_writes || r == 3);
            assert_int_equal(shmrt_plan_reads(&e.plan, r), !table[i].one_reads || r == 3);
        }
        assert_int_equal(shmrt_plan_is_symmetric(&e.plan),
                         !table[i].one_writes && !table[i].one_reads);
    }
}

/* Far beyond 32 bits. */
static void long_blocks(void **state)
{
    (void)state;
    struct shmrt_coll coll = {.collective = SHMRT_ALLTOALL, .count = (size_t)1 << 40};
    struct shmrt_plan plan;
    shmrt_plan_make(&plan, &coll, 64, 63);
    struct shmrt_block block = shmrt_plan_block(&plan, 62, 63);
    assert_int_equal(block.from, (size_t)63 << 40);
    assert_int_equal(block.to, (size_t)62 << 40);
    assert_int_equal(shmrt_plan_largest_payload(&plan), (size_t)64 << 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ends_agree_and_blocks_cover),
        cmocka_unit_test(roots),
        cmocka_unit_test(long_blocks),
    };
    return cmocka_run_group_tests_name("plan_moves", tests, NULL, NULL);
}
