/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_allreduce.c - every type, operation, size and number of ranks against a plain computation in
 * rank order; every rank gets the same bits, and nothing outside the output is touched.
 */
#include "kernels/kernels.h"
#include "ranks.h"
#include "values.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { GUARD = 64, GUARD_BYTE = 0xA5 };

/* Both sides of one-shot's limits, of one line, of parts, chunks and rounds. */
static const size_t all_counts[] = {0,    1,     2,     7,     9,     10,     11,     63,
                                    64,   65,    1000,  2048,  4095,  4096,   4097,   8192,
                                    8193, 16385, 30000, 65536, 65537, 200003, 1 << 20};
static const size_t few_counts[] = {1, 10, 100, 1023, 5000, 70001};

struct plan {
    const size_t *counts;
    size_t count_n;
    bool all_types;
};

static const struct plan everything = {all_counts, sizeof all_counts / sizeof all_counts[0], true};
static const struct plan quick = {few_counts, sizeof few_counts / sizeof few_counts[0], true};
static const struct plan fp32_only = {all_counts, sizeof all_counts / sizeof all_counts[0], false};

static bool guard_intact(const unsigned char *guard)
{
    for (int i = 0; i < GUARD; i++)
        if (guard[i] != GUARD_BYTE)
            return false;
    return true;
}

/* One call on buffers that are @shift bytes off, in place or not; 0 or the failed check's line. */
static int reduce_once(struct rank *rank, struct shmrt_comm *comm, size_t count,
                       enum shmrt_dtype dtype, enum shmrt_op op, size_t shift, bool in_place)
{
    size_t bytes = count * shmrt_dtype_bytes(dtype);
    unsigned seed = (unsigned)(count + 31 * dtype + 7 * op);
    unsigned char *memory = malloc(3 * (bytes + 2 * GUARD + shift));
    CHECK(memory);
    memset(memory, GUARD_BYTE, 3 * (bytes + 2 * GUARD + shift));
    unsigned char *out = memory + GUARD + shift;
    unsigned char *in = in_place ? out : out + bytes + GUARD;
    unsigned char *expected = memory + 2 * (bytes + 2 * GUARD + shift);
    values_fill(in, 0, count, dtype, rank->rank, seed);
    int rc = shmrt_allreduce(comm, in, out, count, dtype, op);
    if (rc)
        fprintf(stderr, "rank %d: %s\n", rank->rank, shmrt_comm_error(comm)->text);
    CHECK(rc == 0);
    values_reduce(expected, 0, count, dtype, op, rank->size, seed);
    if (memcmp(out, expected, bytes) != 0)
        fprintf(stderr, "%zu %s %s, shift %zu, %s\n", count, shmrt_dtype_name(dtype),
                shmrt_op_name(op), shift, in_place ? "in place" : "out of place");
    CHECK(memcmp(out, expected, bytes) == 0);
    CHECK(guard_intact(out - GUARD) && guard_intact(out + bytes));
    if (!in_place) {
        values_fill(expected, 0, count, dtype, rank->rank, seed);
        CHECK(memcmp(in, expected, bytes) == 0);
    }
    free(memory);
    return 0;
}

/* Counts rise. An emulator is slow, and leaves out those above SHMRT_TEST_MOST_COUNT. */
static size_t counts_wanted(const struct plan *plan)
{
    const char *most = getenv("SHMRT_TEST_MOST_COUNT");
    size_t n = 0;
    while (n < plan->count_n && (!most || plan->counts[n] <= strtoul(most, NULL, 10)))
        n++;
    return n;
}

static int reduce_everything(struct rank *rank)
{
    const struct plan *plan = rank->arg;
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm);
    size_t count_n = counts_wanted(plan);
    int types = plan->all_types ? SHMRT_DTYPE_COUNT : 1;
    int ops = plan->all_types ? SHMRT_OP_COUNT : 1;
    size_t turn = 0;
    for (int dtype = 0; dtype < types; dtype++)
        for (int op = 0; op < ops; op++) {
            if (op == SHMRT_AVG && dtype > SHMRT_FLOAT16)
                continue;
            for (size_t i = 0; i < count_n; i++, turn++) {
                int line = reduce_once(rank, comm, plan->counts[i], (enum shmrt_dtype)dtype,
                                       (enum shmrt_op)op, turn % 3, turn % 2 == 0);
                if (line)
                    return line;
            }
            CHECK(shmrt_barrier(comm) == 0);
        }
    struct shmrt_counters counters;
    shmrt_comm_counters(comm, &counters);
    CHECK(counters.calls >= turn);
    CHECK(rank->size == 1 || (counters.oneshot_calls > 0 && counters.pipelined_calls > 0));
    shmrt_comm_destroy(comm);
    return 0;
}

static void run(enum ranks_kind kind, int size, const struct plan *plan,
                const char *const *settings)
{
#ifdef TEST_THREADS_ONLY
    if (kind == RANKS_PROCESSES)
        return;
#endif
    struct ranks_run run = {.kind = kind,
                            .size = size,
                            .settings = settings,
                            .body = reduce_everything,
                            .arg = (void *)(uintptr_t)plan};
    ranks_run_well(&run);
}

