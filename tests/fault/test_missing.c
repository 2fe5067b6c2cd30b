/* SPDX-License-Identifier: Apache-2.0 */
/* test_missing.c - whom a deadline blames: the rank that all wait for, not one that waits itself.
 */
#include "ranks.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { FIRST_TO_GIVE_UP = 1, BETWEEN = 0, MISSING = 2, IDLE_MS = 4000 };

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
    int32_t x = 0;
    int rc;
    CHECK(shmrt_comm_set_timeout(comm, rank->rank == FIRST_TO_GIVE_UP ? 2 : 60) == 0);
    rc = shmrt_recv(comm, &x, 1, SHMRT_INT32, rank->rank == BETWEEN ? MISSING : BETWEEN);
    CHECK(rc == (rank->rank == FIRST_TO_GIVE_UP ? -ETIMEDOUT : -ECONNABORTED));
    CHECK(says(comm, "rank 2 (pid") && says(comm, "did not come"));
    CHECK(!strstr(shmrt_comm_error(comm)->text, "rank 0 (pid"));
    return 0;
}

static int miss_one_that_works(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm && shmrt_barrier(comm) == 0);
    int line = 0;
    if (rank->rank == MISSING)
        ranks_nap_ms(IDLE_MS);
    else
        line = wait_in_a_chain(rank, comm);
    shmrt_comm_destroy(comm);
    return line;
}

static void who_does_something_else_is_blamed(void **state)
{
    (void)state;
    struct ranks_run run = {.kind = RANKS_PROCESSES, .size = 3, .body = miss_one_that_works};
    ranks_run_well(&run);
}

/* Rank 2 is stopped while it waits for rank 0, which comes: its note says that it waits. */
static int miss_one_that_was_stopped(struct rank *rank)
{
    int32_t x = 0;
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm && shmrt_barrier(comm) == 0);
    int line = 0;
    if (rank->rank == MISSING) {
        CHECK(shmrt_recv(comm, &x, 1, SHMRT_INT32, BETWEEN) == 0);
    } else {
        ranks_nap_ms(1500); /* until it is stopped */
        if (rank->rank == BETWEEN)
            CHECK(shmrt_send(comm, &x, 1, SHMRT_INT32, MISSING) == 0);
        line = wait_in_a_chain(rank, comm);
    }
    shmrt_comm_destroy(comm);
    return line;
}

static void stop_rank(const pid_t *pids, void *arg)
{
    (void)arg;
    ranks_nap_ms(700);
    kill(pids[MISSING], SIGSTOP);
    ranks_nap_ms(IDLE_MS);
    kill(pids[MISSING], SIGCONT);
}

static void who_was_stopped_in_a_wait_is_blamed(void **state)
{
    (void)state;
    struct ranks_run run = {.kind = RANKS_PROCESSES,
                            .size = 3,
                            .body = miss_one_that_was_stopped,
                            .meanwhile = stop_rank};
    ranks_run_well(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_does_something_else_is_blamed),
        cmocka_unit_test(who_was_stopped_in_a_wait_is_blamed),
    };
    return cmocka_run_group_tests_name("missing", tests, NULL, NULL);
}
