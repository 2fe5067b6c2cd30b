/* SPDX-License-Identifier: Apache-2.0 */
/* test_one_thread.c - a second thread in a communicator, and a callback that calls it, are refused;
 * who was there first does not notice.
 */
#include "ranks.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { LIMIT_MS = 60000 };

/* What the ranks, which are threads, and the second thread of rank 0 tell each other. */
struct scene {
    struct shmrt_comm *comm;       /* of rank 0 */
    struct shmrt_request *request; /* that it has started */
    atomic_bool inside;            /* its first thread is in a call, and waits */
    atomic_bool refused;           /* the second thread is through */
    atomic_int callback_said;      /* what a call from the callback returned */
    int line;                      /* of what failed in the second thread */
};

static int interrupt(void *arg)
{
    struct scene *scene = arg;
    if (!atomic_load(&scene->inside) && scene->comm) {
        atomic_store(&scene->callback_said, shmrt_barrier(scene->comm));
        atomic_store(&scene->inside, true);
    }
    return 0;
}

static bool comes_true(atomic_bool *what)
{
    for (int ms = 0; ms < LIMIT_MS && !atomic_load(what); ms++)
        ranks_nap_ms(1);
    return atomic_load(what);
}

static int call_everything(struct rank *rank, struct scene *scene)
{
    struct shmrt_comm *comm = scene->comm, *part = NULL;
    struct shmrt_request *request = NULL;
    float x[4] = {1, 2, 3, 4}, y[4], weight[4] = {0};
    bool done = true, there = true;
    struct shmrt_args args = {.collective = SHMRT_BARRIER};
    struct shmrt_norm_args norm = {
        .in = x, .sum_out = x, .out = y, .weight = weight, .rows = 1, .columns = 4};
    CHECK(shmrt_allreduce(comm, x, y, 4, SHMRT_FLOAT32, SHMRT_SUM) == -EBUSY);
    CHECK(strstr(shmrt_comm_error(comm)->text, "rank 0 (pid "));
    CHECK(strstr(shmrt_comm_error(comm)->text, "in another thread"));
    CHECK(shmrt_send(comm, x, 4, SHMRT_FLOAT32, 1) == -EBUSY);
    CHECK(shmrt_allreduce_norm(comm, &norm) == -EBUSY);
    CHECK(shmrt_start(comm, &args, &request) == -EBUSY && !request);
    CHECK(shmrt_probe(comm, 1, &there) == -EBUSY && !there);
    CHECK(shmrt_comm_split(comm, 0, 0, &part) == -EBUSY && !part);
    CHECK(shmrt_test(scene->request, &done) == -EBUSY && !done);
    CHECK(shmrt_wait(scene->request) == -EBUSY);
    return 0;
}

static void *second_thread(void *arg)
{
    struct scene *scene = arg;
    struct rank rank = {.rank = 0};
    scene->line = comes_true(&scene->inside) ? call_everything(&rank, scene) : __LINE__;
    atomic_store(&scene->refused, true);
    return NULL;
}

/* A receive is started, then all meet in a barrier, to which rank 1 comes when rank 0's second
 * thread is through. */
static int first_rank(struct rank *rank, struct scene *scene)
{
    float x = 0, sum = 1;
    pthread_t second;
    struct shmrt_args args = {
        .collective = SHMRT_RECV, .out = &x, .count = 1, .dtype = SHMRT_FLOAT32, .peer = 1};
    CHECK(shmrt_start(scene->comm, &args, &scene->request) == 0);
    CHECK(pthread_create(&second, NULL, second_thread, scene) == 0);
    int rc = shmrt_barrier(scene->comm);
    CHECK(pthread_join(second, NULL) == 0);
    CHECK(rc == 0 && scene->line == 0);
    CHECK(atomic_load(&scene->callback_said) == -EBUSY);
    CHECK(shmrt_wait(scene->request) == 0 && x == 5);
    CHECK(shmrt_allreduce(scene->comm, &sum, &sum, 1, SHMRT_FLOAT32, SHMRT_SUM) == 0 && sum == 2);
    return 0;
}

static int other_rank(struct rank *rank, struct scene *scene, struct shmrt_comm *comm)
{
    float x = 5, sum = 1;
    CHECK(comes_true(&scene->refused));
    CHECK(shmrt_barrier(comm) == 0);
    CHECK(shmrt_send(comm, &x, 1, SHMRT_FLOAT32, 0) == 0);
    CHECK(shmrt_allreduce(comm, &sum, &sum, 1, SHMRT_FLOAT32, SHMRT_SUM) == 0 && sum == 2);
    return 0;
}

static int collide(struct rank *rank)
{
    struct scene *scene = rank->arg;
    struct shmrt_comm *comm = NULL;
    struct shmrt_error error;
    struct shmrt_params params = {.rank = rank->rank, .size = rank->size, .job = rank->job};
    if (rank->rank == 0)
        params = (struct shmrt_params){.rank = 0,
                                       .size = rank->size,
                                       .job = rank->job,
                                       .interrupt = interrupt,
                                       .interrupt_arg = scene};
    CHECK(shmrt_comm_create(&params, &comm, &error) == 0);
    if (rank->rank == 0)
        scene->comm = comm;
    int line = rank->rank == 0 ? first_rank(rank, scene) : other_rank(rank, scene, comm);
    shmrt_comm_destroy(comm);
    return line;
}

static void second_thread_is_refused(void **state)
{
    (void)state;
    struct scene scene = {0};
    struct ranks_run run = {.kind = RANKS_THREADS, .size = 2, .body = collide, .arg = &scene};
    ranks_run_well(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(second_thread_is_refused)};
    return cmocka_run_group_tests_name("one_thread", tests, NULL, NULL);
}
