/* SPDX-License-Identifier: Apache-2.0 */
/* test_comm_settings.c - what a rank may change of its communicator between two calls: how long it
 * waits, and whether it opens OpenMP regions; and what it can ask of the call before. */
#include "counting.h"
#include "ranks.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ELEMENTS = 100003, LANES = 3 };

static void run(enum ranks_kind kind, int size, rank_body body, const char *const *settings)
{
#ifdef TEST_THREADS_ONLY
    if (kind == RANKS_PROCESSES)
        return;
#endif
    struct ranks_run run = {.kind = kind, .size = size, .settings = settings, .body = body};
    ranks_run_well(&run);
}

static int threads_of_process(void)
{
    return count_entries("/proc/self/task");
}

/* Sums @count elements that tell ranks and places apart. */
static bool sum_is_right(struct shmrt_comm *comm, size_t count)
{
    int rank = shmrt_comm_rank(comm), size = shmrt_comm_size(comm);
    int32_t *data = malloc(count * sizeof *data);
    for (size_t i = 0; data && i < count; i++)
        data[i] = (int32_t)i * (rank + 1);
    bool right = data && shmrt_allreduce(comm, data, data, count, SHMRT_INT32, SHMRT_SUM) == 0;
    for (size_t i = 0; right && i < count; i++)
        right = data[i] == (int32_t)i * (size * (size + 1) / 2);
    free(data);
    return right;
}

static int stay_on_one_thread(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL), *part = NULL;
    CHECK(comm && shmrt_comm_lanes(comm) == LANES);
    CHECK(threads_of_process() == 1);
    shmrt_comm_set_caller_only(comm, true);
    CHECK(sum_is_right(comm, ELEMENTS) && threads_of_process() == 1);
    CHECK(shmrt_comm_split(comm, 0, 0, &part) == 0);
    CHECK(sum_is_right(part, ELEMENTS) && threads_of_process() == 1);
    shmrt_comm_destroy(part);
    shmrt_comm_set_caller_only(comm, false);
    CHECK(sum_is_right(comm, ELEMENTS));
#ifndef SHMRT_SERIAL_TEAM
    CHECK(threads_of_process() == LANES); /* else the checks above would show nothing */
#endif
    CHECK(shmrt_barrier(comm) == 0);
    shmrt_comm_destroy(comm);
    return 0;
}

static void caller_only_opens_no_region(void **state)
{
    (void)state;
    static const char *const settings[] = {"lanes=3", "lane_min=1K", "tune=off", NULL};
    run(RANKS_PROCESSES, 2, stay_on_one_thread, settings);
}

/* Ranks that differ in it meet in every call, and change between calls. */
static int take_turns(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm);
    for (int i = 0; i < 12; i++) {
        shmrt_comm_set_caller_only(comm, (i + rank->rank) % 3 == 0);
        CHECK(sum_is_right(comm, i % 2 ? ELEMENTS : 1 + (size_t)i * 500));
    }
    CHECK(shmrt_barrier(comm) == 0);
    shmrt_comm_destroy(comm);
    return 0;
}

static void ranks_need_not_agree_on_it(void **state)
{
    (void)state;
    static const char *const rings[][7] = {
        {"lanes=3", "lane_min=1K", "tune=off", NULL},
        {"lanes=3", "lane_min=1K", "chunk=256", "oneshot_max=0", "segment=512K", "tune=off", NULL},
    };
    for (size_t i = 0; i < sizeof rings / sizeof rings[0]; i++) {
        run(RANKS_PROCESSES, 3, take_turns, rings[i]);
        run(RANKS_THREADS, 3, take_turns, rings[i]);
    }
}

static int wait_for_nobody(struct rank *rank)
{
    static const double wrong[] = {0, -1, 0.0009, 1.1e7, NAN, INFINITY};
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CHECK(shmrt_comm_set_timeout(comm, wrong[i]) == -EINVAL);
        CHECK(strstr(shmrt_comm_error(comm)->text, "0.001 to 10000000 seconds"));
    }
    CHECK(shmrt_comm_set_timeout(comm, 1e7) == 0);
    CHECK(shmrt_barrier(comm) == 0);
    if (rank->rank == 0) {
        CHECK(shmrt_comm_set_timeout(comm, 0.125) == 0);
        CHECK(shmrt_barrier(comm) == -ETIMEDOUT);
        CHECK(strstr(shmrt_comm_error(comm)->text, "within 0.125 s"));
    } else {
        uint8_t byte;
        CHECK(shmrt_recv(comm, &byte, 1, SHMRT_UINT8, 0) == -ECONNABORTED); /* rank 0's deadline */
    }
    shmrt_comm_destroy(comm);
    return 0;
}

