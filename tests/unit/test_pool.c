/* SPDX-License-Identifier: Apache-2.0 */
/* test_pool.c - shmrt_alloc and shmrt_free: who may free what and when, limits, and the ends. */
#include "base/mempolicy.h"
#include "comm.h"
#include "ranks.h"
#include "shm/memory_limit.h"

#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <cmocka.h>

enum { MIB = 1 << 20, THREADS = 4, SLOTS = 32, MARK = SHMRT_POOL_MARK_BYTES };

static void run_one(rank_body body, const char *const *settings)
{
    struct ranks_run run = {.kind = RANKS_THREADS, .size = 1, .body = body, .settings = settings};
    ranks_run_well(&run);
}

static struct shmrt_pool_stats stats_of(const struct shmrt_comm *comm)
{
    struct shmrt_pool_stats stats;
    shmrt_comm_pool_stats(comm, &stats);
    return stats;
}

static bool is_mapped(const void *memory)
{
    void *page = (void *)((uintptr_t)memory / 4096 * 4096);
    return msync(page, 4096, MS_ASYNC) == 0;
}

static int use_blocks(struct rank *rank)
{
    static const size_t sizes[] = {0, 1, 128, 4095, 4096, 100000, 3 * MIB};
    enum { COUNT = sizeof sizes / sizeof sizes[0] };
    char *blocks[COUNT];
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm && stats_of(comm).taken_bytes == 0);
    const struct shmrt_pool *pool = comm->pools[0];
    for (size_t i = 0; i < COUNT; i++) {
        void *block;
        CHECK(shmrt_alloc(comm, sizes[i], &block) == 0);
        blocks[i] = block;
        CHECK((uintptr_t)block % (sizes[i] >= 4096 ? 4096 : SHMRT_POOL_GRAIN_BYTES) == 0);
        memset(block, (int)i + 1, sizes[i]);
        CHECK(shmrt_pool_locate(pool, block, sizes[i]) == (uint64_t)(blocks[i] - pool->file.base));
    }
    struct shmrt_pool_stats stats = stats_of(comm);
    CHECK(stats.limit_bytes == 256 * (size_t)MIB && stats.taken_bytes == 4 * MIB);
    CHECK(stats.used_bytes > 3 * MIB + 108000 && stats.used_bytes == stats.peak_bytes);
    for (size_t i = 0; i < COUNT; i++) {
        for (size_t k = 0; k < sizes[i]; k += 127)
            CHECK(blocks[i][k] == (char)(i + 1));
        shmrt_free(blocks[i]);
    }
    CHECK(stats_of(comm).used_bytes == 0 && stats_of(comm).peak_bytes == stats.used_bytes);
    CHECK(stats_of(comm).refused == 0);
    shmrt_comm_destroy(comm);
    return 0;
}

static void blocks_are_apart_and_aligned(void **state)
{
    (void)state;
    run_one(use_blocks, NULL);
}

static int locate_edges(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm);
    const struct shmrt_pool *pool = comm->pools[0];
    void *block;
    CHECK(shmrt_pool_locate(pool, pool->file.base, 1) == SHMRT_POOL_NONE); /* nothing taken */
    CHECK(shmrt_alloc(comm, 1, &block) == 0);
    size_t taken = stats_of(comm).taken_bytes;
    CHECK(taken == 2 * MIB);
    CHECK(shmrt_pool_locate(pool, pool->file.base, taken) == 0);
    CHECK(shmrt_pool_locate(pool, pool->file.base + taken - 1, 1) == taken - 1);
    CHECK(shmrt_pool_locate(pool, pool->file.base, taken + 1) == SHMRT_POOL_NONE);
    CHECK(shmrt_pool_locate(pool, pool->file.base + 1, SIZE_MAX) == SHMRT_POOL_NONE);
    CHECK(shmrt_pool_locate(pool, pool->file.base + taken, 0) == SHMRT_POOL_NONE);
    CHECK(shmrt_pool_locate(pool, pool->file.base - 1, 2) == SHMRT_POOL_NONE);
    CHECK(shmrt_pool_locate(pool, comm, 1) == SHMRT_POOL_NONE);
    CHECK(shmrt_pool_locate(pool, NULL, 0) == SHMRT_POOL_NONE);
    shmrt_free(block);
    shmrt_comm_destroy(comm);
    return 0;
}

