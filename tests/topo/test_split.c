/* SPDX-License-Identifier: Apache-2.0 */
/* test_split.c - no way of cutting a row of cores crosses fewer borders: against all ways there
 * are.
 */
#include "topo/split.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { CORES_MOST = 10, RANKS_MOST = 4 };

/* Borders crossed, the outermost kind first, as one number. */
static unsigned long crossed(const struct shmrt_split *split, struct shmrt_slice slice)
{
    static const unsigned long weight[] = {0, 1, 100, 10000};
    unsigned long sum = 0;
    for (size_t core = slice.begin + 1; core < slice.end; core++)
        sum += weight[split->borders[core]];
    return sum;
}

/* The least crossing of ranks @rank and on, when cores below @from are taken. */
static unsigned long least_crossing(const struct shmrt_split *split, size_t rank, size_t from)
{
    if (rank == split->ranks)
        return split->gaps || from == split->cores ? 0 : 1000000;
    unsigned long least = 1000000;
    for (size_t begin = from; begin <= (split->gaps ? split->cores : from); begin++)
        for (size_t width = split->narrowest; width <= split->widest; width++) {
            struct shmrt_slice slice = {.begin = begin, .end = begin + width};
            if (slice.end > split->cores)
                continue;
            unsigned long sum = crossed(split, slice) + least_crossing(split, rank + 1, slice.end);
            least = sum < least ? sum : least;
        }
    return least;
}

static void check_split(const struct shmrt_split *split)
{
    struct shmrt_slice slices[RANKS_MOST];
    unsigned long sum = 0;
    size_t end = 0;
    assert_int_equal(shmrt_split_cores(split, slices), 0);
    for (size_t rank = 0; rank < split->ranks; rank++) {
        size_t width = slices[rank].end - slices[rank].begin;
        assert_true(split->gaps ? slices[rank].begin >= end : slices[rank].begin == end);
        assert_in_range(width, split->narrowest, split->widest);
        end = slices[rank].end;
        sum += crossed(split, slices[rank]);
    }
    assert_true(split->gaps ? end <= split->cores : end == split->cores);
    assert_int_equal(sum, least_crossing(split, 0, 0));
}

static void nothing_crosses_less(void **state)
{
    (void)state;
    unsigned seed = 1;
    for (int round = 0; round < 300; round++) {
        enum shmrt_border borders[CORES_MOST];
        for (size_t i = 0; i < CORES_MOST; i++)
            borders[i] = (enum shmrt_border)(rand_r(&seed) % 4);
        struct shmrt_split split = {.borders = borders};
        split.ranks = 1 + (size_t)rand_r(&seed) % RANKS_MOST;
        split.cores = split.ranks + (size_t)rand_r(&seed) % (CORES_MOST + 1 - split.ranks);
        split.narrowest = split.cores / split.ranks;
        split.widest = split.narrowest + (split.cores % split.ranks != 0);
        check_split(&split);
        split.narrowest = split.widest = 1 + (size_t)rand_r(&seed) % split.narrowest;
        split.gaps = true;
        check_split(&split);
    }
}

static void without_borders_shares_are_spread_evenly(void **state)
{
    (void)state;
    const enum shmrt_border borders[8] = {0};
    struct shmrt_slice slices[3];
    const struct shmrt_split all = {
        .borders = borders, .cores = 8, .ranks = 3, .narrowest = 2, .widest = 3};
    assert_int_equal(shmrt_split_cores(&all, slices), 0);
    assert_int_equal(slices[1].begin, 3);
    assert_int_equal(slices[2].begin, 5);
    const struct shmrt_split pairs = {
        .borders = borders, .cores = 8, .ranks = 2, .narrowest = 2, .widest = 2, .gaps = true};
    assert_int_equal(shmrt_split_cores(&pairs, slices), 0);
    assert_int_equal(slices[0].begin, 0);
    assert_int_equal(slices[1].begin, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_crosses_less),
        cmocka_unit_test(without_borders_shares_are_spread_evenly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