static void threads_of_every_size(void **state)
{
    (void)state;
    static const int sizes[] = {1, 2, 3, 5, 8};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        run(RANKS_THREADS, sizes[i], sizes[i] == 2 ? &everything : &quick, NULL);
}

static void processes_of_every_size(void **state)
{
    (void)state;
    for (int size = 2; size <= 8; size++)
        run(RANKS_PROCESSES, size, size == 2 ? &everything : &quick, NULL);
}

/* Tiny parts reach the ring's wrap-around and many rounds within a small vector. */
static void tiny_parts_and_lanes(void **state)
{
    (void)state;
    static const char *const settings[][6] = {
        {"chunk=64", "oneshot_max=0", "segment=256K", "lanes=1", NULL},
        {"chunk=128", "oneshot_max=64", "segment=256K", "lanes=3", NULL},
        {"chunk=4K", "oneshot_max=1K", "segment=1M", "lanes=2", NULL},
    };
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        run(RANKS_THREADS, 3, &fp32_only, settings[i]);
        run(RANKS_PROCESSES, 2, &fp32_only, settings[i]);
    }
}

/* A rank that gets fewer threads than lanes serves them in turn. */
static int reduce_with_own_threads(struct rank *rank)
{
    char threads[8];
    snprintf(threads, sizeof threads, "%d", 1 + rank->rank % 3);
    setenv("OMP_THREAD_LIMIT", threads, 1);
    return reduce_everything(rank);
}

static void lanes_with_unequal_threads(void **state)
{
    (void)state;
#ifdef TEST_THREADS_ONLY
    skip();
#endif
    static const char *const settings[] = {"lanes=4", NULL};
    struct ranks_run run = {.kind = RANKS_PROCESSES,
                            .size = 3,
                            .settings = settings,
                            .body = reduce_with_own_threads,
                            .arg = (void *)(uintptr_t)&fp32_only};
    ranks_run_well(&run);
}

static void every_rung_gives_the_same_bits(void **state)
{
    (void)state;
    for (int i = 0; shmrt_kernels_rung(i); i++) {
        char rung[64];
        snprintf(rung, sizeof rung, "kernel=%s", shmrt_kernels_rung(i));
        const char *const settings[] = {rung, NULL};
        struct shmrt_error error;
        struct shmrt_params params = {.size = 1, .job = "rung", .settings = settings};
        struct shmrt_comm *comm;
        int rc = shmrt_comm_create(&params, &comm, &error);
        if (rc) {
            assert_int_equal(rc, -ENOTSUP);
            print_message("not tested here: %s\n", error.text);
            continue;
        }
        print_message("tested: %s\n", rung);
        shmrt_comm_destroy(comm);
        run(RANKS_THREADS, 2, &quick, settings);
    }
}

static int use_two_communicators(struct rank *rank)
{
    struct shmrt_comm *comms[2];
    char job[sizeof rank->job];
    memcpy(job, rank->job, sizeof job);
    for (int i = 0; i < 2; i++) {
        snprintf(rank->job, sizeof rank->job, "%.40s/%d", job, i);
        CHECK((comms[i] = rank_comm(rank, NULL)) != NULL);
    }
    for (size_t i = 0; i < 200; i++) {
        int line =
            reduce_once(rank, comms[i % 2], 1 + i * 97 % 20000, SHMRT_FLOAT32, SHMRT_SUM, 0, true);
        if (line)
            return line;
    }
    shmrt_comm_destroy(comms[0]);
    int line = reduce_once(rank, comms[1], 5000, SHMRT_BFLOAT16, SHMRT_SUM, 0, true);
    shmrt_comm_destroy(comms[1]);
    return line;
}

static void several_communicators_at_once(void **state)
{
    (void)state;
    struct ranks_run run = {.kind = RANKS_THREADS, .size = 3, .body = use_two_communicators};
    ranks_run_well(&run);
}

static int make_and_leave(struct rank *rank)
{
    for (int i = 0; i < 20; i++) {
        struct shmrt_comm *comm = rank_comm(rank, NULL);
        CHECK(comm);
        int line = reduce_once(rank, comm, 300, SHMRT_INT32, SHMRT_SUM, 0, false);
        shmrt_comm_destroy(comm);
        if (line)
            return line;
    }
    return 0;
}

/* The same key again and again: nothing of an earlier communicator gets in the way. */
static void same_key_again(void **state)
{
    (void)state;
    static const char *const settings[] = {"segment=512K", NULL};
    struct ranks_run run = {
        .kind = RANKS_THREADS, .size = 4, .settings = settings, .body = make_and_leave};
    ranks_run_well(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(processes_of_every_size),
        cmocka_unit_test(threads_of_every_size),
        cmocka_unit_test(tiny_parts_and_lanes),
        cmocka_unit_test(lanes_with_unequal_threads),
        cmocka_unit_test(every_rung_gives_the_same_bits),
        cmocka_unit_test(several_communicators_at_once),
        cmocka_unit_test(same_key_again),
    };
    return cmocka_run_group_tests_name("allreduce", tests, NULL, NULL);
}
