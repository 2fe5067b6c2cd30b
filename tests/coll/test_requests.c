/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_requests.c - start, test and wait: several in flight, in any order of waiting, beside
 * blocking calls and messages both ways; and what becomes of them when a rank dies or stays away.
 */
#include "calls.h"
#include "timing.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { IN_FLIGHT = 6 };

/* Ends all of @requests in an order of this rank's own, by waiting or testing. */
static int end_in_any_order(struct shmrt_request **requests, int n, uint64_t *state)
{
    while (n) {
        int i = (int)(next_random(state) % (uint64_t)n);
        int rc = next_random(state) % 3 ? shmrt_wait(requests[i]) : test_until_done(requests[i]);
        if (rc)
            return rc;
        requests[i] = requests[--n];
    }
    return 0;
}

/* Some started, one blocking among them; every output is right in the end. */
static int one_batch(struct rank *rank, struct shmrt_comm *comm, uint64_t *calls, uint64_t *own)
{
    struct side sides[IN_FLIGHT];
    struct shmrt_request *requests[IN_FLIGHT];
    int n = 0, started = 0;
    int batch = 1 + (int)(next_random(calls) % IN_FLIGHT);
    bool blocking = next_random(calls) % 2;
    for (int i = 0; i < batch; i++) {
        struct call call = call_random(calls, rank->size, 6000, rank->size > 1);
        bool blocks = blocking && i == batch / 2 && call.collective != SHMRT_SEND;
        if (!call_concerns(&call, rank->rank))
            continue;
        CHECK(side_make(&sides[n], &call, comm));
        nap_at_random(own);
        if (blocks)
            CHECK(side_call(&sides[n], comm) == 0);
        else
            CHECK(side_start(&sides[n], comm, &requests[started++]) == 0);
        n++;
    }
    int rc = end_in_any_order(requests, started, own);
    if (rc)
        fprintf(stderr, "rank %d: %s\n", rank->rank, shmrt_comm_error(comm)->text);
    CHECK(rc == 0);
    for (int i = 0; i < n; i++) {
        CHECK(side_is_right(&sides[i]));
        side_free(&sides[i]);
    }
    return 0;
}

static int batches(struct rank *rank)
{
    uint64_t seed = *(const uint64_t *)rank->arg, calls = seed,
             own = seed + 77 + (uint64_t)rank->rank;
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm);
    for (int i = 0; i < 60; i++) {
        int line = one_batch(rank, comm, &calls, &own);
        if (line)
            fprintf(stderr, "rank %d: batch %d of seed %llu\n", rank->rank, i,
                    (unsigned long long)seed);
        if (line)
            return line;
    }
    CHECK(shmrt_barrier(comm) == 0);
    shmrt_comm_destroy(comm);
    return 0;
}

static void run(enum ranks_kind kind, int size, rank_body body, void *arg,
                const char *const *settings)
{
#ifdef TEST_THREADS_ONLY
    if (kind == RANKS_PROCESSES)
        return;
#endif
    struct ranks_run run = {
        .kind = kind, .size = size, .settings = settings, .body = body, .arg = arg};
    ranks_run_well(&run);
}

static const char *const tiny_settings[][6] = {
    {"chunk=128", "oneshot_max=64", "segment=512K", "lanes=1", NULL},
    {"chunk=256", "oneshot_max=0", "segment=512K", "lanes=3", NULL},
    {"spin=0", "yield=0", "oneshot_max=512", "lanes=2", "segment=512K", NULL},
};

