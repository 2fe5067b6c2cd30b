/* SPDX-License-Identifier: Apache-2.0 */
/* test_wrap.c - random calls while all counters wrap (tiny_epochs.c), and that each of them did. */
#include "calls.h"
#include "comm.h"
#include "stress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { COMMUNICATORS = 4, RANDOM = 60, CALLS = 90 };

static bool has_wrapped(uint64_t counter)
{
    return counter < UINT64_MAX / 2;
}

/* Messages both ways with the next rank, started, so that no order is needed. */
static int pass_round(struct rank *rank, struct shmrt_comm *comm)
{
    for (int i = 0; i < 16; i++) {
        int next = (rank->rank + 1) % rank->size,
            before = (rank->rank + rank->size - 1) % rank->size;
        int32_t out = rank->rank * 100 + i, in = -1;
        struct shmrt_args send = {
            .collective = SHMRT_SEND, .in = &out, .count = 1, .dtype = SHMRT_INT32, .peer = next};
        struct shmrt_args receive = {
            .collective = SHMRT_RECV, .out = &in, .count = 1, .dtype = SHMRT_INT32, .peer = before};
        struct shmrt_request *sending, *receiving;
        CHECK(shmrt_start(comm, &send, &sending) == 0);
        CHECK(shmrt_start(comm, &receive, &receiving) == 0);
        CHECK(shmrt_wait(receiving) == 0 && shmrt_wait(sending) == 0);
        CHECK(in == before * 100 + i);
    }
    return 0;
}

static int check_wrapped(struct rank *rank, const struct shmrt_comm *comm)
{
    const struct shmrt_group *group = &comm->group;
    int next = (rank->rank + 1) % rank->size, before = (rank->rank + rank->size - 1) % rank->size;
    CHECK(has_wrapped(group->epoch) && has_wrapped(group->entered));
    CHECK(has_wrapped(group->lanes[0].rounds));
    CHECK(has_wrapped(group->pairs[next].sent) && has_wrapped(group->pairs[next].sends));
    CHECK(has_wrapped(group->pairs[before].taken) && has_wrapped(group->pairs[before].recvs));
    return 0;
}

static int wrap_once(struct rank *rank, uint64_t seed)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm);
    CHECK(!has_wrapped(comm->group.epoch) && !has_wrapped(comm->group.lanes[0].rounds) &&
          !has_wrapped(comm->group.pairs[0].sent));
    for (int i = 0; i < CALLS; i++) {
        struct call call = call_random(&seed, rank->size, 3000, true);
        if (i >= RANDOM) /* rounds, for those that had few */
            call = (struct call){.collective = SHMRT_ALLREDUCE, .count = 2000, .seed = (unsigned)i};
        int line = call_once(rank, comm, &call);
        if (line)
            return line;
    }
    int line = pass_round(rank, comm);
    CHECK(line == 0 && shmrt_barrier(comm) == 0);
    line = check_wrapped(rank, comm);
    shmrt_comm_destroy(comm);
    return line;
}

/* Each communicator has a job of its own, so its counters wrap after another number of calls. */
static int wrap_often(struct rank *rank)
{
    const uint64_t *seed = rank->arg;
    char job[64];
    memcpy(job, rank->job, sizeof job);
    for (int i = 0; i < COMMUNICATORS; i++) {
        snprintf(rank->job, sizeof rank->job, "%.50s-%d", job, i);
        int line = wrap_once(rank, *seed + (uint64_t)i);
        if (line)
            return line;
    }
    return 0;
}

static const char *const settings[][6] = {
    {"oneshot_max=256", "segment=1M", "lanes=2", "lane_min=1K", NULL},
    {"chunk=64", "oneshot_max=0", "segment=512K", "lanes=1", NULL},
    {"chunk=128", "oneshot_max=64", "segment=512K", "lanes=2", "spin=0", NULL},
};

static void counters_wrap(void **state)
{
    (void)state;
    const char *given = getenv("SHMRT_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : stress_fresh_seed();
    print_message("SHMRT_TEST_SEED=%llu\n", (unsigned long long)seed);
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        struct ranks_run run = {.kind = RANKS_THREADS,
                                .size = 2 + (int)i % 2,
                                .settings = settings[i],
                                .body = wrap_often,
                                .arg = &seed};
        ranks_run_well(&run);
#ifndef TEST_THREADS_ONLY
        run.kind = RANKS_PROCESSES;
        ranks_run_well(&run);
#endif
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(counters_wrap)};
    return cmocka_run_group_tests_name("wrap", tests, NULL, NULL);
}
