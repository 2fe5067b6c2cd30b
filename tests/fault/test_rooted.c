/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_rooted.c - failures of collectives in which not all wait for all: ranks that disagree, say
 * goodbye after their part, or are killed in the middle; and of messages.
 */
#include "ranks.h"
#include "timing.h"

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

enum { SIZE = 4, SMALL = 8, LARGE = 200000, VICTIM = 2, TIMEOUT_S = 30 };

struct buffers {
    float *in, *out;
};

static bool make(struct buffers *b)
{
    b->in = calloc((size_t)LARGE * SIZE, sizeof *b->in);
    b->out = calloc((size_t)LARGE * SIZE, sizeof *b->out);
    return b->in && b->out;
}

static void release(struct buffers *b)
{
    free(b->in);
    free(b->out);
}

static int call(struct shmrt_comm *comm, const struct buffers *b, enum shmrt_collective collective,
                size_t count, enum shmrt_dtype dtype, int root)
{
    switch (collective) {
    case SHMRT_BROADCAST:
        return shmrt_broadcast(comm, b->in, count, dtype, root);
    case SHMRT_REDUCE:
        return shmrt_reduce(comm, b->in, b->out, count, dtype, SHMRT_SUM, root);
    case SHMRT_GATHER:
        return shmrt_gather(comm, b->in, b->out, count, dtype, root);
    case SHMRT_SCATTER:
        return shmrt_scatter(comm, b->in, b->out, count, dtype, root);
    case SHMRT_ALLGATHER:
        return shmrt_allgather(comm, b->in, b->out, count, dtype);
    case SHMRT_ALLTOALL:
        return shmrt_alltoall(comm, b->in, b->out, count, dtype);
    case SHMRT_REDUCE_SCATTER:
        return shmrt_reduce_scatter(comm, b->in, b->out, count, dtype, SHMRT_SUM);
    default:
        return shmrt_barrier(comm);
    }
}

struct one {
    enum shmrt_collective collective;
    size_t count;
    enum shmrt_dtype dtype;
    int root;
};

/* What most call, and what the victim calls; then something that only some of them wait in. */
struct quarrel {
    struct one most, victim;
    enum shmrt_collective next;
};

static int disagree(struct rank *rank)
{
    const struct quarrel *q = rank->arg;
    const struct one *c = rank->rank == VICTIM ? &q->victim : &q->most;
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    struct buffers b;
    CHECK(comm && make(&b) && shmrt_barrier(comm) == 0);
    int rc = call(comm, &b, c->collective, c->count, c->dtype, c->root);
    if (rc == 0)
        rc = call(comm, &b, q->next, SMALL, SHMRT_FLOAT32, 1);
    CHECK(rc == -EPROTO && shmrt_comm_error(comm)->code == rc);
    CHECK(strstr(shmrt_comm_error(comm)->text, "the ranks disagree"));
    CHECK(shmrt_barrier(comm) == -EPROTO);
    release(&b);
    shmrt_comm_destroy(comm);
    return 0;
}

static const struct one broadcast = {SHMRT_BROADCAST, SMALL, SHMRT_FLOAT32, 0};
static const struct one large_broadcast = {SHMRT_BROADCAST, LARGE, SHMRT_FLOAT32, 0};
static const struct one gather = {SHMRT_GATHER, SMALL, SHMRT_FLOAT32, 0};

