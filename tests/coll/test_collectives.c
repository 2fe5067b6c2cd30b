/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_collectives.c - every collective against a plain computation: types, sizes on both sides of
 * each limit, every root, uneven blocks, and random sequences in which ranks come early and late.
 */
#include "calls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

/* Of bytes: both sides of a line's payload, of one-shot's limit, of a part and of rounds. */
static const size_t counts[] = {0, 1, 39, 40, 41, 255, 4095, 16384, 16385, 65537, 100003};
static const size_t few_counts[] = {0, 1, 10, 11, 1025, 5000};
static const size_t tiny_part_counts[] = {0, 1, 15, 16, 17, 64, 65, 129, 1000, 4001};

static const enum shmrt_collective all[] = {SHMRT_ALLREDUCE, SHMRT_REDUCE,  SHMRT_BROADCAST,
                                            SHMRT_ALLGATHER, SHMRT_GATHER,  SHMRT_REDUCE_SCATTER,
                                            SHMRT_ALLTOALL,  SHMRT_SCATTER, SHMRT_SEND};
enum { ALL = sizeof all / sizeof all[0] };

struct plan {
    const size_t *counts;
    size_t count_n;
    bool all_types;
};

static const struct plan sizes_of_bytes = {counts, sizeof counts / sizeof counts[0], false};
static const struct plan types = {few_counts, sizeof few_counts / sizeof few_counts[0], true};
static const struct plan tiny_parts = {tiny_part_counts,
                                       sizeof tiny_part_counts / sizeof tiny_part_counts[0], false};

static bool reduces(enum shmrt_collective collective)
{
    return collective == SHMRT_ALLREDUCE || collective == SHMRT_REDUCE ||
           collective == SHMRT_REDUCE_SCATTER;
}

/* A call of @collective for each type (and operation), or of one type; @turn varies the rest. */
static int call_types(struct rank *rank, struct shmrt_comm *comm, const struct plan *plan,
                      struct call call, size_t turn)
{
    static const enum shmrt_dtype moved[] = {SHMRT_UINT8, SHMRT_FLOAT16, SHMRT_FLOAT32,
                                             SHMRT_INT64};
    bool reduction = reduces(call.collective);
    int dtypes = !plan->all_types ? 1 : reduction ? SHMRT_DTYPE_COUNT : 4;
    for (int d = 0; d < dtypes; d++) {
        enum shmrt_dtype any = reduction ? (enum shmrt_dtype)d : moved[d];
        call.dtype = plan->all_types ? any : SHMRT_UINT8;
        int ops = !reduction || !plan->all_types ? 1
                  : call.dtype <= SHMRT_FLOAT16  ? SHMRT_OP_COUNT
                                                 : SHMRT_AVG;
        for (int op = 0; op < ops; op++, turn++) {
            call.op = (enum shmrt_op)op;
            call.shift = turn % 3;
            call.in_place = reduction && call.collective != SHMRT_REDUCE_SCATTER && turn % 2;
            call.pooled = turn % 5 == 3 ? UINT64_MAX : turn % 5 == 4 ? 0x96c5a3 : 0;
            call.seed = (unsigned)turn;
            int line = call_once(rank, comm, &call);
            if (line)
                return line;
        }
    }
    return 0;
}

