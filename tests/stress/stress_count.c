/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stress_count.c - very many small all-reduces of mixed sizes, types and operations, each checked
 * bit by bit.
 *
 * Checking has to cost less than the call. So there is a table of terms for each type and
 * operation, and one of what comes of them, computed the plain way before; a call takes a window of
 * a table, which its number decides. A result of an earlier call is then another window, and shows.
 */
#include "calls.h"
#include "stress.h"
#include "values.h"

#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST_BYTES = 1024,
    LEAST_SHIFT = 3, /* 8 bytes */
    SHIFTS = 8,      /* to 1 KiB */
    WINDOWS = 1024,
    TABLE = WINDOWS + MOST_BYTES, /* elements */
    TABLES = SHMRT_DTYPE_COUNT * SHMRT_OP_COUNT,
    LOOK = 1 << 16, /* calls between looks at the clock */
    GUARD = 0xA5,
};

struct table {
    enum shmrt_dtype dtype;
    enum shmrt_op op;
    size_t element;
    char *terms, *results;
};

struct count {
    uint64_t operations, ranks, seed;
};

struct progress {
    int64_t start_ns, told_ns;
};

static bool has_op(enum shmrt_dtype dtype, enum shmrt_op op)
{
    return op != SHMRT_AVG || dtype <= SHMRT_FLOAT16;
}

/* Return: how many tables there are; 0 without memory. */
static int fill_tables(struct table tables[TABLES], const struct rank *rank, unsigned seed)
{
    int n = 0;
    for (int dtype = 0; dtype < SHMRT_DTYPE_COUNT; dtype++)
        for (int op = 0; op < SHMRT_OP_COUNT; op++) {
            struct table *t = &tables[n];
            if (!has_op((enum shmrt_dtype)dtype, (enum shmrt_op)op))
                continue;
            *t = (struct table){.dtype = (enum shmrt_dtype)dtype, .op = (enum shmrt_op)op};
            t->element = shmrt_dtype_bytes(t->dtype);
            t->terms = malloc(TABLE * t->element);
            t->results = malloc(TABLE * t->element);
            if (!t->terms || !t->results)
                return 0;
            values_fill(t->terms, 0, TABLE, t->dtype, rank->rank, seed + (unsigned)n);
            values_reduce(t->results, 0, TABLE, t->dtype, t->op, rank->size, seed + (unsigned)n);
            n++;
        }
    return n;
}

static void free_tables(struct table *tables, int n)
{
    for (int i = 0; i < n; i++) {
        free(tables[i].terms);
        free(tables[i].results);
    }
}

/* A CPU for each rank, where there are enough. */
static void pin(const struct rank *rank)
{
    cpu_set_t allowed, one;
    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < rank->size)
        return;
    int left = rank->rank, cpu = 0;
    while (!CPU_ISSET(cpu, &allowed) || left-- > 0)
        cpu++;
    CPU_SET(cpu, &one);
    if (sched_setaffinity(0, sizeof one, &one) != 0)
        perror("sched_setaffinity");
}

static void tell(struct progress *progress, uint64_t done)
{
    int64_t at_ns = now_ns();
    if (at_ns - progress->told_ns < INT64_C(10000000000))
        return;
    progress->told_ns = at_ns;
    double s = (double)(at_ns - progress->start_ns) / 1e9;
    printf("%" PRIu64 " calls in %.0f s: %.0f a second\n", done, s, (double)done / s);
    fflush(stdout);
}

/* Return: 0, or the line of what failed. */
static int call_and_check(const struct rank *rank, struct shmrt_comm *comm,
                          const struct table *tables, int n, uint64_t number, uint64_t seed)
{
    static _Thread_local char out[MOST_BYTES + 64];
    uint64_t x = number + seed;
    x = next_random(&x);
    const struct table *t = &tables[(x & 0xffff) * (uint64_t)n >> 16];
    size_t count = ((size_t)1 << (LEAST_SHIFT + (x >> 16) % SHIFTS)) / t->element;
    count -= count > 1 ? x >> 20 & 1 : 0;
    size_t bytes = count * t->element, at = (x >> 24) % WINDOWS * t->element;
    bool in_place = x >> 40 & 1;
    const char *in = in_place ? memcpy(out, t->terms + at, bytes) : t->terms + at;
    out[bytes] = (char)GUARD;
    int rc = shmrt_allreduce(comm, in, out, count, t->dtype, t->op);
    bool right = rc == 0 && memcmp(out, t->results + at, bytes) == 0 && out[bytes] == (char)GUARD;
    if (right)
        return 0;
    fprintf(stderr, "rank %d: call %" PRIu64 " of seed %" PRIu64 ": %s of %zu %s%s: %s\n",
            rank->rank, number, seed, shmrt_op_name(t->op), count, shmrt_dtype_name(t->dtype),
            in_place ? " in place" : "", rc ? shmrt_comm_error(comm)->text : "wrong contents");
    return __LINE__;
}

static int run_rank(struct rank *rank)
{
    static struct table tables[TABLES];
    const struct count *count = rank->arg;
    int line = 0, n = fill_tables(tables, rank, (unsigned)count->seed);
    CHECK(n > 0);
    pin(rank);
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm && shmrt_barrier(comm) == 0);
    struct progress progress = {now_ns(), now_ns()};
    for (uint64_t i = 0; i < count->operations && line == 0; i++) {
        line = call_and_check(rank, comm, tables, n, i, count->seed);
        if (i % LOOK == 0 && rank->rank == 0)
            tell(&progress, i);
    }
    double s = (double)(now_ns() - progress.start_ns) / 1e9;
    if (rank->rank == 0 && line == 0)
        printf("stress_count: %" PRIu64 " all-reduces of %d ranks in %.1f s: %.0f a second, all "
               "right\n",
               count->operations, rank->size, s, (double)count->operations / s);
    shmrt_comm_destroy(comm);
    free_tables(tables, n);
    return line;
}

int main(int argc, char **argv)
{
    enum { A_DAY_S = 86400 };
    struct count count = {.operations = 100000000, .ranks = 2, .seed = stress_fresh_seed()};
    const struct stress_option options[] = {
        {"--operations", &count.operations, "all-reduces"},
        {"--ranks", &count.ranks, "processes, each on a CPU of its own where there are enough"},
        {"--seed", &count.seed, "of sizes, types and values"},
        {0},
    };
    stress_parse(argc, argv, options);
    if (count.ranks < 1 || count.ranks > SHMRT_MAX_RANKS) {
        fprintf(stderr, "--ranks %" PRIu64 " is not from 1 to %d\n", count.ranks, SHMRT_MAX_RANKS);
        return 2;
    }
    printf("stress_count --operations %" PRIu64 " --ranks %" PRIu64 " --seed %" PRIu64 "\n",
           count.operations, count.ranks, count.seed);
    struct ranks_run run = {.kind = RANKS_PROCESSES,
                            .size = (int)count.ranks,
                            .body = run_rank,
                            .arg = &count,
                            .timeout_s = A_DAY_S};
    ranks_run(&run);
    int failed = 0;
    for (int r = 0; r < run.size; r++)
        failed += run.results[r] != 0;
    if (failed)
        fprintf(stderr, "stress_count: %d of %d ranks failed\n", failed, run.size);
    return failed != 0;
}
