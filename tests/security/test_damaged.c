/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_damaged.c - a rank that writes anything over shared memory while others use it. They may
 * compute nonsense, or give up; they do not crash, and no call lasts for ever.
 */
#include "comm.h"
#include "ranks.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { RANKS = 3, CALLS = 60, MOST = 1 << 16, STUCK_S = 60, ROUNDS = 12 };

struct damage {
    unsigned seed;
    bool others_too; /* not only what is its own */
};

static uint64_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 11 ^ *state << 20;
}

struct scribbler {
    struct shmrt_comm *comm;
    const struct damage *damage;
    int rank;
    atomic_bool over;
};

/* Mostly where the flags and lines are: the first pages. */
static void *scribble(void *arg)
{
    struct scribbler *s = arg;
    uint64_t state = s->damage->seed;
    while (!atomic_load(&s->over)) {
        int rank = s->damage->others_too ? (int)(next_random(&state) % RANKS) : s->rank;
        const struct shmrt_file *file = &s->comm->segments[rank].file;
        const struct shmrt_pool *pool = s->comm->pools[rank];
        bool in_pool = next_random(&state) % 8 == 0;
        char *base = in_pool ? pool->file.base : file->base;
        size_t bytes = in_pool ? pool->file.bytes : file->bytes;
        size_t near = next_random(&state) % 4 ? 8192 : bytes;
        size_t at = next_random(&state) % near / 8 * 8;
        uint64_t value = next_random(&state);
        /* Small numbers pass for sizes, places and states. */
        value = value % 3 ? value : value >> 48;
        memcpy(base + at, &value, sizeof value);
    }
    return NULL;
}

static int call_something(struct shmrt_comm *comm, int rank, unsigned call, float *x, float *pooled)
{
    size_t counts[RANKS], got[RANKS];
    for (int r = 0; r < RANKS; r++) {
        counts[r] = 100 * (size_t)(rank + r + 1);
        got[r] = 100 * (size_t)(rank + r + 1);
    }
    switch (call % 7) {
    case 0:
        return shmrt_allreduce(comm, x, x, 8, SHMRT_FLOAT32, SHMRT_SUM);
    case 1:
        return shmrt_allreduce(comm, x, x, MOST, SHMRT_FLOAT32, SHMRT_SUM);
    case 2:
        return shmrt_allreduce(comm, pooled, pooled, MOST, SHMRT_FLOAT32, SHMRT_SUM);
    case 3:
        return shmrt_broadcast(comm, x, MOST, SHMRT_FLOAT32, (int)(call % RANKS));
    case 4:
        return shmrt_alltoallv(comm, x, counts, x + MOST / 2, got, SHMRT_FLOAT32);
    case 5:
        return shmrt_allgather(comm, x, x + MOST / 2, MOST / 2 / RANKS, SHMRT_FLOAT32);
    default:
        return rank == 0   ? shmrt_send(comm, x, MOST, SHMRT_FLOAT32, 1)
               : rank == 1 ? shmrt_recv(comm, x, MOST, SHMRT_FLOAT32, 0)
                           : 0;
    }
}

static int go_on_beside_damage(struct rank *rank)
{
    const struct damage *damage = rank->arg;
    struct scribbler scribbler = {.damage = damage, .rank = rank->rank};
    static const char *const settings[] = {"segment=2M", "pool=2M", "timeout=2", "lanes=2", NULL};
    static float x[MOST];
    pthread_t thread;
    void *pooled;
    rank->settings = settings;
    alarm(STUCK_S);
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm && shmrt_alloc(comm, sizeof x, &pooled) == 0);
    memset(pooled, 0, sizeof x);
    scribbler.comm = comm;
    bool is_broken = rank->rank == RANKS - 1;
    int rc = shmrt_barrier(comm); /* the broken one may be through, and at it */
    if (is_broken)
        CHECK(pthread_create(&thread, NULL, scribble, &scribbler) == 0);
    for (unsigned i = 0; i < CALLS && rc == 0; i++)
        rc = call_something(comm, rank->rank, damage->seed + i, x, pooled);
    CHECK(rc <= 0);
    if (is_broken) {
        ranks_nap_ms(20);
        atomic_store(&scribbler.over, true);
        pthread_join(thread, NULL);
    }
    if (!damage->others_too) /* else what marks a block as one may be gone */
        shmrt_free(pooled);
    shmrt_comm_destroy(comm);
    return 0;
}

static void survive(bool others_too)
{
    const char *given = getenv("SHMRT_DAMAGE_ROUNDS");
    unsigned rounds = given ? (unsigned)strtoul(given, NULL, 0) : ROUNDS;
    for (unsigned seed = 1; seed <= rounds; seed++) {
        struct damage damage = {.seed = seed, .others_too = others_too};
        struct ranks_run run = {
            .kind = RANKS_PROCESSES, .size = RANKS, .body = go_on_beside_damage, .arg = &damage};
        ranks_run(&run);
        for (int r = 0; r < RANKS; r++) {
            if (run.results[r])
                fprintf(stderr, "seed %u: rank %d ended with %d\n", seed, r, run.results[r]);
            assert_int_equal(run.results[r], 0);
        }
    }
}

static void a_rank_that_spoils_its_own_memory_crashes_nobody(void **state)
{
    (void)state;
    survive(false);
}

static void a_rank_that_spoils_all_memory_crashes_nobody(void **state)
{
    (void)state;
    survive(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rank_that_spoils_its_own_memory_crashes_nobody),
        cmocka_unit_test(a_rank_that_spoils_all_memory_crashes_nobody),
    };
    return cmocka_run_group_tests_name("damaged", tests, NULL, NULL);
}
