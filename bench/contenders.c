/* SPDX-License-Identifier: Apache-2.0 */
/* contenders.c - what is measured: our all-reduce, and the floors of the same run. */
#include "bench.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

enum { SPINS_BEFORE_YIELD = 2000 };

static int run_shmrt(struct bench_rank *rank, int calls)
{
    const struct bench_options *o = rank->options;
    size_t count = rank->bytes / shmrt_dtype_bytes(o->dtype);
    int rc = 0;
    for (int i = 0; i < calls && rc == 0; i++)
        rc = shmrt_allreduce(rank->comm, rank->in, rank->out, count, o->dtype, o->op);
    return rc;
}

/* glibc's memcpy between two private buffers, all ranks at once. */
static int run_memcpy(struct bench_rank *rank, int calls)
{
    char *from = rank->in, *to = rank->in + rank->options->last_bytes;
    for (int i = 0; i < calls; i++) {
        memcpy(to, from, rank->bytes);
        /* Keeps the compiler from dropping a copy that nobody reads. */
        __asm__ __volatile__("" : : "r"(to) : "memory");
    }
    return 0;
}

static void await(const _Atomic uint64_t *line, uint64_t value)
{
    for (int spins = 0; atomic_load_explicit(line, memory_order_acquire) != value; spins++)
        if (spins > SPINS_BEFORE_YIELD)
            sched_yield();
}

/* A line goes from rank 0 to rank 1, another one comes back: what no flag can beat. */
static int run_roundtrip(struct bench_rank *rank, int calls)
{
    struct bench_shared *s = rank->shared;
    if (rank->rank > 1)
        return 0;
    uint64_t turn = atomic_load_explicit(rank->rank ? &s->pong : &s->ping, memory_order_relaxed);
    for (int i = 0; i < calls; i++) {
        turn++;
        if (rank->rank == 0) {
            atomic_store_explicit(&s->ping, turn, memory_order_release);
            await(&s->pong, turn);
        } else {
            await(&s->ping, turn);
            atomic_store_explicit(&s->pong, turn, memory_order_release);
        }
    }
    return 0;
}

const struct bench_contender bench_contenders[] = {
    {"shmrt", run_shmrt, true},
    {"memcpy", run_memcpy, true},
    {"roundtrip", run_roundtrip, false},
};

int bench_contender_count(int ranks)
{
    int all = (int)(sizeof bench_contenders / sizeof bench_contenders[0]);
    return ranks > 1 ? all : all - 1;
}

/* Small integers: exact in every type and for every operation but a product of many ranks. */
static void put(char *at, enum shmrt_dtype dtype, int value)
{
    float f = (float)value;
    double d = value;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    uint16_t bf16 = (uint16_t)(bits >> 16);
    /* 1 and 2 in fp16; larger values only as sums, which stay exact */
    _Float16 fp16 = (_Float16)f;
    int64_t i = value;
    const void *from = dtype == SHMRT_FLOAT32    ? (const void *)&f
                       : dtype == SHMRT_FLOAT64  ? (const void *)&d
                       : dtype == SHMRT_BFLOAT16 ? (const void *)&bf16
                       : dtype == SHMRT_FLOAT16  ? (const void *)&fp16
                                                 : (const void *)&i;
    memcpy(at, from, shmrt_dtype_bytes(dtype));
}

static int term(size_t index, int rank)
{
    return 1 + (int)((index + (size_t)rank) % 2);
}

static int expected(size_t index, int ranks, enum shmrt_op op)
{
    int low = 0, sum = 0;
    for (int r = 0; r < ranks; r++) {
        low += term(index, r) == 1;
        sum += term(index, r);
    }
    switch (op) {
    case SHMRT_MIN:
        return low ? 1 : 2;
    case SHMRT_MAX:
        return low == ranks ? 1 : 2;
    case SHMRT_PROD:
        return 1 << (ranks - low);
    default:
        return sum;
    }
}

int bench_verify(struct bench_rank *rank)
{
    const struct bench_options *o = rank->options;
    size_t element = shmrt_dtype_bytes(o->dtype), count = rank->bytes / element;
    char wanted[8];
    for (size_t i = 0; i < count; i++)
        put(rank->in + i * element, o->dtype, term(i, rank->rank));
    /* The average is checked as a sum: a quotient need not be a small integer. */
    enum shmrt_op op = o->op == SHMRT_AVG ? SHMRT_SUM : o->op;
    int rc = shmrt_allreduce(rank->comm, rank->in, rank->out, count, o->dtype, op);
    for (size_t i = 0; i < count && rc == 0; i++) {
        put(wanted, o->dtype, expected(i, o->ranks, op));
        if (memcmp(rank->out + i * element, wanted, element) != 0)
            rc = -EBADMSG;
    }
    /* Timed on zeros: sums in place would run off to infinity. */
    memset(rank->in, 0, rank->bytes);
    memset(rank->out, 0, rank->bytes);
    return rc;
}