static void several_in_flight(void **state)
{
    (void)state;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const char *given = getenv("SHMRT_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)now.tv_nsec;
    print_message("SHMRT_TEST_SEED=%llu\n", (unsigned long long)seed);
    for (int size = 1; size <= 4; size++)
        run(size % 2 ? RANKS_THREADS : RANKS_PROCESSES, size, batches, &seed, NULL);
    for (size_t i = 0; i < sizeof tiny_settings / sizeof tiny_settings[0]; i++) {
        run(RANKS_PROCESSES, 3, batches, &seed, tiny_settings[i]);
        run(RANKS_THREADS, 3, batches, &seed, tiny_settings[i]);
    }
}

enum { BIG = 200000 };

static void fill(float *data, size_t count, int rank, int peer)
{
    for (size_t i = 0; i < count; i++)
        data[i] = (float)((size_t)(rank * 64 + peer) + i % 1000);
}

static bool is_filled(const float *data, size_t count, int rank, int peer)
{
    for (size_t i = 0; i < count; i++)
        if (data[i] != (float)((size_t)(rank * 64 + peer) + i % 1000))
            return false;
    return true;
}

static struct shmrt_args message(enum shmrt_collective kind, float *data, size_t count, int peer)
{
    return (struct shmrt_args){.collective = kind,
                               .in = kind == SHMRT_SEND ? data : NULL,
                               .out = kind == SHMRT_SEND ? NULL : data,
                               .count = count,
                               .dtype = SHMRT_FLOAT32,
                               .peer = peer};
}

/* Each rank sends much to each, itself included, before anybody receives; an all-reduce between. */
static int all_send_first(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    float *out[RANKS_MAX], *in[RANKS_MAX];
    struct shmrt_request *sends[RANKS_MAX], *receives[RANKS_MAX];
    CHECK(comm);
    for (int r = 0; r < rank->size; r++) {
        CHECK((in[r] = malloc(BIG * sizeof(float))) && (out[r] = malloc(BIG * sizeof(float))));
        fill(in[r], BIG, rank->rank, r);
        struct shmrt_args args = message(SHMRT_SEND, in[r], BIG, r);
        CHECK(shmrt_start(comm, &args, &sends[r]) == 0);
    }
    float sum = 1;
    CHECK(shmrt_allreduce(comm, &sum, &sum, 1, SHMRT_FLOAT32, SHMRT_SUM) == 0);
    CHECK(sum == (float)rank->size);
    for (int r = 0; r < rank->size; r++) {
        struct shmrt_args args = message(SHMRT_RECV, out[r], BIG, r);
        CHECK(shmrt_start(comm, &args, &receives[r]) == 0);
    }
    for (int r = rank->size - 1; r >= 0; r--) {
        CHECK(shmrt_wait(receives[r]) == 0 && is_filled(out[r], BIG, r, rank->rank));
        free(out[r]);
    }
    for (int r = 0; r < rank->size; r++) {
        CHECK(test_until_done(sends[r]) == 0);
        free(in[r]);
    }
    shmrt_comm_destroy(comm);
    return 0;
}

static void messages_both_ways_at_once(void **state)
{
    (void)state;
    run(RANKS_THREADS, 1, all_send_first, NULL, NULL);
    run(RANKS_THREADS, 3, all_send_first, NULL, NULL);
    run(RANKS_PROCESSES, 4, all_send_first, NULL, NULL);
}

/* Many messages each way, of more chunks than the channel has: they do not overtake each other. */
static int keep_order(struct rank *rank)
{
    enum { MESSAGES = 40, STEP = 37, FIRST = 20000, MOST = FIRST + MESSAGES * STEP };
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    float *in = malloc(MESSAGES * MOST * sizeof *in), *out = malloc(MESSAGES * MOST * sizeof *out);
    struct shmrt_request *requests[2 * MESSAGES];
    int peer = rank->size - 1 - rank->rank; /* a rank alone is its own */
    CHECK(comm && in && out);
    for (int i = 0; i < MESSAGES; i++) {
        size_t count = FIRST + (size_t)i * STEP;
        fill(in + (size_t)i * MOST, count, rank->rank, i);
        struct shmrt_args send = message(SHMRT_SEND, in + (size_t)i * MOST, count, peer);
        struct shmrt_args receive = message(SHMRT_RECV, out + (size_t)i * MOST, count, peer);
        CHECK(shmrt_start(comm, &send, &requests[2 * i]) == 0);
        CHECK(shmrt_start(comm, &receive, &requests[2 * i + 1]) == 0);
    }
    for (int i = 2 * MESSAGES - 1; i >= 0; i--) {
        int rc = shmrt_wait(requests[i]);
        if (rc)
            fprintf(stderr, "rank %d: %s\n", rank->rank, shmrt_comm_error(comm)->text);
        CHECK(rc == 0);
    }
    for (int i = 0; i < MESSAGES; i++)
        CHECK(is_filled(out + (size_t)i * MOST, FIRST + (size_t)i * STEP, peer, i));
    free(in);
    free(out);
    shmrt_comm_destroy(comm);
    return 0;
}

static void messages_keep_their_order(void **state)
{
    (void)state;
    static const char *const settings[] = {"segment=256K", "oneshot_max=1K", NULL};
    run(RANKS_THREADS, 1, keep_order, NULL, settings);
    run(RANKS_THREADS, 2, keep_order, NULL, settings);
    run(RANKS_PROCESSES, 2, keep_order, NULL, settings);
}

/* Blocking calls of every kind carry on what was started: nobody else would. */
static int blocking_carries_on(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    float *data = malloc(BIG * sizeof *data), row[8] = {1}, weight[8] = {1}, out[8];
    struct shmrt_norm_args norm = {.in = row,
                                   .sum_out = out,
                                   .out = row,
                                   .weight = weight,
                                   .rows = 1,
                                   .columns = 8,
                                   .dtype = SHMRT_FLOAT32};
    CHECK(comm && data);
    for (int kind = 0; kind < 3; kind++) {
        struct shmrt_request *request = NULL;
        fill(data, BIG, 5, kind);
        struct shmrt_args args = message(SHMRT_SEND, data, BIG, 1);
        if (rank->rank == 0)
            CHECK(shmrt_start(comm, &args, &request) == 0);
        else
            CHECK(shmrt_recv(comm, data, BIG, SHMRT_FLOAT32, 0) == 0);
        int rc = kind == 0   ? shmrt_barrier(comm)
                 : kind == 1 ? shmrt_broadcast(comm, row, 8, SHMRT_FLOAT32, 1)
                             : shmrt_allreduce_norm(comm, &norm);
        CHECK(rc == 0 && is_filled(data, BIG, 5, kind));
        CHECK(!request || shmrt_wait(request) == 0);
    }
    free(data);
    shmrt_comm_destroy(comm);
    return 0;
}

/* A receive that was started must not hold up a collective that its sender is in first. */
static int receive_waits_alone(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    float row[8] = {1}, weight[8] = {1}, out[8], word = 7;
    struct shmrt_norm_args norm = {.in = row,
                                   .sum_out = out,
                                   .out = row,
                                   .weight = weight,
                                   .rows = 1,
                                   .columns = 8,
                                   .dtype = SHMRT_FLOAT32};
    struct shmrt_request *request;
    struct shmrt_args args = message(SHMRT_RECV, &word, 1, 1);
    CHECK(comm);
    if (rank->rank == 0) {
        word = 0;
        CHECK(shmrt_start(comm, &args, &request) == 0);
    }
    CHECK(shmrt_barrier(comm) == 0 && shmrt_allreduce_norm(comm, &norm) == 0);
    if (rank->rank == 1)
        CHECK(shmrt_send(comm, &word, 1, SHMRT_FLOAT32, 0) == 0);
    else
        CHECK(shmrt_wait(request) == 0 && word == 7);
    shmrt_comm_destroy(comm);
    return 0;
}

static void blocking_calls_carry_on_what_was_started(void **state)
{
    (void)state;
    run(RANKS_THREADS, 2, blocking_carries_on, NULL, NULL);
    run(RANKS_PROCESSES, 2, blocking_carries_on, NULL, NULL);
    run(RANKS_THREADS, 2, receive_waits_alone, NULL, NULL);
}

/*
 * Sleepers in mixed waits are woken, or look again soon, not after a slice of 50 ms. A busy machine
 * makes rounds slow as well, but hardly all of them: the quickest tell.
 */
static int mix_and_sleep(struct rank *rank)
{
    enum { ROUNDS = 40, COUNT = 60000 };
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    float *data = calloc(COUNT, sizeof *data), word = 1;
    int quick = 0;
    CHECK(comm && data && shmrt_barrier(comm) == 0);
    for (int i = 0; i < ROUNDS; i++) {
        struct shmrt_request *receive;
        struct shmrt_args args = message(SHMRT_RECV, &word, 1, 1 - rank->rank);
        double start = now_s();
        CHECK(shmrt_start(comm, &args, &receive) == 0);
        CHECK(shmrt_allreduce(comm, data, data, COUNT, SHMRT_FLOAT32, SHMRT_SUM) == 0);
        CHECK(shmrt_send(comm, &word, 1, SHMRT_FLOAT32, 1 - rank->rank) == 0);
        CHECK(shmrt_wait(receive) == 0);
        quick += now_s() - start < 0.050;
    }
    CHECK(quick >= ROUNDS / 4);
    free(data);
    shmrt_comm_destroy(comm);
    return 0;
}

static void mixed_waits_do_not_oversleep(void **state)
{
    (void)state;
    static const char *const settings[] = {"spin=0", "yield=0", "lanes=3", "segment=1M", NULL};
    if (getenv("SHMRT_TEST_MOST_COUNT")) /* an emulator, where times tell nothing */
        skip();
    run(RANKS_PROCESSES, 2, mix_and_sleep, NULL, settings);
}

static int leave_alone(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    float data[4000] = {0};
    struct shmrt_request *never, *large, *receive;
    struct shmrt_args barrier = {.collective = SHMRT_BARRIER};
    struct shmrt_args sum = {.collective = SHMRT_ALLREDUCE,
                             .in = data,
                             .out = data,
                             .count = 4000,
                             .dtype = SHMRT_FLOAT32};
    CHECK(comm && shmrt_barrier(comm) == 0);
    if (rank->rank == 0) {
        struct shmrt_args args = message(SHMRT_RECV, data, 1, 1);
        CHECK(shmrt_start(comm, &args, &receive) == 0);
        CHECK(shmrt_start(comm, &sum, &large) == 0);
        CHECK(shmrt_start(comm, &barrier, &never) == 0);
    }
    shmrt_comm_destroy(comm); /* what was not waited for is freed; a sanitizer would tell */
    return 0;
}

static void requests_left_alone_are_freed(void **state)
{
    (void)state;
    static const char *const settings[] = {"oneshot_max=64", NULL};
    run(RANKS_THREADS, 2, leave_alone, NULL, settings);
}

/* What rank 0 does while rank 1 is gone, or away; always behind a request in front of it. */
enum manner { TEST_FRONT, TEST_BEHIND, WAIT_BEHIND, MANNERS };

static int end_in_manner(struct shmrt_request **requests, enum manner manner)
{
    return manner == TEST_FRONT    ? test_until_done(requests[0])
           : manner == TEST_BEHIND ? test_until_done(requests[1])
                                   : shmrt_wait(requests[1]);
}

static int outlive(struct rank *rank)
{
    const enum manner *manner = rank->arg;
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    float data[2];
    struct shmrt_request *requests[2];
    CHECK(comm && shmrt_barrier(comm) == 0);
    if (rank->rank == 1) {
        ranks_nap_ms(200);
        raise(SIGKILL);
    }
    for (int i = 0; i < 2; i++) {
        struct shmrt_args args = message(SHMRT_RECV, &data[i], 1, 1);
        CHECK(shmrt_start(comm, &args, &requests[i]) == 0);
    }
    double start = now_s();
    CHECK(end_in_manner(requests, *manner) == -ECONNABORTED);
    CHECK(now_s() - start < 3); /* a sweep a millisecond, or a slice of 50 ms; a busy machine */
    CHECK(strstr(shmrt_comm_error(comm)->text, "rank 1 (pid"));
    CHECK(shmrt_wait(requests[*manner == TEST_FRONT]) == -ECONNABORTED);
    shmrt_comm_destroy(comm);
    return 0;
}

static void death_ends_tests_and_waits(void **state)
{
    (void)state;
#ifdef TEST_THREADS_ONLY
    skip();
#endif
    for (enum manner manner = TEST_FRONT; manner < MANNERS; manner++) {
        struct ranks_run run = {
            .kind = RANKS_PROCESSES, .size = 3, .body = outlive, .arg = &manner, .timeout_s = 20};
        ranks_run(&run);
        assert_int_equal(run.results[0], 0);
        assert_int_equal(run.results[1], 128 + SIGKILL);
        assert_int_equal(run.results[2], 0);
    }
}

static int meet_deadline(struct rank *rank)
{
    const enum manner *manner = rank->arg;
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    struct shmrt_request *requests[2];
    struct shmrt_args barrier = {.collective = SHMRT_BARRIER};
    float word;
    struct shmrt_args receive = message(SHMRT_RECV, &word, 1, 1);
    CHECK(comm && shmrt_barrier(comm) == 0);
    if (rank->rank == 1) {
        ranks_nap_ms(1500);
        CHECK(shmrt_barrier(comm) == 0); /* all have entered it; the next one fails */
        CHECK(shmrt_barrier(comm) == -ECONNABORTED);
    } else {
        CHECK(shmrt_start(comm, &barrier, &requests[0]) == 0);
        CHECK(shmrt_start(comm, *manner == TEST_BEHIND ? &barrier : &receive, &requests[1]) == 0);
        CHECK(end_in_manner(requests, *manner) == -ETIMEDOUT);
        CHECK(strstr(shmrt_comm_error(comm)->text, "rank 1 (pid"));
    }
    shmrt_comm_destroy(comm);
    return 0;
}

static void deadline_ends_tests_and_waits(void **state)
{
    (void)state;
    static const char *const settings[] = {"timeout=0.5", NULL};
    for (enum manner manner = TEST_FRONT; manner < MANNERS; manner++)
        run(RANKS_THREADS, 2, meet_deadline, &manner, settings);
}

/* Each comes in time for itself; together they last longer than the deadline. */
static int work_longer_than_deadline(struct rank *rank)
{
    enum { STEPS = 8 };
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    struct shmrt_request *requests[STEPS];
    struct shmrt_args barrier = {.collective = SHMRT_BARRIER};
    CHECK(comm && shmrt_barrier(comm) == 0);
    if (rank->rank == 1)
        for (int i = 0; i < STEPS; i++) {
            ranks_nap_ms(200);
            CHECK(shmrt_barrier(comm) == 0);
        }
    else {
        for (int i = 0; i < STEPS; i++)
            CHECK(shmrt_start(comm, &barrier, &requests[i]) == 0);
        CHECK(test_until_done(requests[STEPS - 1]) == 0);
    }
    shmrt_comm_destroy(comm);
    return 0;
}

/* One message, of which a few chunks are taken at a time. */
static int receive_slowly(struct rank *rank)
{
    enum { COUNT = 1 << 20 };
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    float *data = calloc(COUNT, sizeof *data);
    struct shmrt_args args =
        message(rank->rank ? SHMRT_RECV : SHMRT_SEND, data, COUNT, 1 - rank->rank);
    struct shmrt_request *request;
    bool done = false;
    CHECK(comm && data && shmrt_start(comm, &args, &request) == 0);
    while (!done) {
        ranks_nap_ms(rank->rank ? 150 : 0);
        int rc = shmrt_test(request, &done);
        if (rc)
            fprintf(stderr, "rank %d: %s\n", rank->rank, shmrt_comm_error(comm)->text);
        CHECK(rc == 0);
    }
    free(data);
    shmrt_comm_destroy(comm);
    return 0;
}

static void deadline_is_of_each_wait(void **state)
{
    (void)state;
    static const char *const settings[] = {"timeout=1", NULL};
    run(RANKS_THREADS, 2, work_longer_than_deadline, NULL, settings);
    run(RANKS_THREADS, 2, receive_slowly, NULL, settings);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(several_in_flight),
        cmocka_unit_test(messages_both_ways_at_once),
        cmocka_unit_test(messages_keep_their_order),
        cmocka_unit_test(blocking_calls_carry_on_what_was_started),
        cmocka_unit_test(mixed_waits_do_not_oversleep),
        cmocka_unit_test(requests_left_alone_are_freed),
        cmocka_unit_test(death_ends_tests_and_waits),
        cmocka_unit_test(deadline_ends_tests_and_waits),
        cmocka_unit_test(deadline_is_of_each_wait),
    };
    return cmocka_run_group_tests_name("requests", tests, NULL, NULL);
}
