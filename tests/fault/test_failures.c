/* SPDX-License-Identifier: Apache-2.0 */
/* test_failures.c - ranks that die, stop, leave or disagree in the middle of the work. */
#include "ranks.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { VICTIM = 1, COUNT = 100000 };

/* All-reduces of both algorithms until one fails; the error's code. */
static int reduce_until_error(struct shmrt_comm *comm)
{
    float *data = calloc(COUNT, sizeof *data);
    int rc = 0;
    for (size_t i = 0; rc == 0; i++)
        rc = shmrt_allreduce(comm, data, data, i % 2 ? COUNT : 1 + i % 3000, SHMRT_FLOAT32,
                             SHMRT_SUM);
    free(data);
    return rc;
}

static bool says(const struct shmrt_comm *comm, const char *words)
{
    bool found = strstr(shmrt_comm_error(comm)->text, words) != NULL;
    if (!found)
        fprintf(stderr, "no \"%s\" in: %s\n", words, shmrt_comm_error(comm)->text);
    return found;
}

/* "rank 0 was in barrier #2, waiting 0.3 s for rank 1"; or, after @words, "had waited 0.3 s". */
static bool says_how_long(const struct shmrt_comm *comm, const char *words)
{
    char own[48];
    double waited_s = -1;
    snprintf(own, sizeof own, "; rank %d %s ", shmrt_comm_rank(comm), words);
    const char *at = strstr(shmrt_comm_error(comm)->text, own);
    const char *time = at ? strstr(at, strcmp(words, "was in") == 0 ? ", waiting " : "waited ") : 0;
    bool has_number = !at || strcmp(words, "was in") != 0 || strchr(at, '#') != NULL;
    if (!time || sscanf(time, "%*[, a-z]%lf s", &waited_s) != 1 || waited_s < 0 || !has_number) {
        fprintf(stderr, "not how long rank %d waited in: %s\n", shmrt_comm_rank(comm),
                shmrt_comm_error(comm)->text);
        return false;
    }
    return true;
}

/* "waited 0.7 s", or more: the true time is told, and under load that is longer. */
static bool says_waited(const struct shmrt_comm *comm, double least_s)
{
    double waited_s = -1;
    const char *at = strstr(shmrt_comm_error(comm)->text, " waited ");
    if (!at || sscanf(at, " waited %lf", &waited_s) != 1 || waited_s < least_s) {
        fprintf(stderr, "not \"waited %g\" or more in: %s\n", least_s,
                shmrt_comm_error(comm)->text);
        return false;
    }
    return true;
}

/* Of a run: ranks that have made their communicator. Shared by all processes. */
static _Atomic int *met;

static void wait_until_met(int size)
{
    for (int ms = 0; ms < 60000 && atomic_load(met) < size; ms++)
        ranks_nap_ms(1);
    atomic_store(met, 0);
    ranks_nap_ms(100);
}

/* The survivors name the victim, stay refused, and can make a communicator of their own. */
static int outlive(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm);
    atomic_fetch_add(met, 1);
    if (rank->rank == VICTIM && rank->arg) { /* a worker that holds the sockets open */
        pid_t worker = fork();
        if (worker == 0) {
            alarm(3);
            pause();
        }
    }
    int rc = reduce_until_error(comm);
    CHECK(rc == -ECONNABORTED && shmrt_comm_error(comm)->code == rc);
    CHECK(says(comm, "rank 1 (pid") && says(comm, ") died; rank "));
    CHECK(says(comm, "all-reduce #") && says_how_long(comm, "was in"));
    CHECK(shmrt_barrier(comm) == rc && says(comm, "rank 1") && says_how_long(comm, "was in"));
    shmrt_comm_destroy(comm);
    rank->rank -= rank->rank > VICTIM;
    rank->size--;
    comm = rank_comm(rank, NULL);
    CHECK(comm && shmrt_barrier(comm) == 0);
    shmrt_comm_destroy(comm);
    return 0;
}

static int
    size_of_run; /* for what is done meanwhile, which gets no more than the body's argument */

static void kill_victim(const pid_t *pids, void *arg)
{
    (void)arg;
    wait_until_met(size_of_run);
    kill(pids[VICTIM], SIGKILL);
}

static void death_is_an_error_that_names_the_rank(void **state)
{
    (void)state;
    for (int with_worker = 0; with_worker < 2; with_worker++)
        for (int size = 2; size <= 5; size += 3) {
            struct ranks_run run = {.kind = RANKS_PROCESSES,
                                    .size = size,
                                    .body = outlive,
                                    .arg = with_worker ? &run : NULL,
                                    .meanwhile = kill_victim};
            size_of_run = size;
            ranks_run(&run);
            for (int r = 0; r < size; r++)
                assert_int_equal(run.results[r], r == VICTIM ? 128 + SIGKILL : 0);
        }
}

