/* SPDX-License-Identifier: Apache-2.0 */
/*
 * split.c - the cheapest way to cut a row of cores into slices, found by dynamic programming.
 *
 * best[i][p] is the least cost of giving the first i ranks cores among the first p. One number
 * orders all costs: crossing a package weighs more than any count of nodes crossed, a node more
 * than any count of L3s, an L3 more than any distance from the even share.
 */
#include "split.h"

#include <errno.h>
#include <stdlib.h>

#define IMPOSSIBLE UINT64_MAX

/* Room for 4096 borders of each kind, and for 64 ranks that stray by 4096 cores each. */
static const uint64_t border_cost[] = {
    [SHMRT_BORDER_NONE] = 0,
    [SHMRT_BORDER_L3] = UINT64_C(1) << 26,
    [SHMRT_BORDER_NODE] = UINT64_C(1) << 38,
    [SHMRT_BORDER_PACKAGE] = UINT64_C(1) << 50,
};

struct table {
    const struct shmrt_split *split;
    uint64_t *crossed; /* [cores], cost of the borders before and at each core */
    uint64_t *best;    /* [ranks + 1][cores + 1] */
};

static uint64_t *cell(const struct table *t, size_t ranks, size_t cores)
{
    return &t->best[ranks * (t->split->cores + 1) + cores];
}

static uint64_t slice_cost(const struct table *t, size_t rank, size_t begin, size_t end)
{
    const struct shmrt_split *s = t->split;
    size_t here = begin * s->ranks, ideal = rank * s->cores;
    /* In cores, rounded up so that any distance costs something. */
    uint64_t astray = ((here > ideal ? here - ideal : ideal - here) * 4 + s->ranks - 1) / s->ranks;
    return t->crossed[end - 1] - t->crossed[begin] + astray;
}

/* The least cost when rank @rank ends exactly at @end, and how wide it then is. */
static uint64_t place_rank(const struct table *t, size_t rank, size_t end, size_t *width_out)
{
    uint64_t least = IMPOSSIBLE;
    for (size_t width = t->split->narrowest; width <= t->split->widest && width <= end; width++) {
        uint64_t before = *cell(t, rank, end - width);
        if (before == IMPOSSIBLE)
            continue;
        uint64_t cost = before + slice_cost(t, rank, end - width, end);
        if (cost < least) {
            least = cost;
            *width_out = width;
        }
    }
    return least;
}

static void fill(const struct table *t)
{
    const struct shmrt_split *s = t->split;
    t->crossed[0] = 0;
    for (size_t core = 1; core < s->cores; core++)
        t->crossed[core] = t->crossed[core - 1] + border_cost[s->borders[core]];
    for (size_t end = 0; end <= s->cores; end++)
        *cell(t, 0, end) = end == 0 || s->gaps ? 0 : IMPOSSIBLE;
    for (size_t rank = 0; rank < s->ranks; rank++)
        for (size_t end = 0; end <= s->cores; end++) {
            size_t width;
            uint64_t cost = place_rank(t, rank, end, &width);
            if (s->gaps && end > 0 && *cell(t, rank + 1, end - 1) < cost)
                cost = *cell(t, rank + 1, end - 1);
            *cell(t, rank + 1, end) = cost;
        }
}

static void walk_back(const struct table *t, struct shmrt_slice *slices_out)
{
    size_t end = t->split->cores;
    for (size_t rank = t->split->ranks; rank-- > 0;) {
        while (t->split->gaps && end > 0 && *cell(t, rank + 1, end - 1) == *cell(t, rank + 1, end))
            end--;
        size_t width = 0;
        (void)place_rank(t, rank, end, &width);
        slices_out[rank] = (struct shmrt_slice){.begin = end - width, .end = end};
        end -= width;
    }
}

int shmrt_split_cores(const struct shmrt_split *split, struct shmrt_slice *slices_out)
{
    struct table t = {
        .split = split,
        .crossed = malloc(split->cores * sizeof *t.crossed),
        .best = malloc((split->ranks + 1) * (split->cores + 1) * sizeof *t.best),
    };
    int rc = t.crossed && t.best ? 0 : -ENOMEM;
    if (rc == 0) {
        fill(&t);
        walk_back(&t, slices_out);
    }
    free(t.best);
    free(t.crossed);
    return rc;
}
