/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_zerocopy.c - tensors in blocks of shmrt_alloc, on all ranks or some: the bits are those of
 * tensors in private memory, and a block is the caller's again as soon as the call returns, however
 * slow another rank is.
 */
#include "ranks.h"
#include "values.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { GUARD = 64, GUARD_BYTE = 0xA5, JUNK_BYTE = 0x5C };

/* Both sides of one-shot's limit for 4 and 2 bytes, of a part, of several lanes. */
static const size_t counts[] = {1, 1000, 4096, 4097, 8193, 16385, 30000, 65537, 200003};

struct plan {
    unsigned in_pool;  /* bit r: the input of rank r lies in its pool */
    unsigned out_pool; /* the same of the output; in place, of the tensor */
    bool slow;         /* a rank sleeps before each call, another one every time */
};

static const struct plan everywhere = {~0U, ~0U, false};
static const struct plan everywhere_slow = {~0U, ~0U, true};
static const struct plan inputs = {~0U, 0, false};
static const struct plan outputs_slow = {0, ~0U, true};
static const struct plan mixed = {0x5, 0x6, false};
static const struct plan one_rank_slow = {0x2, 0x2, true};

static bool is_at(unsigned ranks, int rank)
{
    return ranks >> rank & 1;
}

/* A tensor with guards, @shift bytes off, in the pool or not. */
struct tensor {
    unsigned char *memory;
    unsigned char *data;
    size_t bytes;
    bool shared;
};

static int tensor_make(struct rank *rank, struct shmrt_comm *comm, bool shared, size_t bytes,
                       size_t shift, struct tensor *out)
{
    void *memory = NULL;
    size_t all = bytes + 2 * GUARD + shift;
    int rc = shared ? shmrt_alloc(comm, all, &memory) : 0;
    CHECK(rc == 0);
    if (!shared)
        memory = malloc(all);
    CHECK(memory);
    memset(memory, GUARD_BYTE, all);
    *out = (struct tensor){memory, (unsigned char *)memory + GUARD + shift, bytes, shared};
    return 0;
}

static bool guards_hold(const struct tensor *t)
{
    for (int i = 0; i < GUARD; i++)
        if (t->data[i - GUARD] != GUARD_BYTE || t->data[t->bytes + (size_t)i] != GUARD_BYTE)
            return false;
    return true;
}

/* The block is overwritten at once: a peer that still read it, or wrote to it, would show. */
static void tensor_free(struct tensor *t)
{
    memset(t->data, JUNK_BYTE, t->bytes);
    if (t->shared)
        shmrt_free(t->memory);
    else
        free(t->memory);
}

struct call {
    size_t count;
    enum shmrt_dtype dtype;
    enum shmrt_op op;
    size_t shift;
    bool in_place;
    unsigned seed;
};

static void maybe_nap(const struct rank *rank, const struct plan *plan, unsigned turn)
{
    if (plan->slow && (int)(turn % (unsigned)rank->size) == rank->rank)
        ranks_nap_ms(1 + turn % 3);
}

static int allreduce_once(struct rank *rank, struct shmrt_comm *comm, const struct call *c)
{
    const struct plan *plan = rank->arg;
    size_t bytes = c->count * shmrt_dtype_bytes(c->dtype);
    struct tensor in, out;
    int line = tensor_make(rank, comm, is_at(plan->out_pool, rank->rank), bytes, c->shift, &out);
    if (line == 0 && !c->in_place)
        line = tensor_make(rank, comm, is_at(plan->in_pool, rank->rank), bytes, 0, &in);
    if (line)
        return line;
    unsigned char *expected = malloc(bytes), *from = c->in_place ? out.data : in.data;
    values_fill(from, 0, c->count, c->dtype, rank->rank, c->seed);
    maybe_nap(rank, plan, c->seed);
    CHECK(shmrt_allreduce(comm, from, out.data, c->count, c->dtype, c->op) == 0);
    if (!c->in_place) { /* the input's block goes back before the result is looked at */
        values_fill(expected, 0, c->count, c->dtype, rank->rank, c->seed);
        CHECK(memcmp(in.data, expected, bytes) == 0 && guards_hold(&in));
        tensor_free(&in);
    }
    values_reduce(expected, 0, c->count, c->dtype, c->op, rank->size, c->seed);
    if (memcmp(out.data, expected, bytes) != 0)
        fprintf(stderr, "%zu %s %s, shift %zu, %s\n", c->count, shmrt_dtype_name(c->dtype),
                shmrt_op_name(c->op), c->shift, c->in_place ? "in place" : "out of place");
    CHECK(memcmp(out.data, expected, bytes) == 0 && guards_hold(&out));
    tensor_free(&out);
    free(expected);
    return 0;
}

