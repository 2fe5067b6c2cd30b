/* SPDX-License-Identifier: Apache-2.0 */
/* test_waiting.c - sleepers are woken, long waits cost no CPU, and one line names who is missing.
 */
#include "ranks.h"
#include "timing.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { ROUNDS = 2000, SLICE_MS = 50 };

static double cpu_s(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* Every wait goes to sleep at once. A lost wake-up would last a whole slice. */
static int sleep_in_every_wait(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm && shmrt_barrier(comm) == 0);
    double start = now_s();
    for (int i = 0; i < ROUNDS; i++) {
        float x = 1;
        CHECK(shmrt_allreduce(comm, &x, &x, 1, SHMRT_FLOAT32, SHMRT_SUM) == 0);
        CHECK(x == (float)rank->size);
    }
    struct shmrt_counters counters;
    shmrt_comm_counters(comm, &counters);
    CHECK(now_s() - start < ROUNDS * SLICE_MS / 1e3 / 4);
    if (rank->rank == 0)
        printf("%d ranks: %d all-reduces, %lu sleeps of rank 0\n", rank->size, ROUNDS,
               (unsigned long)counters.sleeps);
    shmrt_comm_destroy(comm);
    return 0;
}

static void sleepers_are_woken(void **state)
{
    (void)state;
    static const char *const settings[] = {"spin=0", "yield=0", NULL};
    for (int size = 2; size <= 4; size++) {
        struct ranks_run run = {.kind = RANKS_PROCESSES,
                                .size = size,
                                .settings = settings,
                                .body = sleep_in_every_wait};
        ranks_run_well(&run);
    }
}

static int wait_long(struct rank *rank)
{
    struct ranks_heard heard = {0};
    static const char *const settings[] = {"warn=0.2", NULL};
    rank->settings = settings;
    rank->heard = &heard;
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm && shmrt_barrier(comm) == 0);
    heard.lines = 0;
    double cpu = cpu_s(), start = now_s();
    if (rank->rank == 1)
        ranks_nap_ms(1500);
    CHECK(shmrt_barrier(comm) == 0);
    if (rank->rank == 0) {
        struct shmrt_counters counters;
        shmrt_comm_counters(comm, &counters);
        CHECK(counters.sleeps > 0 && counters.wait_ns > 0);
        CHECK(cpu_s() - cpu < (now_s() - start) / 4);
        CHECK(heard.lines == 1);
        CHECK(strstr(heard.last, "for rank 1 (pid") && strstr(heard.last, "barrier #2"));
    }
    shmrt_comm_destroy(comm);
    return 0;
}

static void long_wait_sleeps_and_says_who_is_missing(void **state)
{
    (void)state;
    struct ranks_run run = {.kind = RANKS_PROCESSES, .size = 2, .body = wait_long};
    ranks_run_well(&run);
}

/* Many more ranks than cores: waiting must give the CPU to whom it waits for. */
static int crowd(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm);
    for (int i = 0; i < 200; i++) {
        int32_t x[40] = {rank->rank};
        CHECK(shmrt_allreduce(comm, x, x, 40, SHMRT_INT32, SHMRT_SUM) == 0);
        CHECK(x[0] == rank->size * (rank->size - 1) / 2);
    }
    shmrt_comm_destroy(comm);
    return 0;
}

static void more_ranks_than_cores(void **state)
{
    (void)state;
    static const char *const settings[] = {"segment=1M", NULL};
    static const int sizes[] = {13, 64};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct ranks_run run = {
            .kind = RANKS_PROCESSES, .size = sizes[i], .settings = settings, .body = crowd};
        ranks_run_well(&run);
    }
}

enum { LATE_ROUNDS = 5, LATE_MS = 100 };

/* Small and large calls, to which rank 1 comes late each time. */
static int come_late(struct rank *rank)
{
    enum { LATE_RANK = 1, ELEMENTS = 100000 };
    static float data[3][ELEMENTS]; /* ranks may be threads */
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm && shmrt_barrier(comm) == 0);
    for (int i = 0; i < LATE_ROUNDS; i++) {
        if (rank->rank == LATE_RANK)
            ranks_nap_ms(LATE_MS);
        CHECK(shmrt_allreduce(comm, data[rank->rank], data[rank->rank], i % 2 ? ELEMENTS : 1,
                              SHMRT_FLOAT32, SHMRT_SUM) == 0);
    }
    uint64_t late_ns[SHMRT_MAX_RANKS], sum_ns = 0;
    struct shmrt_counters counters;
    shmrt_comm_skew(comm, late_ns);
    shmrt_comm_counters(comm, &counters);
    for (int r = 0; r < SHMRT_MAX_RANKS; r++) {
        CHECK(late_ns[r] == 0 || (r < rank->size && r != rank->rank));
        CHECK(rank->rank == LATE_RANK || late_ns[r] <= late_ns[LATE_RANK]);
        sum_ns += late_ns[r];
    }
    CHECK(rank->rank == LATE_RANK || late_ns[LATE_RANK] > 0);
    CHECK(sum_ns == counters.late_ns && sum_ns <= counters.wait_ns);
    shmrt_comm_destroy(comm);
    return 0;
}

static void late_ranks_are_told(void **state)
{
    (void)state;
    static const char *const settings[] = {"lanes=2", "lane_min=1K", NULL};
    struct ranks_run run = {
        .kind = RANKS_PROCESSES, .size = 3, .settings = settings, .body = come_late};
    ranks_run_well(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sleepers_are_woken),
        cmocka_unit_test(long_wait_sleeps_and_says_who_is_missing),
        cmocka_unit_test(more_ranks_than_cores),
        cmocka_unit_test(late_ranks_are_told),
    };
    return cmocka_run_group_tests_name("waiting", tests, NULL, NULL);
}
