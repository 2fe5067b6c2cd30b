/* SPDX-License-Identifier: Apache-2.0 */
/* test_probe.c - whether a message waits: before, while and after it does, and when none can come
 * any more. */
#include "ranks.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { BIG = 300000 };

/* Probes until there is a message (1), or an error (which it returns). */
static int probe_until(struct shmrt_comm *comm, int from)
{
    for (;;) {
        bool there;
        int rc = shmrt_probe(comm, from, &there);
        if (rc || there)
            return rc ? rc : 1;
        ranks_nap_ms(0);
    }
}

static int is_there(struct shmrt_comm *comm, int from)
{
    bool there = true;
    int rc = shmrt_probe(comm, from, &there);
    return rc ? rc : there;
}

static int receive_probed(struct rank *rank, struct shmrt_comm *comm)
{
    int32_t small = 0, *big = calloc(BIG, sizeof *big);
    struct shmrt_request *request;
    CHECK(big && is_there(comm, 1) == 0 && is_there(comm, 0) == 0);
    CHECK(shmrt_barrier(comm) == 0);
    CHECK(probe_until(comm, 1) == 1);
    CHECK(is_there(comm, 1) == 1); /* it takes nothing */
    CHECK(shmrt_recv(comm, &small, 1, SHMRT_INT32, 1) == 0 && small == 7);
    CHECK(probe_until(comm, 1) == 1); /* the beginning of more than a channel holds */
    CHECK(shmrt_start(comm,
                      &(struct shmrt_args){.collective = SHMRT_RECV,
                                           .out = big,
                                           .count = BIG,
                                           .dtype = SHMRT_INT32,
                                           .peer = 1},
                      &request) == 0);
    bool done = false;
    while (!done) {
        CHECK(is_there(comm, 1) == 0); /* all that comes is for the receive under way */
        CHECK(shmrt_test(request, &done) == 0);
    }
    CHECK(big[0] == 1 && big[BIG - 1] == BIG);
    CHECK(is_there(comm, 1) == 0 && shmrt_barrier(comm) == 0);
    free(big);
    return 0;
}

static int send_probed(struct rank *rank, struct shmrt_comm *comm)
{
    int32_t small = 7, *big = malloc(BIG * sizeof *big);
    CHECK(big);
    for (int i = 0; i < BIG; i++)
        big[i] = i + 1;
    CHECK(shmrt_barrier(comm) == 0);
    CHECK(shmrt_send(comm, &small, 1, SHMRT_INT32, 0) == 0);
    CHECK(shmrt_send(comm, big, BIG, SHMRT_INT32, 0) == 0);
    CHECK(shmrt_barrier(comm) == 0);
    free(big);
    return 0;
}

static int messages(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm);
    int line = rank->rank ? send_probed(rank, comm) : receive_probed(rank, comm);
    if (line)
        return line;
    CHECK(is_there(comm, 2) == -EINVAL && is_there(comm, -1) == -EINVAL);
    CHECK(strstr(shmrt_comm_error(comm)->text, "from 0 to 1"));
    CHECK(shmrt_barrier(comm) == 0);
    shmrt_comm_destroy(comm);
    return 0;
}

static void run(enum ranks_kind kind, rank_body body, void *arg)
{
    struct ranks_run run = {.kind = kind, .size = 2, .body = body, .arg = arg};
    ranks_run_well(&run);
}

static void message_is_told_until_it_is_taken(void **state)
{
    (void)state;
    run(RANKS_THREADS, messages, NULL);
#ifndef TEST_THREADS_ONLY
    run(RANKS_PROCESSES, messages, NULL);
#endif
}

static int to_oneself(struct rank *rank)
{
    int32_t x = 3, y = 0;
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm && is_there(comm, 0) == 0);
    CHECK(shmrt_send(comm, &x, 1, SHMRT_INT32, 0) == 0 && is_there(comm, 0) == 1);
    CHECK(shmrt_recv(comm, &y, 1, SHMRT_INT32, 0) == 0 && y == 3 && is_there(comm, 0) == 0);
    shmrt_comm_destroy(comm);
    return 0;
}

