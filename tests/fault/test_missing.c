/* SPDX-License-Identifier: Apache-2.0 */
/* test_missing.c - whom a deadline blames: the rank that all wait for, not one that waits itself.
 */
#include "ranks.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

enum { FIRST_TO_GIVE_UP = 1, BETWEEN = 0, MISSING = 2 };

/* What has happened so far, in memory that all share. */
struct so_far {
    atomic_int waits;   /* rank 2 is about to wait */
    atomic_int stopped; /* and was stopped in that */
    atomic_int between; /* rank 0 is about to wait */
    atomic_int told;    /* how many of the others have their error */
};

/* At most two minutes: one that has failed does not come so far. */
static void until(const atomic_int *what, int value)
{
    for (int i = 0; i < 24000 && atomic_load(what) < value; i++)
        ranks_nap_ms(5);
}

static bool says(const struct shmrt_comm *comm, const char *words)
{
    bool found = strstr(shmrt_comm_error(comm)->text, words) != NULL;
    if (!found)
        fprintf(stderr, "no \"%s\" in: %s\n", words, shmrt_comm_error(comm)->text);
    return found;
}

/* Rank 1 waits for rank 0, which waits for rank 2; only rank 1's deadline passes. */
static int wait_in_a_chain(struct rank *rank, struct shmrt_comm *comm)
{
    struct so_far *so_far = rank->arg;
    int32_t x = 0;
    int rc;
    if (rank->rank == BETWEEN)
        atomic_store(&so_far->between, 1);
    else
        until(&so_far->between, 1);
    CHECK(shmrt_comm_set_timeout(comm, rank->rank == FIRST_TO_GIVE_UP ? 10 : 60) == 0);
    rc = shmrt_recv(comm, &x, 1, SHMRT_INT32, rank->rank == BETWEEN ? MISSING : BETWEEN);
    CHECK(rc == (rank->rank == FIRST_TO_GIVE_UP ? -ETIMEDOUT : -ECONNABORTED));
    CHECK(says(comm, "rank 2 (pid") && says(comm, "did not come"));
    CHECK(!strstr(shmrt_comm_error(comm)->text, "rank 0 (pid"));
    atomic_fetch_add(&so_far->told, 1);
    return 0;
}

static int miss_one_that_works(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm && shmrt_barrier(comm) == 0);
    int line = 0;
    if (rank->rank == MISSING)
        until(&((struct so_far *)rank->arg)->told, 2);
    else
        line = wait_in_a_chain(rank, comm);
    shmrt_comm_destroy(comm);
    return line;
}

static void run(rank_body body, void (*meanwhile)(const pid_t *pids, void *arg))
{
    struct so_far *so_far =
        mmap(NULL, sizeof *so_far, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(so_far != MAP_FAILED);
    struct ranks_run run = {
        .kind = RANKS_PROCESSES, .size = 3, .body = body, .arg = so_far, .meanwhile = meanwhile};
    ranks_run_well(&run);
    munmap(so_far, sizeof *so_far);
}

static void who_does_something_else_is_blamed(void **state)
{
    (void)state;
    run(miss_one_that_works, NULL);
}

/* Rank 2 is stopped while it waits for rank 0, which comes: its note says that it waits. */
static int miss_one_that_was_stopped(struct rank *rank)
{
    int32_t x = 0;
    struct so_far *so_far = rank->arg;
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm && shmrt_barrier(comm) == 0);
    int line = 0;
    if (rank->rank == MISSING) {
        atomic_store(&so_far->waits, 1);
        CHECK(shmrt_recv(comm, &x, 1, SHMRT_INT32, BETWEEN) == 0);
    } else {
        until(&so_far->stopped, 1);
        if (rank->rank == BETWEEN)
            CHECK(shmrt_send(comm, &x, 1, SHMRT_INT32, MISSING) == 0);
        line = wait_in_a_chain(rank, comm);
    }
    shmrt_comm_destroy(comm);
    return line;
}

static void stop_rank(const pid_t *pids, void *arg)
{
    struct so_far *so_far = arg;
    until(&so_far->waits, 1);
    ranks_nap_ms(500); /* by then it sleeps */
    kill(pids[MISSING], SIGSTOP);
    atomic_store(&so_far->stopped, 1);
    until(&so_far->told, 2);
    kill(pids[MISSING], SIGCONT);
}

static void who_was_stopped_in_a_wait_is_blamed(void **state)
{
    (void)state;
    run(miss_one_that_was_stopped, stop_rank);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_does_something_else_is_blamed),
        cmocka_unit_test(who_was_stopped_in_a_wait_is_blamed),
    };
    return cmocka_run_group_tests_name("missing", tests, NULL, NULL);
}