/* Rank 2 is killed while rank 0 waits for rank 1, which stays away until rank 0 has heard. */
static int wait_for_the_slow(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm && shmrt_barrier(comm) == 0);
    if (rank->rank == 1) {
        ranks_nap_ms(3000);
        shmrt_comm_destroy(comm);
        return 0;
    }
    if (rank->rank == 2) {
        ranks_nap_ms(300);
        raise(SIGKILL);
    }
    CHECK(shmrt_barrier(comm) == -ECONNABORTED);
    CHECK(says(comm, "rank 2 (pid") && says(comm, "died"));
    CHECK(says(comm, "barrier #2, waiting ") && says(comm, " s for rank 1"));
    shmrt_comm_destroy(comm);
    return 0;
}

static void death_is_noticed_while_waiting_for_another(void **state)
{
    (void)state;
    struct ranks_run run = {.kind = RANKS_PROCESSES, .size = 3, .body = wait_for_the_slow};
    ranks_run(&run);
    assert_int_equal(run.results[0], 0);
    assert_int_equal(run.results[1], 0);
    assert_int_equal(run.results[2], 128 + SIGKILL);
}

static int meet_deadline(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm);
    atomic_fetch_add(met, 1);
    int rc = reduce_until_error(comm);
    if (rank->rank == VICTIM || rc == -ECONNABORTED) {
        CHECK(rc == -ECONNABORTED && says(comm, "aborted by rank "));
        CHECK(says(comm, ": rank 1 (pid") && says_how_long(comm, "was in"));
    } else {
        CHECK(rc == -ETIMEDOUT && says(comm, "rank 1 (pid") && says(comm, "SHMRT_TIMEOUT"));
        CHECK(says(comm, "all-reduce #") && says_waited(comm, 0.7));
    }
    shmrt_comm_destroy(comm);
    return 0;
}

static void stop_victim(const pid_t *pids, void *arg)
{
    (void)arg;
    wait_until_met(3);
    kill(pids[VICTIM], SIGSTOP);
    ranks_nap_ms(1500);
    kill(pids[VICTIM], SIGCONT);
}

static void stopped_rank_meets_the_deadline(void **state)
{
    (void)state;
    static const char *const settings[] = {"timeout=0.7", NULL};
    struct ranks_run run = {.kind = RANKS_PROCESSES,
                            .size = 3,
                            .settings = settings,
                            .body = meet_deadline,
                            .meanwhile = stop_victim};
    ranks_run_well(&run);
}

static int leave_early(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm && shmrt_barrier(comm) == 0);
    if (rank->rank == VICTIM) {
        if (rank->arg)
            shmrt_comm_destroy(comm);
        return 0; /* without destroy the process just ends */
    }
    CHECK(shmrt_barrier(comm) == -ECONNABORTED);
    CHECK(says(comm, rank->arg ? "rank 1" : "died"));
    CHECK(says(comm, "barrier #2") && says_how_long(comm, "was in"));
    CHECK(!rank->arg || says(comm, "has destroyed its communicator"));
    shmrt_comm_destroy(comm);
    return 0;
}

static void rank_that_leaves_is_named(void **state)
{
    (void)state;
    for (int orderly = 0; orderly < 2; orderly++) {
        struct ranks_run run = {
            .kind = RANKS_PROCESSES, .size = 3, .body = leave_early, .arg = orderly ? &run : NULL};
        ranks_run_well(&run);
    }
}

struct calls {
    size_t counts[2];
    enum shmrt_dtype dtypes[2];
    enum shmrt_op ops[2];
    const char *words[2]; /* each side's call, as every rank names it */
};

static int disagree(struct rank *rank)
{
    const struct calls *calls = rank->arg;
    int side = rank->rank == VICTIM;
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    char *data = calloc(COUNT, 8);
    CHECK(comm && data && shmrt_barrier(comm) == 0);
    int rc = calls->counts[side] ? shmrt_allreduce(comm, data, data, calls->counts[side],
                                                   calls->dtypes[side], calls->ops[side])
                                 : shmrt_barrier(comm);
    CHECK(rc == -EPROTO);
    CHECK(says(comm, calls->words[0]) && says(comm, calls->words[1]) && says(comm, "rank 1 calls"));
    CHECK(strstr(shmrt_comm_error(comm)->text, "had waited") ? says_how_long(comm, "had")
                                                             : says_how_long(comm, "was in"));
    CHECK(shmrt_barrier(comm) == -EPROTO);
    free(data);
    shmrt_comm_destroy(comm);
    return 0;
}