/* With each root, or each sender with its next rank; blocks even and uneven. */
static int call_everyway(struct rank *rank, struct shmrt_comm *comm, const struct plan *plan,
                         struct call call, size_t turn)
{
    bool blocks = call.collective == SHMRT_ALLGATHER || call.collective == SHMRT_REDUCE_SCATTER ||
                  call.collective == SHMRT_ALLTOALL;
    bool rooted = call.collective != SHMRT_ALLREDUCE && !blocks;
    for (int way = 0; way < (rooted ? rank->size : blocks ? 2 : 1); way++) {
        call.root = rooted ? way : 0;
        call.to = (way + 1) % rank->size;
        call.uneven = blocks && way == 1;
        if (call.collective == SHMRT_SEND && rank->size == 1)
            continue;
        int line = call_types(rank, comm, plan, call, turn + (size_t)way);
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
        for (size_t c = 0; c < ALL; c++, turn++) {
            struct call call = {.collective = all[c], .count = plan->counts[i]};
            int line = call_everyway(rank, comm, plan, call, turn);
            if (line)
                return line;
        }
    struct shmrt_counters counters;
    shmrt_comm_counters(comm, &counters);
    CHECK(counters.calls > turn);
    CHECK(rank->size == 1 || counters.pipelined_calls > 0);
    shmrt_comm_destroy(comm);
    return 0;
}

static void run(enum ranks_kind kind, int size, rank_body body, const void *arg,
                const char *const *settings)
{
#ifdef TEST_THREADS_ONLY
    if (kind == RANKS_PROCESSES)
        return;
#endif
    struct ranks_run run = {.kind = kind,
                            .size = size,
                            .settings = settings,
                            .body = body,
                            .arg = (void *)(uintptr_t)arg,
                            .timeout_s = getenv("SHMRT_TEST_TIMES") ? 1200 : 0};
    ranks_run_well(&run);
}

static void types_and_roots(void **state)
{
    (void)state;
    static const int sizes[] = {1, 2, 3, 8};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        run(sizes[i] % 2 ? RANKS_THREADS : RANKS_PROCESSES, sizes[i], call_everything, &types,
            NULL);
}

static void sizes_and_ranks(void **state)
{
    (void)state;
    for (int size = 1; size <= 8; size++)
        run(size % 3 == 1 ? RANKS_THREADS : RANKS_PROCESSES, size, call_everything, &sizes_of_bytes,
            NULL);
}

static const char *const tiny_settings[][6] = {
    {"chunk=64", "oneshot_max=0", "segment=256K", "lanes=1", NULL},
    {"chunk=128", "oneshot_max=64", "segment=512K", "lanes=3", NULL},
    {"chunk=256", "oneshot_max=0", "segment=512K", "lanes=4", NULL},
    {"chunk=4K", "oneshot_max=1K", "segment=1M", "lanes=2", NULL},
};
enum { TINY_SETTINGS = sizeof tiny_settings / sizeof tiny_settings[0] };

/* Tiny parts: the ring's wrap-around, and many rounds in a small vector. */
static void many_rounds(void **state)
{
    (void)state;
    for (size_t i = 0; i < TINY_SETTINGS; i++) {
        run(RANKS_THREADS, 3, call_everything, &tiny_parts, tiny_settings[i]);
        run(RANKS_PROCESSES, 2 + (int)i, call_everything, &tiny_parts, tiny_settings[i]);
    }
}

struct soak {
    uint64_t seed;
    int calls;
    size_t most; /* elements of a block */
};

/* The long run (see CMakeLists.txt) makes so many times the calls of a short one. */
static int times(int calls)
{
    const char *given = getenv("SHMRT_TEST_TIMES");
    return given ? calls * atoi(given) : calls;
}

/* The same calls on all ranks; naps of each rank's own. */
static int call_at_random(struct rank *rank)
{
    const struct soak *soak = rank->arg;
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm);
    uint64_t calls = soak->seed, naps = soak->seed + 1000 + (uint64_t)rank->rank;
    for (int i = 0; i < soak->calls; i++) {
        struct call call = call_random(&calls, rank->size, soak->most, rank->size > 1);
        nap_at_random(&naps);
        int line = call_once(rank, comm, &call);
        if (line)
            fprintf(stderr, "rank %d: call %d of seed %llu\n", rank->rank, i,
                    (unsigned long long)soak->seed);
        if (line)
            return line;
    }
    shmrt_comm_destroy(comm);
    return 0;
}