static void only_taken_memory_is_located(void **state)
{
    (void)state;
    run_one(locate_edges, NULL);
}

static int free_what_is_no_block(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    char *block, *copy, *gone;
    void *memory;
    CHECK(comm && shmrt_alloc(comm, 64 << 10, &memory) == 0);
    block = memory;
    memset(block, 0, 64 << 10);
    CHECK(shmrt_alloc(comm, 64 << 10, &memory) == 0);
    copy = memory;
    memcpy(copy + MARK, block - MARK, MARK); /* a right mark in the wrong place */
    gone = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(gone != MAP_FAILED && munmap(gone, 4096) == 0);
    char *plain = aligned_alloc(4096, 8192);
    memset(plain, 0, 8192);
    char *const wrong[] = {NULL,
                           block + 1,
                           block + MARK,
                           block + 4096,
                           copy + 2 * MARK,
                           block - MARK / 2,
                           plain + 4096,
                           gone,
                           comm->pools[0]->file.base,
                           gone + MARK};
    size_t used = stats_of(comm).used_bytes;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        shmrt_free(wrong[i]);
        CHECK(stats_of(comm).used_bytes == used);
    }
    shmrt_free(copy);
    size_t left = stats_of(comm).used_bytes;
    CHECK(left < used);
    shmrt_free(copy);
    CHECK(stats_of(comm).used_bytes == left);
    /* A spoilt mark loses its block, and nothing else. */
    char mark[MARK];
    memcpy(mark, block - MARK, MARK);
    memset(block - MARK, 0x5a, MARK);
    shmrt_free(block);
    CHECK(stats_of(comm).used_bytes == left);
    CHECK(shmrt_alloc(comm, 64 << 10, &memory) == 0 && memory == copy);
    shmrt_free(memory);
    shmrt_comm_destroy(comm);
    CHECK(is_mapped(block)); /* held by the lost block */
    memcpy(block - MARK, mark, MARK);
    shmrt_free(block);
    CHECK(!is_mapped(block));
    free(plain);
    return 0;
}

static void wrong_pointers_are_ignored(void **state)
{
    (void)state;
    run_one(free_what_is_no_block, NULL);
}

static int fill_the_pool(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    void *blocks[8], *more;
    int n = 0, rc = 0;
    CHECK(comm);
    while (n < 8 && (rc = shmrt_alloc(comm, MIB, &blocks[n])) == 0)
        n++;
    /* 5 MiB: four with their marks, and pages never beyond the limit. */
    CHECK(rc == -ENOMEM && n == 4 && strstr(shmrt_comm_error(comm)->text, "SHMRT_POOL"));
    CHECK(stats_of(comm).taken_bytes == 5 * MIB && stats_of(comm).refused == 1);
    CHECK(shmrt_alloc(comm, 900 << 10, &more) == 0);
    memset(more, 1, 900 << 10);
    shmrt_free(blocks[1]);
    CHECK(shmrt_alloc(comm, MIB, &blocks[1]) == 0);
    CHECK(shmrt_alloc(comm, SIZE_MAX, &blocks[5]) == -ENOMEM);
    float one = 1;
    CHECK(shmrt_allreduce(comm, &one, &one, 1, SHMRT_FLOAT32, SHMRT_SUM) == 0);
    for (int i = 0; i < 4; i++)
        shmrt_free(blocks[i]);
    shmrt_free(more);
    CHECK(stats_of(comm).used_bytes == 0 && stats_of(comm).refused == 2);
    shmrt_comm_destroy(comm);
    return 0;
}

static void a_full_pool_is_an_error_and_stays_usable(void **state)
{
    (void)state;
    static const char *const settings[] = {"pool=5M", NULL};
    run_one(fill_the_pool, settings);
}