static void disagreement_is_an_error_on_all(void **state)
{
    (void)state;
    static const struct calls cases[] = {
        {{10, 11}, {0, 0}, {0, 0}, {"sum of 10 float32", "sum of 11 float32"}},
        {{10, 10}, {SHMRT_FLOAT32, SHMRT_INT32}, {0, 0}, {"10 float32", "10 int32"}},
        {{10, 10}, {0, 0}, {SHMRT_SUM, SHMRT_MAX}, {"sum of 10", "max of 10"}},
        {{10, COUNT}, {0, 0}, {0, 0}, {"10 float32", "100000 float32"}},
        {{COUNT, COUNT - 1}, {0, 0}, {0, 0}, {"100000 float32", "99999 float32"}},
        {{0, COUNT}, {0, 0}, {0, 0}, {"barrier #2", "100000 float32"}},
        {{10, 0}, {0, 0}, {0, 0}, {"10 float32", "barrier #2"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int kind = RANKS_THREADS; kind <= RANKS_PROCESSES; kind++) {
            struct ranks_run run = {.kind = (enum ranks_kind)kind,
                                    .size = 3,
                                    .body = disagree,
                                    .arg = (void *)(uintptr_t)&cases[i]};
            ranks_run_well(&run);
        }
}

/* A barrier that all have entered succeeds, also for one that comes after the abort. */
static int barrier_until_error(struct shmrt_comm *comm)
{
    int rc = 0;
    for (int i = 0; i < 2 && rc == 0; i++)
        rc = shmrt_barrier(comm);
    return rc;
}

static void *abort_soon(void *comm)
{
    ranks_nap_ms(200);
    shmrt_comm_abort(comm, "out of tokens");
    return NULL;
}

static int abort_while_waiting(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm);
    pthread_t helper;
    bool aborts = rank->rank == VICTIM;
    if (aborts)
        CHECK(pthread_create(&helper, NULL, abort_soon, comm) == 0);
    if (rank->rank == 2)
        ranks_nap_ms(400); /* keeps the others waiting */
    CHECK(barrier_until_error(comm) == -ECONNABORTED);
    CHECK(says(comm, "rank 1 aborted: out of tokens"));
    CHECK(aborts || says_how_long(comm, "was in"));
    if (aborts)
        CHECK(pthread_join(helper, NULL) == 0);
    shmrt_comm_destroy(comm);
    return 0;
}

static void abort_ends_every_wait(void **state)
{
    (void)state;
    struct ranks_run run = {.kind = RANKS_PROCESSES, .size = 3, .body = abort_while_waiting};
    ranks_run_well(&run);
}

static int interrupt_third_time(void *arg)
{
    return ++*(int *)arg >= 3;
}

static int interrupt_rank_0(struct rank *rank)
{
    int asked = 0;
    struct shmrt_comm *comm = NULL;
    struct shmrt_error error;
    struct shmrt_params params = {.rank = rank->rank, .size = rank->size, .job = rank->job};
    CHECK(shmrt_comm_create(&params, &comm, &error) == 0);
    shmrt_comm_destroy(comm);
    if (rank->rank == 0) {
        params.interrupt = interrupt_third_time;
        params.interrupt_arg = &asked;
    }
    asked = -100000; /* not while meeting */
    CHECK(shmrt_comm_create(&params, &comm, &error) == 0);
    asked = 0;
    if (rank->rank == 0) {
        CHECK(shmrt_barrier(comm) == -ECANCELED && says(comm, "interrupted"));
        CHECK(says(comm, "in barrier #1 after waiting ") && says(comm, " s for rank 1"));
    } else {
        ranks_nap_ms(800);
        CHECK(barrier_until_error(comm) == -ECONNABORTED && says(comm, "rank 0 was interrupted"));
        CHECK(says_how_long(comm, "was in"));
    }
    shmrt_comm_destroy(comm);
    return 0;
}

static void interrupt_ends_a_wait(void **state)
{
    (void)state;
    struct ranks_run run = {.kind = RANKS_PROCESSES, .size = 2, .body = interrupt_rank_0};
    ranks_run_well(&run);
}

int main(void)
{
    met = mmap(NULL, sizeof *met, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (met == MAP_FAILED)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(death_is_an_error_that_names_the_rank),
        cmocka_unit_test(death_is_noticed_while_waiting_for_another),
        cmocka_unit_test(stopped_rank_meets_the_deadline),
        cmocka_unit_test(rank_that_leaves_is_named),
        cmocka_unit_test(disagreement_is_an_error_on_all),
        cmocka_unit_test(abort_ends_every_wait),
        cmocka_unit_test(interrupt_ends_a_wait),
    };
    return cmocka_run_group_tests_name("failures", tests, NULL, NULL);
}
