/* SPDX-License-Identifier: Apache-2.0 */
/* test_error_meeting.c - ranks that do not meet, in the words of docs/errors.md; then the same
 * processes meet under the same key. */
#include "comm.h"
#include "documented.h"
#include "ranks.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

/* All ranks come to here first, in time for each other. */
static int meet_after_all(struct rank *rank)
{
    rank->settings = NULL;
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm && shmrt_barrier(comm) == 0);
    shmrt_comm_destroy(comm);
    return 0;
}

struct difference {
    const char *settings[2]; /* of each rank */
    const char *words;
};

static int differ(struct rank *rank)
{
    const struct difference *difference = rank->arg;
    const char *const settings[] = {difference->settings[rank->rank], NULL};
    struct shmrt_error error = {0};
    rank->settings = settings;
    CHECK(!rank_comm(rank, &error));
    CHECK_DOCUMENTED(&error, difference->words);
    return meet_after_all(rank);
}

static void run(int size, rank_body body, const void *arg)
{
    struct ranks_run r = {
        .kind = RANKS_PROCESSES, .size = size, .body = body, .arg = (void *)(uintptr_t)arg};
    ranks_run_well(&r);
}

static void ranks_that_differ(void **state)
{
    (void)state;
    static const struct difference differences[] = {
        {{"segment=1M", "segment=2M"}, "differ in {what}: {value} and {value}"},
        {{"pool=1M", "pool=2M"}, "differ in {what}: {value} and {value}"},
        {{"chunk=4K", "chunk=8K"}, "differ in {what}: {value} and {value}"},
        {{"groups=0/1", "groups=one"}, "differ in SHMRT_GROUPS: {value} and {value}"},
    };
    for (size_t i = 0; i < sizeof differences / sizeof differences[0]; i++)
        run(2, differ, &differences[i]);
}

static int switch_off(struct rank *rank)
{
    struct shmrt_error error = {0};
    if (rank->rank == 1)
        setenv("SHMRT_DISABLE", "1", 1);
    CHECK(!rank_comm(rank, &error));
    CHECK_DOCUMENTED(&error, "shared memory is switched off (SHMRT_DISABLE=1)");
    unsetenv("SHMRT_DISABLE");
    return meet_after_all(rank);
}

static void switched_off(void **state)
{
    (void)state;
    run(2, switch_off, NULL);
}

static int come_alone(struct rank *rank)
{
    static const char *const settings[] = {"rendezvous_timeout=0.3", NULL};
    struct shmrt_error error = {0};
    rank->size = 2;
    rank->settings = settings;
    CHECK(!rank_comm(rank, &error));
    CHECK_DOCUMENTED(&error, "did not come within {seconds} s (job {job})");
    rank->size = 1;
    return meet_after_all(rank);
}

static void nobody_comes(void **state)
{
    (void)state;
    run(1, come_alone, NULL);
}

/* How often rank 0 has looked round in a meeting, in memory that all share; from 1 on it listens.
 */
static atomic_int *share_rounds(void)
{
    atomic_int *rounds =
        mmap(NULL, sizeof *rounds, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(rounds != MAP_FAILED);
    return rounds;
}

static int count_round(void *rounds)
{
    atomic_fetch_add((atomic_int *)rounds, 1);
    return 0;
}

struct leaver {
    const atomic_int *rounds; /* of rank 0 */
    int own, from;
};

/* After so many rounds of this rank, which connects, and then so many of rank 0, they have met. */
static int leave_when_met(void *arg)
{
    enum { ENOUGH = 20 };
    struct leaver *leaver = arg;
    int rounds = atomic_load(leaver->rounds);
    if (rounds && ++leaver->own <= ENOUGH)
        leaver->from = rounds;
    else if (rounds > leaver->from + ENOUGH)
        raise(SIGKILL);
    return 0;
}

static struct shmrt_comm *meet_with(const struct rank *rank, int (*look)(void *arg), void *arg,
                                    struct shmrt_error *error)
{
    struct shmrt_comm *comm = NULL;
    struct shmrt_params params = {.rank = rank->rank,
                                  .size = rank->size,
                                  .job = rank->job,
                                  .settings = rank->settings,
                                  .interrupt = look,
                                  .interrupt_arg = arg};
    return shmrt_comm_create(&params, &comm, error) == 0 ? comm : NULL;
}

/* Rank 2 never comes, so that the others still meet when rank 1 ends. */
static int end_early(struct rank *rank)
{
    struct shmrt_error error = {0};
    struct leaver leaver = {.rounds = rank->arg};
    rank->size = 3;
    if (rank->rank == 1)
        CHECK(!meet_with(rank, leave_when_met, &leaver, &error));
    else
        CHECK(!meet_with(rank, count_round, rank->arg, &error));
    CHECK_DOCUMENTED(&error, "died or gave up while the ranks were meeting");
    rank->size = 1;
    return meet_after_all(rank);
}

static void a_rank_that_ends(void **state)
{
    (void)state;
    atomic_int *rounds = share_rounds();
    struct ranks_run r = {.kind = RANKS_PROCESSES, .size = 2, .body = end_early, .arg = rounds};
    ranks_run(&r);
    munmap(rounds, sizeof *rounds);
    assert_int_equal(r.results[0], 0);
    assert_int_equal(r.results[1], 128 + SIGKILL);
}

static int interrupt(void *arg)
{
    (void)arg;
    return 1;
}

static void an_interrupt(void **state)
{
    (void)state;
    struct shmrt_params params = {.size = 2, .interrupt = interrupt};
    struct shmrt_comm *none = NULL;
    struct shmrt_error error = {0};
    char job[64];
    ranks_unique_job(job);
    params.job = job;
    assert_int_equal(shmrt_comm_create(&params, &none, &error), -ECANCELED);
    assert_documented(&error, "interrupted while the ranks were meeting");
    params = (struct shmrt_params){.size = 1, .job = job};
    assert_int_equal(shmrt_comm_create(&params, &none, &error), 0);
    shmrt_comm_destroy(none);
}

/* The first is there already, and waits for rank 1. */
static int take_the_same_rank(struct rank *rank)
{
    static const char *const settings[] = {"rendezvous_timeout=60", NULL};
    struct shmrt_error error = {0};
    bool is_first = rank->rank == 0;
    rank->rank = 0;
    rank->settings = settings;
    for (int ms = 0; !is_first && ms < 60000 && !atomic_load((atomic_int *)rank->arg); ms++)
        ranks_nap_ms(1);
    CHECK(!meet_with(rank, is_first ? count_round : NULL, rank->arg, &error));
    CHECK_DOCUMENTED(&error,
                     is_first ? "was also started as pid {pid}" : "is already taken by pid");
    return 0;
}

static void a_taken_rank(void **state)
{
    (void)state;
    atomic_int *rounds = share_rounds();
    run(2, take_the_same_rank, rounds);
    munmap(rounds, sizeof *rounds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_that_differ), cmocka_unit_test(switched_off),
        cmocka_unit_test(nobody_comes),      cmocka_unit_test(a_rank_that_ends),
        cmocka_unit_test(an_interrupt),      cmocka_unit_test(a_taken_rank),
    };
    return cmocka_run_group_tests_name("error_meeting", tests, NULL, NULL);
}