static int ask_for_too_much(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    void *block;
    CHECK(comm);
    uint64_t room = shmrt_memory_headroom("/proc", "/sys/fs/cgroup", NULL);
    size_t more = (size_t)room + 64 * MIB; /* what is free moves while other programs run */
    CHECK(more + more / 4 + MIB < stats_of(comm).limit_bytes);
    CHECK(shmrt_alloc(comm, more + more / 4, &block) == -ENOMEM);
    CHECK(strstr(shmrt_comm_error(comm)->text, " left;"));
    CHECK(stats_of(comm).taken_bytes == 0 && stats_of(comm).used_bytes == 0);
    CHECK(stats_of(comm).peak_bytes == 0 && stats_of(comm).refused == 1);
    CHECK(shmrt_alloc(comm, MIB, &block) == 0);
    memset(block, 1, MIB);
    shmrt_free(block);
    shmrt_comm_destroy(comm);
    return 0;
}

/* In place of the SIGBUS, or the OOM kill, that touching the memory would be. The pool is only as
 * large as the test needs: a thread sanitizer leaves little more than 1 TiB of addresses. */
static void a_shortage_of_memory_is_an_error(void **state)
{
    (void)state;
    uint64_t room = shmrt_memory_headroom("/proc", "/sys/fs/cgroup", NULL);
    if (room > (uint64_t)256 << 30)
        skip();
    char pool[32];
    snprintf(pool, sizeof pool, "pool=%" PRIu64 "G", 2 * (room >> 30) + 4);
    const char *const settings[] = {pool, NULL};
    run_one(ask_for_too_much, settings);
}

static int work_without_pool(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    void *block;
    CHECK(comm);
    CHECK(shmrt_alloc(comm, 1, &block) == -ENOTSUP);
    CHECK(strstr(shmrt_comm_error(comm)->text, "SHMRT_POOL"));
    CHECK(stats_of(comm).limit_bytes == 0 && stats_of(comm).taken_bytes == 0);
    for (int r = 0; r < rank->size; r++) {
        CHECK(comm->pools[r] && comm->pools[r]->file.bytes == 0);
        CHECK(shmrt_pool_locate(comm->pools[r], comm, 0) == SHMRT_POOL_NONE);
    }
    int64_t sum = 1;
    CHECK(shmrt_allreduce(comm, &sum, &sum, 1, SHMRT_INT64, SHMRT_SUM) == 0 && sum == rank->size);
    shmrt_comm_destroy(comm);
    return 0;
}

static void ranks_may_do_without(void **state)
{
    (void)state;
    static const char *const settings[] = {"pool=0", NULL};
    struct ranks_run run = {.size = 2, .body = work_without_pool, .settings = settings};
    for (run.kind = RANKS_THREADS; run.kind <= RANKS_PROCESSES; run.kind++)
        ranks_run_well(&run);
}

/* Blocks go from thread to thread through the slots; whoever takes one out frees it. */
struct traffic {
    struct shmrt_pool *pool;
    _Atomic(uint32_t *) slots[SLOTS];
};

struct mover {
    struct traffic *traffic;
    unsigned seed;
};

static int check_and_free(uint32_t *block)
{
    uint32_t words = block[0];
    for (uint32_t i = 1; i < words; i++)
        if (block[i] != words + i)
            return __LINE__;
    shmrt_free(block);
    return 0;
}

static void *exchange_blocks(void *arg)
{
    static const uint32_t words[] = {2, 40, 300, 1500, 9000};
    struct mover *mover = arg;
    struct traffic *traffic = mover->traffic;
    int line = 0;
    for (int step = 0; step < 4000 && line == 0; step++) {
        uint32_t n = words[(unsigned)rand_r(&mover->seed) % 5];
        struct shmrt_error error;
        void *memory;
        /* Below shmrt_alloc, which keeps the last error for the communicator's one thread. */
        if (shmrt_pool_alloc(traffic->pool, n * sizeof(uint32_t), &memory, &error))
            continue;
        uint32_t *block = memory;
        block[0] = n;
        for (uint32_t i = 1; i < n; i++)
            block[i] = n + i;
        uint32_t *old =
            atomic_exchange(&traffic->slots[(unsigned)rand_r(&mover->seed) % SLOTS], block);
        if (old)
            line = check_and_free(old);
    }
    return (void *)(uintptr_t)line;
}