static void a_rank_alone_has_its_own(void **state)
{
    (void)state;
    struct ranks_run run = {.kind = RANKS_THREADS, .size = 1, .body = to_oneself};
    ranks_run_well(&run);
}

enum end { DIES, LEAVES, ABORTS };

/* Rank 1 sends one message and is gone; rank 0 gets that, and then an error. */
static int lose_the_sender(struct rank *rank)
{
    enum end end = *(const enum end *)rank->arg;
    int32_t x = 5;
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm);
    if (rank->rank == 1) {
        CHECK(end == ABORTS || shmrt_send(comm, &x, 1, SHMRT_INT32, 0) == 0);
        if (end == DIES)
            _exit(0);
        if (end == ABORTS)
            shmrt_comm_abort(comm, "enough");
        shmrt_comm_destroy(comm);
        return 0;
    }
    if (end != ABORTS) {
        CHECK(probe_until(comm, 1) == 1);
        CHECK(shmrt_recv(comm, &x, 1, SHMRT_INT32, 1) == 0);
    }
    int code = end == LEAVES ? -ENOTCONN : -ECONNABORTED;
    CHECK(probe_until(comm, 1) == code);
    CHECK(is_there(comm, 1) == code); /* and stays so */
    static const char *const words[] = {"died", "has destroyed", "enough"};
    CHECK(strstr(shmrt_comm_error(comm)->text, words[end]));
    CHECK(end == ABORTS || strstr(shmrt_comm_error(comm)->text, "a probe for messages of rank 1"));
    shmrt_comm_destroy(comm);
    return 0;
}

static void lost_sender_is_an_error(void **state)
{
    (void)state;
    for (enum end end = DIES; end <= ABORTS; end++) {
#ifdef TEST_THREADS_ONLY
        if (end == DIES)
            continue;
#endif
        run(end == DIES ? RANKS_PROCESSES : RANKS_THREADS, lose_the_sender, &end);
    }
}

/* Rank 2 sends and leaves, rank 1 sends only then: rank 0 probes both in turns, as a receive from
 * any rank does. */
static int outlive_one(struct rank *rank)
{
    int32_t x = rank->rank, got = 0;
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm);
    if (rank->rank == 2) {
        CHECK(shmrt_send(comm, &x, 1, SHMRT_INT32, 0) == 0);
    } else if (rank->rank == 1) {
        CHECK(shmrt_recv(comm, &got, 1, SHMRT_INT32, 0) == 0 && got == 0);
        CHECK(shmrt_send(comm, &x, 1, SHMRT_INT32, 0) == 0);
    } else {
        CHECK(probe_until(comm, 2) == 1 && shmrt_recv(comm, &got, 1, SHMRT_INT32, 2) == 0);
        int code;
        while ((code = is_there(comm, 2)) == 0)
            CHECK(is_there(comm, 1) == 0);
        CHECK(code == -ENOTCONN && got == 2);
        CHECK(strstr(shmrt_comm_error(comm)->text, "rank 2"));
        CHECK(shmrt_send(comm, &x, 1, SHMRT_INT32, 1) == 0 && probe_until(comm, 1) == 1);
        CHECK(shmrt_recv(comm, &got, 1, SHMRT_INT32, 1) == 0 && got == 1);
        CHECK(is_there(comm, 2) == -ENOTCONN);
    }
    shmrt_comm_destroy(comm);
    return 0;
}

static void one_that_left_is_not_the_end(void **state)
{
    (void)state;
    struct ranks_run run = {.kind = RANKS_THREADS, .size = 3, .body = outlive_one};
    ranks_run_well(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(message_is_told_until_it_is_taken),
        cmocka_unit_test(a_rank_alone_has_its_own),
        cmocka_unit_test(lost_sender_is_an_error),
        cmocka_unit_test(one_that_left_is_not_the_end),
    };
    return cmocka_run_group_tests_name("probe", tests, NULL, NULL);
}
