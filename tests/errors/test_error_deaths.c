/* SPDX-License-Identifier: Apache-2.0 */
/* test_error_deaths.c - calls that fail, in the words of docs/errors.md. The communicator says the
 * same from then on, and the survivors make another in the same processes. */
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

/* The dead communicator says what it said; one of @size ranks can be made. */
static int is_dead_and_replaceable(struct rank *rank, struct shmrt_comm *comm, int size)
{
    struct shmrt_error first = *shmrt_comm_error(comm);
    int32_t one = 1;
    CHECK(shmrt_barrier(comm) == first.code);
    CHECK(shmrt_allreduce(comm, &one, &one, 1, SHMRT_INT32, SHMRT_SUM) == first.code);
    CHECK(strcmp(shmrt_comm_error(comm)->text, first.text) == 0);
    shmrt_comm_destroy(comm);
    rank->size = size;
    comm = rank_comm(rank, NULL);
    CHECK(comm && shmrt_barrier(comm) == 0);
    shmrt_comm_destroy(comm);
    return 0;
}

/* The last rank is the victim. */
static int lose_one(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm && shmrt_barrier(comm) == 0);
    if (rank->rank == rank->size - 1)
        raise(SIGKILL);
    CHECK(shmrt_barrier(comm) == -ECONNABORTED);
    CHECK_DOCUMENTED(shmrt_comm_error(comm), "{how it went}{; in");
    return is_dead_and_replaceable(rank, comm, rank->size - 1);
}

static void a_death(void **state)
{
    (void)state;
    struct ranks_run run = {.kind = RANKS_PROCESSES, .size = 3, .body = lose_one};
    ranks_run(&run);
    for (int r = 0; r < run.size; r++)
        assert_int_equal(run.results[r], r == run.size - 1 ? 128 + SIGKILL : 0);
}

static int miss_the_deadline(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    atomic_int *is_told = rank->arg;
    CHECK(comm && shmrt_barrier(comm) == 0);
    if (rank->rank == 0)
        CHECK(shmrt_comm_set_timeout(comm, 0.3) == 0);
    /* Rank 1 stays away until rank 0 has its error, or has failed without one. */
    for (int ms = 0; rank->rank == 1 && ms < 60000 && !atomic_load(is_told); ms++)
        ranks_nap_ms(1);
    int rc = shmrt_barrier(comm);
    atomic_store(is_told, 1);
    while (rank->rank == 1 && rc == 0)
        rc = shmrt_barrier(comm); /* the late one finds all there at first */
    CHECK(rank->rank == 1 ? rc == -ECONNABORTED : rc == -ETIMEDOUT);
    CHECK_DOCUMENTED(shmrt_comm_error(comm),
                     rank->rank == 1 ? "aborted by rank {rank}: {why}" : "did not come to {call}");
    return is_dead_and_replaceable(rank, comm, 2);
}

static int abort_it(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm && shmrt_barrier(comm) == 0);
    if (rank->rank == 1)
        shmrt_comm_abort(comm, "the test says so");
    CHECK(shmrt_barrier(comm) == -ECONNABORTED);
    CHECK_DOCUMENTED(shmrt_comm_error(comm), "rank {rank} aborted: {why}");
    return is_dead_and_replaceable(rank, comm, 2);
}

static int disagree(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    float x[4] = {0};
    CHECK(comm);
    int rc = rank->rank ? shmrt_allreduce(comm, x, x, 4, SHMRT_FLOAT32, SHMRT_SUM)
                        : shmrt_allreduce(comm, x, x, 3, SHMRT_FLOAT32, SHMRT_SUM);
    CHECK(rc == -EPROTO);
    CHECK_DOCUMENTED(shmrt_comm_error(comm),
                     "all ranks have to make the same calls in the same order");
    return is_dead_and_replaceable(rank, comm, 2);
}

static int send_another_length(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    float x[4] = {0};
    CHECK(comm);
    int rc = rank->rank ? shmrt_recv(comm, x, 4, SHMRT_FLOAT32, 0)
                        : shmrt_send(comm, x, 3, SHMRT_FLOAT32, 1);
    rc = rc ? rc : shmrt_barrier(comm);
    CHECK(rc == -EPROTO);
    CHECK_DOCUMENTED(shmrt_comm_error(comm), "but what rank {rank} sent is");
    return is_dead_and_replaceable(rank, comm, 2);
}

static void run(rank_body body)
{
    struct ranks_run r = {.kind = RANKS_PROCESSES, .size = 2, .body = body};
    ranks_run_well(&r);
}

static void a_deadline(void **state)
{
    (void)state;
    atomic_int *is_told =
        mmap(NULL, sizeof *is_told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(is_told != MAP_FAILED);
    struct ranks_run r = {
        .kind = RANKS_PROCESSES, .size = 2, .body = miss_the_deadline, .arg = is_told};
    ranks_run_well(&r);
    munmap(is_told, sizeof *is_told);
}

static void an_abort(void **state)
{
    (void)state;
    run(abort_it);
}

static void a_disagreement(void **state)
{
    (void)state;
    run(disagree);
}

static void a_message_of_another_length(void **state)
{
    (void)state;
    run(send_another_length);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_death),
        cmocka_unit_test(a_deadline),
        cmocka_unit_test(an_abort),
        cmocka_unit_test(a_disagreement),
        cmocka_unit_test(a_message_of_another_length),
    };
    return cmocka_run_group_tests_name("error_deaths", tests, NULL, NULL);
}