/* Reported at the latest one call later, on all ranks, whatever that call is. */
static void disagreement_is_found_in_the_next_call(void **state)
{
    (void)state;
    const struct one others[] = {
        {SHMRT_BROADCAST, SMALL, SHMRT_FLOAT32, 1},     {SHMRT_BROADCAST, SMALL, SHMRT_FLOAT32, 2},
        {SHMRT_BROADCAST, SMALL + 1, SHMRT_FLOAT32, 0}, {SHMRT_BROADCAST, LARGE, SHMRT_FLOAT32, 2},
        {SHMRT_BROADCAST, SMALL, SHMRT_INT32, 0},       {SHMRT_SCATTER, SMALL, SHMRT_FLOAT32, 0},
        {SHMRT_SCATTER, SMALL, SHMRT_FLOAT32, 2},       {SHMRT_BARRIER, 0, 0, 0},
        {SHMRT_REDUCE, LARGE, SHMRT_FLOAT32, 0},        {SHMRT_ALLTOALL, LARGE, SHMRT_FLOAT32, 0},
        {SHMRT_ALLGATHER, SMALL, SHMRT_FLOAT32, 0}};
    const struct one mosts[] = {broadcast, large_broadcast, gather};
    const enum shmrt_collective nexts[] = {SHMRT_BARRIER, SHMRT_BROADCAST, SHMRT_GATHER};
    for (size_t m = 0; m < 3; m++)
        for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
            struct quarrel quarrel = {mosts[m], others[i], nexts[(i + m) % 3]};
            struct ranks_run run = {.kind = i % 2 ? RANKS_THREADS : RANKS_PROCESSES,
                                    .size = SIZE,
                                    .body = disagree,
                                    .arg = &quarrel};
#ifdef TEST_THREADS_ONLY
            run.kind = RANKS_THREADS;
#endif
            ranks_run_well(&run);
        }
}

/* Uneven counts that differ, and all-to-alls that do not fit: the ranks that have to hear, do. */
static int counts_disagree(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    struct buffers b;
    size_t in[SIZE] = {1, 2, 3, 4}, out[SIZE] = {1, 2, 3, 4};
    size_t big = *(const size_t *)rank->arg;
    CHECK(comm && make(&b));
    for (int r = 0; r < SIZE; r++) {
        in[r] = big + (size_t)(rank->rank + r);
        out[r] = in[r];
    }
    CHECK(shmrt_alltoallv(comm, b.in, in, b.out, out, SHMRT_FLOAT32) == 0);
    if (rank->rank == VICTIM)
        in[0]++;
    int rc = shmrt_alltoallv(comm, b.in, in, b.out, out, SHMRT_FLOAT32);
    rc = rc ? rc : shmrt_barrier(comm);
    CHECK(rc == -EPROTO);
    CHECK(strstr(shmrt_comm_error(comm)->text, "which expects") ||
          strstr(shmrt_comm_error(comm)->text, "disagree"));
    shmrt_comm_destroy(comm);

    CHECK((comm = rank_comm(rank, NULL)) != NULL);
    for (int r = 0; r < SIZE; r++)
        in[r] = big + (size_t)r;
    in[3] += rank->rank == VICTIM;
    rc = shmrt_allgatherv(comm, b.in, b.out, in, SHMRT_FLOAT32);
    CHECK(rc == -EPROTO && strstr(shmrt_comm_error(comm)->text, "other counts"));
    shmrt_comm_destroy(comm);
    release(&b);
    return 0;
}

static void counts_that_do_not_match(void **state)
{
    (void)state;
    for (size_t big = 1; big <= 10000; big *= 100) {
        struct ranks_run run = {
            .kind = RANKS_THREADS, .size = SIZE, .body = counts_disagree, .arg = &big};
        ranks_run_well(&run);
    }
}

struct letter {
    size_t sent, expected;
    enum shmrt_dtype sent_type, expected_type;
};

static int send_other(struct rank *rank)
{
    const struct letter *letter = rank->arg;
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    struct buffers b;
    CHECK(comm && make(&b) && shmrt_barrier(comm) == 0);
    int rc = 0;
    if (rank->rank == 0)
        rc = shmrt_send(comm, b.in, letter->sent, letter->sent_type, 1);
    if (rank->rank == 1) {
        rc = shmrt_recv(comm, b.out, letter->expected, letter->expected_type, 0);
        CHECK(rc == -EPROTO);
    }
    rc = rc ? rc : shmrt_barrier(comm);
    CHECK(rc == -EPROTO && strstr(shmrt_comm_error(comm)->text, "what rank 0 sent is"));
    release(&b);
    shmrt_comm_destroy(comm);
    return 0;
}

