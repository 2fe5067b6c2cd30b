/* SPDX-License-Identifier: Apache-2.0 */
/*
 * traffic.c - the bytes that one call moves between groups of ranks, as the library counts them.
 *
 * What a rank reads flows from the owner's group to its own, what it writes the other way.
 */
#include "bench.h"

#include <string.h>

static struct shmrt_traffic subtract(const struct shmrt_traffic *a, const struct shmrt_traffic *b)
{
    struct shmrt_traffic out = *a;
    for (int r = 0; r < SHMRT_MAX_RANKS; r++) {
        out.read_from[r] -= b->read_from[r];
        out.written_to[r] -= b->written_to[r];
    }
    return out;
}

/* All ranks' counts, as flows between groups; the busiest is that between two different ones. */
static void sum_up(const struct bench_rank *rank, struct bench_traffic *out)
{
    static uint64_t flow[SHMRT_MAX_RANKS][SHMRT_MAX_RANKS];
    int ranks = rank->options->ranks;
    memset(flow, 0, sizeof flow);
    for (int mover = 0; mover < ranks; mover++) {
        const struct shmrt_traffic *moved = &rank->shared->traffic[mover];
        int own = moved->group_of[mover];
        for (int owner = 0; owner < ranks; owner++) {
            flow[moved->group_of[owner]][own] += moved->read_from[owner];
            flow[own][moved->group_of[owner]] += moved->written_to[owner];
        }
    }
    out->groups = rank->shared->traffic[0].groups;
    for (int a = 0; a < out->groups; a++)
        for (int b = 0; b < out->groups; b++) {
            if (a == b) {
                out->within_bytes += flow[a][b];
                continue;
            }
            out->between_bytes += flow[a][b];
            if (flow[a][b] > out->busiest_bytes)
                out->busiest_bytes = flow[a][b];
        }
}

int bench_traffic_take(struct bench_rank *rank, struct bench_traffic *out)
{
    struct shmrt_traffic before, after;
    bench_choose(rank, 0);
    shmrt_comm_traffic(rank->comm, &before);
    int rc = rank->contenders[0].run(rank, 1);
    shmrt_comm_traffic(rank->comm, &after);
    rank->shared->traffic[rank->rank] = subtract(&after, &before);
    rc = rc ? rc : bench_meet(&rank->party, BENCH_SPIN);
    *out = (struct bench_traffic){.bytes = rank->bytes};
    if (rc == 0 && rank->rank == 0)
        sum_up(rank, out);
    return rc ? rc : bench_meet(&rank->party, BENCH_SPIN);
}

void bench_print_traffic(const struct bench_report *report)
{
    char size[24];
    printf("\nbytes that one call moves, over all ranks, in times the size; %d group(s)\n"
           "%10s %14s %14s %22s\n",
           report->traffic[0].groups, "size", "within groups", "between groups",
           "busiest way, one to one");
    for (size_t i = 0; i < report->traffic_count; i++) {
        const struct bench_traffic *t = &report->traffic[i];
        double bytes = t->bytes ? (double)t->bytes : 1;
        printf("%10s %14.3f %14.3f %22.3f\n", bench_size_text(t->bytes, size),
               (double)t->within_bytes / bytes, (double)t->between_bytes / bytes,
               (double)t->busiest_bytes / bytes);
    }
}