static uint64_t fresh_seed(void)
{
    const char *given = getenv("SHMRT_TEST_SEED");
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t seed =
        given ? strtoull(given, NULL, 10) : (uint64_t)now.tv_sec ^ (uint64_t)now.tv_nsec;
    print_message("SHMRT_TEST_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

static void random_sequences(void **state)
{
    (void)state;
    struct soak soak = {fresh_seed(), times(250), 20000};
    for (int size = 2; size <= 5; size++, soak.seed++) {
        run(RANKS_PROCESSES, size, call_at_random, &soak, NULL);
        run(RANKS_THREADS, size, call_at_random, &soak, NULL);
    }
}

static void random_sequences_in_many_rounds(void **state)
{
    (void)state;
    struct soak soak = {fresh_seed(), times(250), 3000};
    for (size_t i = 0; i < TINY_SETTINGS; i++, soak.seed++) {
        run(RANKS_PROCESSES, 3, call_at_random, &soak, tiny_settings[i]);
        run(RANKS_THREADS, 2 + (int)i, call_at_random, &soak, tiny_settings[i]);
    }
}

/* Every wait goes to sleep at once: wake-ups of each kind of flag. */
static void random_sequences_that_sleep(void **state)
{
    (void)state;
    static const char *const settings[] = {"spin=0",  "yield=0",      "oneshot_max=256",
                                           "lanes=2", "segment=512K", NULL};
    struct soak soak = {fresh_seed(), times(200), 20000};
    run(RANKS_PROCESSES, 3, call_at_random, &soak, settings);
    run(RANKS_THREADS, 4, call_at_random, &soak, settings);
}

/* Rooted calls only, so that nobody ever waits for all; the rank in turn comes late. */
static int call_rooted(struct rank *rank)
{
    static const enum shmrt_collective rooted[] = {SHMRT_BROADCAST, SHMRT_GATHER, SHMRT_REDUCE,
                                                   SHMRT_SCATTER};
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm);
    for (int i = 0; i < 160; i++) {
        size_t count = i % 4 ? (size_t)i : (size_t)i * 60;
        struct call call = {.collective = rooted[i / 40],
                            .dtype = SHMRT_FLOAT32,
                            .count = count,
                            .root = i / 10 % 2 ? i % rank->size : 0,
                            .seed = (unsigned)i};
        if (i / 8 % rank->size == rank->rank && i % 8 == 0)
            ranks_nap_ms(4);
        int line = call_once(rank, comm, &call);
        if (line)
            return line;
    }
    shmrt_comm_destroy(comm);
    return 0;
}

static void root_does_not_lap_its_readers(void **state)
{
    (void)state;
    for (size_t i = 0; i < TINY_SETTINGS; i++) {
        run(RANKS_PROCESSES, 3, call_rooted, NULL, tiny_settings[i]);
        run(RANKS_THREADS, 4, call_rooted, NULL, tiny_settings[i]);
    }
    run(RANKS_PROCESSES, 4, call_rooted, NULL, NULL);
}

/* A rank that gets fewer threads than lanes serves them in turn. */
static int call_with_own_threads(struct rank *rank)
{
    char threads[8];
    snprintf(threads, sizeof threads, "%d", 1 + rank->rank % 3);
    setenv("OMP_THREAD_LIMIT", threads, 1);
    return call_at_random(rank);
}

static void lanes_with_unequal_threads(void **state)
{
    (void)state;
    static const char *const settings[] = {"lanes=4", "oneshot_max=1K", NULL};
    struct soak soak = {fresh_seed(), times(120), 150000};
    run(RANKS_PROCESSES, 3, call_with_own_threads, &soak, settings);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_and_roots),
        cmocka_unit_test(sizes_and_ranks),
        cmocka_unit_test(many_rounds),
        cmocka_unit_test(root_does_not_lap_its_readers),
        cmocka_unit_test(random_sequences),
        cmocka_unit_test(random_sequences_in_many_rounds),
        cmocka_unit_test(random_sequences_that_sleep),
        cmocka_unit_test(lanes_with_unequal_threads),
    };
    return cmocka_run_group_tests_name("collectives", tests, NULL, NULL);
}