static void messages_of_other_counts_or_types(void **state)
{
    (void)state;
    static const struct letter letters[] = {{4, 5, 0, 0},
                                            {0, 1, 0, 0},
                                            {1, 0, 0, 0},
                                            {LARGE, LARGE - 1, 0, 0},
                                            {LARGE, 10, 0, 0},
                                            {4, 4, SHMRT_FLOAT32, SHMRT_INT32},
                                            {0, 0, SHMRT_FLOAT32, SHMRT_INT32}};
    for (size_t i = 0; i < sizeof letters / sizeof letters[0]; i++) {
        struct ranks_run run = {.kind = RANKS_THREADS,
                                .size = 3,
                                .body = send_other,
                                .arg = (void *)(uintptr_t)&letters[i]};
        ranks_run_well(&run);
    }
}

/* Everyone leaves as soon as its own part is done; the slow one finds all it needs. */
static int leave_when_done(struct rank *rank)
{
    const struct one *last = rank->arg;
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    struct buffers b;
    CHECK(comm && make(&b) && shmrt_barrier(comm) == 0);
    if (rank->rank == (last->root + 1) % SIZE)
        ranks_nap_ms(300);
    for (size_t i = 0; i < last->count * SIZE; i++)
        b.in[i] = 3;
    int rc = call(comm, &b, last->collective, last->count, last->dtype, last->root);
    if (rc)
        fprintf(stderr, "rank %d: %s\n", rank->rank, shmrt_comm_error(comm)->text);
    CHECK(rc == 0);
    bool reads = last->collective == SHMRT_GATHER || last->collective == SHMRT_REDUCE
                     ? rank->rank == last->root
                     : last->collective != SHMRT_BROADCAST;
    float expected = last->collective == SHMRT_REDUCE ? 3 * SIZE : 3;
    CHECK(!reads || b.out[last->count - 1] == expected);
    shmrt_comm_destroy(comm);
    release(&b);
    return 0;
}

static void goodbye_after_the_last_part_is_no_error(void **state)
{
    (void)state;
    static const enum shmrt_collective rooted[] = {SHMRT_BROADCAST, SHMRT_REDUCE, SHMRT_GATHER,
                                                   SHMRT_SCATTER};
    static const char *const settings[] = {"chunk=4K", "segment=1M", NULL};
    for (size_t i = 0; i < 4; i++)
        for (size_t count = SMALL; count <= 8000; count *= 30) {
            struct one last = {rooted[i], count, SHMRT_FLOAT32, 0};
            for (last.root = 0; last.root < SIZE; last.root += 3) {
                struct ranks_run run = {.kind = last.root ? RANKS_THREADS : RANKS_PROCESSES,
                                        .size = SIZE,
                                        .settings = settings,
                                        .body = leave_when_done,
                                        .arg = &last};
#ifdef TEST_THREADS_ONLY
                run.kind = RANKS_THREADS;
#endif
                ranks_run_well(&run);
            }
        }
}

struct death {
    int kind;
    atomic_int *calls; /* shared: how many the victim has begun */
};

/* Rooted calls until an error, which must name the victim. */
static int outlive(struct rank *rank)
{
    static const enum shmrt_collective all[] = {
        SHMRT_BROADCAST, SHMRT_GATHER,   SHMRT_REDUCE,        SHMRT_SCATTER,
        SHMRT_ALLGATHER, SHMRT_ALLTOALL, SHMRT_REDUCE_SCATTER};
    const struct death *death = rank->arg;
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    struct buffers b;
    int rc = 0;
    CHECK(comm && make(&b));
    for (int i = 0; rc == 0; i++) {
        if (rank->rank == VICTIM)
            atomic_fetch_add(death->calls, 1);
        rc = call(comm, &b, all[death->kind < 7 ? death->kind : i % 7], i % 3 ? LARGE / 4 : SMALL,
                  SHMRT_FLOAT32, i % SIZE);
    }
    CHECK(rc == -ECONNABORTED);
    CHECK(strstr(shmrt_comm_error(comm)->text, "rank 2 (pid"));
    CHECK(strstr(shmrt_comm_error(comm)->text, "died"));
    release(&b);
    shmrt_comm_destroy(comm);
    return 0;
}