static int run_traffic(struct rank *rank)
{
    static struct traffic traffic;
    struct mover movers[THREADS];
    pthread_t ids[THREADS];
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm);
    traffic.pool = comm->pools[0];
    for (int i = 0; i < THREADS; i++) {
        movers[i] = (struct mover){&traffic, (unsigned)i + 1};
        CHECK(pthread_create(&ids[i], NULL, exchange_blocks, &movers[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *line;
        CHECK(pthread_join(ids[i], &line) == 0);
        CHECK(line == NULL);
    }
    shmrt_comm_destroy(comm);
    /* The blocks hold the pool now, and the last one takes it along. */
    const char *last = NULL;
    for (int i = 0; i < SLOTS; i++) {
        uint32_t *block = atomic_exchange(&traffic.slots[i], NULL);
        if (block) {
            CHECK(is_mapped(block) && check_and_free(block) == 0);
            last = (const char *)block;
        }
    }
    CHECK(last && !is_mapped(last));
    return 0;
}

static void any_thread_frees_also_after_the_end(void **state)
{
    (void)state;
    static const char *const settings[] = {"pool=1M", NULL};
    run_one(run_traffic, settings);
}

/* Each rank shows where its block is; the peers read what it wrote, and write an answer. */
static int share_a_block(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    int64_t at[RANKS_MAX] = {0};
    void *memory;
    CHECK(comm && shmrt_alloc(comm, (size_t)(rank->rank + 1) * 3 * MIB, &memory) == 0);
    int32_t *block = memory;
    size_t words = (size_t)(rank->rank + 1) * 3 * MIB / sizeof *block;
    for (size_t i = 0; i < words; i++)
        block[i] = rank->rank * 1000 + (int32_t)(i % 997);
    at[rank->rank] =
        (int64_t)shmrt_pool_locate(comm->pools[rank->rank], block, words * sizeof *block);
    CHECK(at[rank->rank] >= 0);
    CHECK(shmrt_allreduce(comm, at, at, RANKS_MAX, SHMRT_INT64, SHMRT_SUM) == 0);
    for (int r = 0; r < rank->size; r++) {
        size_t bytes = (size_t)(r + 1) * 3 * MIB;
        CHECK((size_t)at[r] + bytes <= comm->pools[r]->file.bytes);
        int32_t *theirs = (int32_t *)(comm->pools[r]->file.base + at[r]);
        CHECK(r != rank->rank || theirs == block);
        for (size_t i = (size_t)rank->rank; i < bytes / sizeof *theirs; i += 61)
            CHECK(theirs[i] == r * 1000 + (int32_t)(i % 997));
    }
    CHECK(shmrt_barrier(comm) == 0);
    int to = (rank->rank + 1) % rank->size;
    ((int32_t *)(comm->pools[to]->file.base + at[to]))[words / 2] = -1 - rank->rank;
    CHECK(shmrt_barrier(comm) == 0);
    int from = (rank->rank + rank->size - 1) % rank->size;
    CHECK(block[(size_t)(from + 1) * 3 * MIB / sizeof *block / 2] == -1 - from);
    shmrt_comm_destroy(comm);
    CHECK(block[0] == rank->rank * 1000); /* own mapping lives on */
    shmrt_free(block);
    return 0;
}

static void peers_see_what_the_owner_wrote(void **state)
{
    (void)state;
    struct ranks_run run = {.size = 3, .body = share_a_block};
    for (run.kind = RANKS_THREADS; run.kind <= RANKS_PROCESSES; run.kind++)
        ranks_run_well(&run);
}

static int ask_where_pages_are(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    struct shmrt_placement_proof proof;
    void *block;
    CHECK(comm);
    const struct shmrt_segment *segment = &comm->segments[0];
    struct shmrt_pool *pool = comm->pools[0];
    CHECK(shmrt_alloc(comm, 5 * MIB, &block) == 0);
    if (!shmrt_nodeset_is_empty(&segment->file.bound_nodes)) {
        int policy = -1;
        /* A page that nobody has touched: the rule was there before it. */
        CHECK(shmrt_sys_get_mempolicy(&policy, NULL, 0, pool->file.base + 32 * MIB, MPOL_F_ADDR) ==
              0);
        CHECK(policy == MPOL_BIND);
        CHECK(shmrt_comm_verify(comm, &proof) == 0 && proof.pool.bound);
        CHECK(proof.pool.pages == stats_of(comm).taken_bytes / proof.pool.page_bytes);
        CHECK(proof.pool.pages_on_node == proof.pool.pages && proof.pool.pages_unknown == 0);
    }
    shmrt_free(block);
    shmrt_comm_destroy(comm);
    return 0;
}

static void pages_are_on_the_owners_nodes(void **state)
{
    (void)state;
    run_one(ask_where_pages_are, NULL);
}

static int outlive_a_failure(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    void *block, *kept, *more = NULL;
    CHECK(comm && shmrt_alloc(comm, 8192, &block) == 0 && shmrt_alloc(comm, 8192, &kept) == 0);
    memset(kept, 7, 8192);
    CHECK(shmrt_barrier(comm) == 0);
    if (rank->rank == 0)
        shmrt_comm_abort(comm, "enough");
    CHECK(shmrt_barrier(comm) == -ECONNABORTED);
    /* Peers may still write to it: it is free, and never given out again. */
    shmrt_free(block);
    CHECK(shmrt_alloc(comm, 8192, &more) == -ECONNABORTED && !more);
    CHECK(strstr(shmrt_comm_error(comm)->text, "enough"));
    CHECK(stats_of(comm).used_bytes == 8192 + MARK);
    shmrt_comm_destroy(comm);
    CHECK(((char *)kept)[8191] == 7);
    shmrt_free(kept);
    return 0;
}

static void a_dead_communicator_gives_no_blocks(void **state)
{
    (void)state;
    struct ranks_run run = {.size = 2, .body = outlive_a_failure};
    for (run.kind = RANKS_THREADS; run.kind <= RANKS_PROCESSES; run.kind++)
        ranks_run_well(&run);
}

static int free_in_a_child(struct rank *rank)
{
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    void *block, *other = NULL;
    CHECK(comm && shmrt_alloc(comm, 4096, &block) == 0);
    memset(block, 3, 4096);
    pid_t child = fork();
    if (child == 0) {
        CHECK(!is_mapped(block));
        shmrt_free(block);
        CHECK(shmrt_alloc(comm, 1, &other) == -EINVAL && !other);
        CHECK(stats_of(comm).limit_bytes == 0);
        shmrt_comm_destroy(comm);
        shmrt_free(block);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(((char *)block)[4095] == 3);
    CHECK(stats_of(comm).used_bytes == 4096 + MARK);
    shmrt_free(block);
    CHECK(stats_of(comm).used_bytes == 0);
    shmrt_comm_destroy(comm);
    return 0;
}

static void a_forked_child_does_no_harm(void **state)
{
    (void)state;
    struct ranks_run run = {.kind = RANKS_PROCESSES, .size = 1, .body = free_in_a_child};
    ranks_run_well(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_apart_and_aligned),
        cmocka_unit_test(only_taken_memory_is_located),
        cmocka_unit_test(wrong_pointers_are_ignored),
        cmocka_unit_test(a_full_pool_is_an_error_and_stays_usable),
        cmocka_unit_test(a_shortage_of_memory_is_an_error),
        cmocka_unit_test(ranks_may_do_without),
        cmocka_unit_test(any_thread_frees_also_after_the_end),
        cmocka_unit_test(peers_see_what_the_owner_wrote),
        cmocka_unit_test(pages_are_on_the_owners_nodes),
        cmocka_unit_test(a_dead_communicator_gives_no_blocks),
        cmocka_unit_test(a_forked_child_does_no_harm),
    };
    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