/* The readers of a block are others than those that its writer waits for in an all-reduce. */
static int allgather_once(struct rank *rank, struct shmrt_comm *comm, const struct call *c)
{
    const struct plan *plan = rank->arg;
    size_t bytes = c->count * shmrt_dtype_bytes(c->dtype);
    struct tensor in, out;
    int line = tensor_make(rank, comm, is_at(plan->in_pool, rank->rank), bytes, c->shift, &in);
    if (line == 0)
        line = tensor_make(rank, comm, is_at(plan->out_pool, rank->rank),
                           bytes * (size_t)rank->size, 0, &out);
    if (line)
        return line;
    values_fill(in.data, 0, c->count, c->dtype, rank->rank, c->seed);
    maybe_nap(rank, plan, c->seed);
    CHECK(shmrt_allgather(comm, in.data, out.data, c->count, c->dtype) == 0);
    CHECK(guards_hold(&in));
    tensor_free(&in);
    unsigned char *expected = malloc(bytes);
    for (int r = 0; r < rank->size; r++) {
        values_fill(expected, 0, c->count, c->dtype, r, c->seed);
        CHECK(memcmp(out.data + (size_t)r * bytes, expected, bytes) == 0);
    }
    CHECK(guards_hold(&out));
    tensor_free(&out);
    free(expected);
    return 0;
}

static int broadcast_once(struct rank *rank, struct shmrt_comm *comm, const struct call *c)
{
    const struct plan *plan = rank->arg;
    size_t bytes = c->count * shmrt_dtype_bytes(c->dtype);
    int root = (int)(c->seed % (unsigned)rank->size);
    struct tensor t;
    int line = tensor_make(rank, comm, is_at(plan->in_pool, rank->rank), bytes, c->shift, &t);
    if (line)
        return line;
    unsigned char *expected = malloc(bytes);
    values_fill(expected, 0, c->count, c->dtype, root, c->seed);
    if (rank->rank == root)
        memcpy(t.data, expected, bytes);
    maybe_nap(rank, plan, c->seed);
    CHECK(shmrt_broadcast(comm, t.data, c->count, c->dtype, root) == 0);
    CHECK(memcmp(t.data, expected, bytes) == 0 && guards_hold(&t));
    tensor_free(&t);
    free(expected);
    return 0;
}

static int use_shared_tensors(struct rank *rank)
{
    static const enum shmrt_dtype dtypes[] = {SHMRT_FLOAT32, SHMRT_BFLOAT16, SHMRT_INT64};
    static const size_t shifts[] = {0, 1, 4, 68};
    const struct plan *plan = rank->arg;
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    unsigned turn = 0;
    int line = 0;
    CHECK(comm);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        for (size_t d = 0; d < 3; d++)
            for (int in_place = 0; in_place < 2 && line == 0; in_place++, turn++) {
                struct call c = {counts[i],        dtypes[d],     turn % 5 ? SHMRT_SUM : SHMRT_MAX,
                                 shifts[turn % 4], in_place != 0, 3 * turn};
                line = allreduce_once(rank, comm, &c);
                c.seed++;
                line = line ? line : allgather_once(rank, comm, &c);
                c.seed++;
                line = line ? line : broadcast_once(rank, comm, &c);
            }
    if (line)
        return line;
    struct shmrt_counters counters;
    struct shmrt_pool_stats stats;
    shmrt_comm_counters(comm, &counters);
    shmrt_comm_pool_stats(comm, &stats);
    bool shares = is_at(plan->in_pool | plan->out_pool, rank->rank);
    CHECK(rank->size == 1 || (counters.shared_calls > 0) == shares);
    CHECK(stats.used_bytes == 0 && stats.refused == 0);
    shmrt_comm_destroy(comm);
    return 0;
}

static void run(enum ranks_kind kind, int size, const struct plan *plan,
                const char *const *settings)
{
#ifdef TEST_THREADS_ONLY
    if (kind == RANKS_PROCESSES)
        return;
#endif
    struct ranks_run run = {.kind = kind,
                            .size = size,
                            .settings = settings,
                            .body = use_shared_tensors,
                            .arg = (void *)(uintptr_t)plan};
    ranks_run_well(&run);
}

static void on_all_ranks(void **state)
{
    (void)state;
    for (int size = 1; size <= 4; size++)
        for (int kind = RANKS_THREADS; kind <= RANKS_PROCESSES; kind++)
            run((enum ranks_kind)kind, size, &everywhere, NULL);
}

static void on_some_ranks(void **state)
{
    (void)state;
    static const struct plan *const plans[] = {&inputs, &outputs_slow, &mixed, &one_rank_slow};
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++)
        for (int kind = RANKS_THREADS; kind <= RANKS_PROCESSES; kind++)
            run((enum ranks_kind)kind, 3, plans[i], NULL);
}

static void with_a_slow_rank(void **state)
{
    (void)state;
    run(RANKS_THREADS, 2, &everywhere_slow, NULL);
    run(RANKS_PROCESSES, 3, &everywhere_slow, NULL);
}

/* Rings that wrap around, several lanes, and no one-shot. */
static void with_tiny_parts(void **state)
{
    (void)state;
    static const char *const settings[] = {"chunk=1K", "oneshot_max=64", "segment=512K",
                                           "lanes=3",  "pool=8M",        NULL};
    run(RANKS_THREADS, 3, &everywhere, settings);
    run(RANKS_PROCESSES, 3, &mixed, settings);
    run(RANKS_PROCESSES, 2, &inputs, settings);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_all_ranks),
        cmocka_unit_test(on_some_ranks),
        cmocka_unit_test(with_a_slow_rank),
        cmocka_unit_test(with_tiny_parts),
    };
    return cmocka_run_group_tests_name("zerocopy", tests, NULL, NULL);
}