/* Wherever it is by then: before, in or after a call. */
static void kill_victim(const pid_t *pids, void *arg)
{
    const struct death *death = arg;
    for (double start = now_s(); atomic_load(death->calls) < 20 && now_s() - start < TIMEOUT_S;)
        ranks_nap_ms(1);
    kill(pids[VICTIM], SIGKILL);
}

static void death_in_the_middle(void **state)
{
    (void)state;
#ifdef TEST_THREADS_ONLY
    skip();
#endif
    struct death death = {.calls = mmap(NULL, sizeof *death.calls, PROT_READ | PROT_WRITE,
                                        MAP_SHARED | MAP_ANONYMOUS, -1, 0)};
    assert_ptr_not_equal(death.calls, MAP_FAILED);
    for (death.kind = 0; death.kind <= 7; death.kind++) {
        struct ranks_run run = {.kind = RANKS_PROCESSES,
                                .size = SIZE,
                                .body = outlive,
                                .arg = &death,
                                .meanwhile = kill_victim,
                                .timeout_s = TIMEOUT_S};
        atomic_store(death.calls, 0);
        ranks_run(&run);
        for (int r = 0; r < SIZE; r++)
            assert_int_equal(run.results[r], r == VICTIM ? 128 + SIGKILL : 0);
    }
    munmap(death.calls, sizeof *death.calls);
}

/* A rank that left is missed by who sends it more than fits, or waits for its message. */
static int miss_the_other(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    struct buffers b;
    CHECK(comm && make(&b) && shmrt_barrier(comm) == 0);
    if (rank->rank == 0) {
        int rc = rank->arg ? shmrt_send(comm, b.in, LARGE, SHMRT_FLOAT32, 1)
                           : shmrt_recv(comm, b.out, 1, SHMRT_FLOAT32, 1);
        CHECK(rc == -ECONNABORTED);
        CHECK(strstr(shmrt_comm_error(comm)->text, "has destroyed its communicator"));
    }
    release(&b);
    shmrt_comm_destroy(comm);
    return 0;
}

static void who_left_is_missed_by_its_partner(void **state)
{
    (void)state;
    for (int sends = 0; sends < 2; sends++) {
        struct ranks_run run = {.kind = RANKS_THREADS,
                                .size = 2,
                                .body = miss_the_other,
                                .arg = sends ? &run : NULL,
                                .timeout_s = 30};
        ranks_run_well(&run);
    }
}

/* What was sent before the goodbye arrives. */
static int send_and_leave(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    float word = 5, got = 0;
    CHECK(comm && shmrt_barrier(comm) == 0);
    if (rank->rank == 1) {
        CHECK(shmrt_send(comm, &word, 1, SHMRT_FLOAT32, 0) == 0);
    } else {
        ranks_nap_ms(200);
        CHECK(shmrt_recv(comm, &got, 1, SHMRT_FLOAT32, 1) == 0 && got == 5);
    }
    shmrt_comm_destroy(comm);
    return 0;
}

static void last_words_arrive(void **state)
{
    (void)state;
    struct ranks_run run = {.kind = RANKS_THREADS, .size = 2, .body = send_and_leave};
    ranks_run_well(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(disagreement_is_found_in_the_next_call),
        cmocka_unit_test(counts_that_do_not_match),
        cmocka_unit_test(messages_of_other_counts_or_types),
        cmocka_unit_test(goodbye_after_the_last_part_is_no_error),
        cmocka_unit_test(death_in_the_middle),
        cmocka_unit_test(who_left_is_missed_by_its_partner),
        cmocka_unit_test(last_words_arrive),
    };
    return cmocka_run_group_tests_name("rooted", tests, NULL, NULL);
}
