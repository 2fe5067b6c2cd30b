/* SPDX-License-Identifier: Apache-2.0 */
/* test_error_strangers.c - what no rank of this library sends, and states that a race leads to, in
 * the words of docs/errors.md. A rank 0 made up here answers rank 1. */
#include "coll/lane.h"
#include "comm.h"
#include "documented.h"
#include "ranks.h"
#include "stranger.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

enum { SEGMENT = 1 << 20, POOL = 2 << 20, ANSWER_MS = 60000 };
enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL };

struct stranger {
    const char *words;
    int seals;
    unsigned flags; /* of memfd_create, for the pool */
    void (*change)(struct shmrt_hello *hello);
    struct ranks_run *run;
};

static void of_another_job(struct shmrt_hello *hello)
{
    hello->job[0] ^= 1;
}

static void without_lanes(struct shmrt_hello *hello)
{
    hello->lanes = 0;
}

static void without_memory(struct shmrt_hello *hello)
{
    hello->absent = SHMRT_IN_TROUBLE;
}

/* Rank 0. */
static void answer(const pid_t *pids, void *arg)
{
    const struct stranger *stranger = arg;
    (void)pids;
    const int fds[2] = {stranger_memfd(0, SEGMENT, stranger->seals),
                        stranger_memfd(stranger->flags, POOL, stranger->seals)};
    stranger_answer(stranger->run->job, fds, stranger->change);
}

static int hear(struct rank *rank)
{
    static const char *const settings[] = {"segment=1M", "pool=2M", NULL};
    const struct stranger *stranger = rank->arg;
    struct shmrt_error error = {0};
    rank->rank = 1;
    rank->size = 2;
    rank->settings = settings;
    CHECK(!rank_comm(rank, &error));
    CHECK_DOCUMENTED(&error, stranger->words);
    return 0;
}

static void strangers_are_refused(void **state)
{
    (void)state;
    static const struct stranger strangers[] = {
        {"meet at one name; choose another SHMRT_JOB", SEALS, 0, of_another_job, NULL},
        {"says that it has no lanes", SEALS, 0, without_lanes, NULL},
        {"shares no memory, and says that it can go on", SEALS, 0, without_memory, NULL},
        {"that is not sealed, or not of {bytes} bytes", 0, 0, NULL, NULL},
        {"has a header of another format or rank", SEALS, 0, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof strangers / sizeof strangers[0]; i++) {
        struct stranger stranger = strangers[i];
        struct ranks_run run = {.kind = RANKS_PROCESSES,
                                .size = 1,
                                .body = hear,
                                .arg = &stranger,
                                .meanwhile = answer};
        stranger.run = &run;
        ranks_run_well(&run);
    }
}

/* A page of 2 MiB needs no pool of them to be made, only to be touched. */
static void huge_pages_nobody_asked_for(void **state)
{
    (void)state;
    struct stranger stranger = {.words = "of hugetlb pages, which this rank does not use",
                                .seals = SEALS,
                                .flags = MFD_HUGETLB};
    int fd = stranger_memfd(stranger.flags, POOL, stranger.seals);
    if (fd < 0)
        skip();
    close(fd);
    struct ranks_run run = {
        .kind = RANKS_PROCESSES, .size = 1, .body = hear, .arg = &stranger, .meanwhile = answer};
    stranger.run = &run;
    ranks_run_well(&run);
}

static struct shmrt_comm *create_one(void)
{
    static const char *const settings[] = {"pool=1M", NULL};
    struct shmrt_params params = {.size = 1, .job = "errors-one", .settings = settings};
    struct shmrt_comm *comm = NULL;
    assert_int_equal(shmrt_comm_create(&params, &comm, NULL), 0);
    return comm;
}

/* As between the two steps of another thread's abort. */
static void an_abort_under_way(void **state)
{
    (void)state;
    struct shmrt_comm *comm = create_one();
    atomic_store(&comm->group.sync.peers[0].abort->state, SHMRT_ABORT_CLAIMED);
    assert_int_equal(shmrt_barrier(comm), -ECONNABORTED);
    assert_documented(shmrt_comm_error(comm), "the communicator is being aborted");
    shmrt_comm_destroy(comm);
}

/* Rank 0 stops between the two steps of giving up; rank 1 has read from it. */
static int read_from_who_gives_up(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm && shmrt_barrier(comm) == 0);
    struct shmrt_sync *sync = &comm->group.sync;
    if (rank->rank == 0) {
        atomic_store(&sync->peers[0].abort->state, SHMRT_ABORT_CLAIMED);
    } else {
        const struct shmrt_call_context context = {.epoch = 2};
        for (int ms = 0; ms < ANSWER_MS && atomic_load(&sync->peers[0].abort->state) == SHMRT_ALIVE;
             ms++)
            ranks_nap_ms(1);
        CHECK(shmrt_confirm_reads(sync, &context) == -ECONNABORTED);
        CHECK(shmrt_barrier(comm) == -ECONNABORTED);
        CHECK_DOCUMENTED(shmrt_comm_error(comm), "gives up just now; rank {rank} had read from");
    }
    shmrt_comm_destroy(comm);
    return 0;
}

static void a_rank_that_just_gives_up(void **state)
{
    (void)state;
    struct ranks_run run = {.kind = RANKS_PROCESSES, .size = 2, .body = read_from_who_gives_up};
    ranks_run_well(&run);
}

/* What a rank says of its tensors is more than its pool has. */
static void tensors_outside_of_a_pool(void **state)
{
    (void)state;
    struct shmrt_comm *comm = create_one();
    struct shmrt_coll coll = {.collective = SHMRT_ALLREDUCE, .count = 10 << 20, .element_bytes = 4};
    struct shmrt_places places;
    struct shmrt_plan plan;
    shmrt_plan_make(&plan, &coll, 1, 0);
    assert_int_equal(shmrt_places_take(&comm->group, &plan, 0, &places), -EPROTO);
    assert_int_equal(shmrt_barrier(comm), -EPROTO);
    assert_documented(shmrt_comm_error(comm), "says that its tensors lie outside of its pool");
    shmrt_comm_destroy(comm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strangers_are_refused),     cmocka_unit_test(huge_pages_nobody_asked_for),
        cmocka_unit_test(an_abort_under_way),        cmocka_unit_test(a_rank_that_just_gives_up),
        cmocka_unit_test(tensors_outside_of_a_pool),
    };
    return cmocka_run_group_tests_name("error_strangers", tests, NULL, NULL);
}