static void timeout_is_one_ranks_own(void **state)
{
    (void)state;
    run(RANKS_THREADS, 2, wait_for_nobody, NULL);
}

static bool last_is(struct shmrt_comm *comm, enum shmrt_collective collective,
                    enum shmrt_dtype dtype, enum shmrt_op op, const char *way)
{
    struct shmrt_last_call last;
    shmrt_comm_last_call(comm, &last);
    if (strcmp(last.way, way) != 0)
        fprintf(stderr, "went %s, not %s\n", last.way, way);
    return last.collective == collective && last.dtype == dtype && last.op == op &&
           strcmp(last.way, way) == 0;
}

static int ask_after_each(struct rank *rank)
{
    enum { SMALL = 16, MIDDLE = 4000, LARGE = 20000 };
    static float data[2][LARGE]; /* ranks may be threads */
    float *own = data[rank->rank];
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm && last_is(comm, 0, 0, 0, ""));
    CHECK(shmrt_allreduce(comm, own, own, SMALL, SHMRT_FLOAT32, SHMRT_MAX) == 0);
    CHECK(last_is(comm, SHMRT_ALLREDUCE, SHMRT_FLOAT32, SHMRT_MAX,
                  rank->size > 1 ? "one-shot" : "alone"));
    CHECK(shmrt_comm_set_timeout(comm, -1) == -EINVAL); /* what is refused was no call */
    if (rank->size == 1) {
        shmrt_comm_destroy(comm);
        return 0;
    }
    CHECK(shmrt_allreduce(comm, own, own, MIDDLE, SHMRT_FLOAT32, SHMRT_SUM) == 0);
    CHECK(last_is(comm, SHMRT_ALLREDUCE, SHMRT_FLOAT32, SHMRT_SUM, "one pass"));
    CHECK(shmrt_allreduce(comm, own, own, LARGE, SHMRT_FLOAT32, SHMRT_SUM) == 0);
    CHECK(last_is(comm, SHMRT_ALLREDUCE, SHMRT_FLOAT32, SHMRT_SUM, "two-shot"));
    CHECK((rank->rank ? shmrt_send(comm, own, 8, SHMRT_UINT8, 0)
                      : shmrt_recv(comm, own, 8, SHMRT_UINT8, 1)) == 0);
    CHECK(last_is(comm, rank->rank ? SHMRT_SEND : SHMRT_RECV, SHMRT_UINT8, SHMRT_SUM, "message"));
    void *shared;
    CHECK(shmrt_alloc(comm, LARGE * sizeof *own, &shared) == 0);
    memset(shared, 0, LARGE * sizeof *own);
    CHECK(shmrt_allreduce(comm, shared, shared, LARGE, SHMRT_FLOAT32, SHMRT_SUM) == 0);
    CHECK(last_is(comm, SHMRT_ALLREDUCE, SHMRT_FLOAT32, SHMRT_SUM, "direct"));
    shmrt_free(shared);
    CHECK(shmrt_barrier(comm) == 0);
    shmrt_comm_destroy(comm);
    return 0;
}

static void last_call_is_told(void **state)
{
    (void)state;
    static const char *const settings[] = {"oneshot_max=1K", "exchange_max=32K", "tune=off", NULL};
    for (int size = 1; size <= 2; size++)
        run(RANKS_THREADS, size, ask_after_each, settings);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(caller_only_opens_no_region),
        cmocka_unit_test(ranks_need_not_agree_on_it),
        cmocka_unit_test(timeout_is_one_ranks_own),
        cmocka_unit_test(last_call_is_told),
    };
    return cmocka_run_group_tests_name("comm_settings", tests, NULL, NULL);
}
