/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floors.c - what no collective can beat, measured on the same ranks in the same run.
 *
 * The plane is shared memory with one part for each rank. Reading another rank's part just after
 * that rank has written it, and writing one's own part just after another rank has read it, are
 * what a collective through shared memory is made of. The other core's half of each (its write,
 * its read) happens in prepare(), untimed, on that core. All ranks do it at once, in a ring, so
 * that lines go both ways as in an all-reduce.
 */
#include "bench.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

enum { SPINS_BEFORE_YIELD = 2000, LINE_WORDS = 8 };

/* A cache line; may_alias, since the plane holds words and lines. */
typedef uint64_t line_t __attribute__((vector_size(64), may_alias));

/* Keeps the compiler from dropping a copy that nobody reads. */
static void use(const void *memory)
{
    __asm__ __volatile__("" : : "r"(memory) : "memory");
}

int bench_memcpy_run(struct bench_rank *rank, int calls)
{
    size_t bytes = bench_payload_bytes(&rank->task);
    for (int i = 0; i < calls; i++) {
        memcpy(rank->copy, rank->in, bytes);
        use(rank->copy);
    }
    return 0;
}

int bench_memcpy_verify(struct bench_rank *rank)
{
    size_t bytes = bench_payload_bytes(&rank->task);
    bench_fill(&rank->task, (uint32_t)rank->rank, rank->in, rank->copy);
    int rc = bench_memcpy_run(rank, 1);
    rc = rc == 0 && memcmp(rank->copy, rank->in, bytes) != 0 ? -EBADMSG : rc;
    bench_clear(&rank->task, rank->in, rank->copy);
    return rc;
}

static void await(const uint64_t *line, uint64_t value)
{
    for (int spins = 0; __atomic_load_n(line, __ATOMIC_ACQUIRE) != value; spins++)
        if (spins > SPINS_BEFORE_YIELD)
            sched_yield();
}

/* A line goes from rank 0 to rank 1, another one comes back: what no flag can beat. */
int bench_roundtrip_run(struct bench_rank *rank, int calls)
{
    struct bench_shared *s = rank->shared;
    if (rank->rank > 1)
        return 0;
    uint64_t turn = __atomic_load_n(rank->rank ? &s->pong : &s->ping, __ATOMIC_RELAXED);
    for (int i = 0; i < calls; i++) {
        turn++;
        if (rank->rank == 0) {
            __atomic_store_n(&s->ping, turn, __ATOMIC_RELEASE);
            await(&s->pong, turn);
        } else {
            await(&s->ping, turn);
            __atomic_store_n(&s->pong, turn, __ATOMIC_RELEASE);
        }
    }
    return 0;
}

static char *part(const struct bench_rank *rank, int owner)
{
    return rank->plane + (size_t)owner * rank->plane_bytes;
}

/* The rank whose part this one reads; it reads from one and is read by the other neighbour. */
static int neighbour(const struct bench_rank *rank)
{
    return (rank->rank + 1) % rank->options->ranks;
}

static void write_words(char *to, size_t bytes, uint64_t value)
{
    line_t line = {value, value, value, value, value, value, value, value};
    size_t lines = bytes / sizeof line, words = bytes % sizeof line / sizeof value;
    for (size_t i = 0; i < lines; i++)
        ((line_t *)(void *)to)[i] = line;
    for (size_t i = 0; i < words; i++)
        ((uint64_t *)(void *)to)[lines * LINE_WORDS + i] = value;
    use(to);
}

/* The sum of the first words of all lines: one load brings a line here. To load all of it in small
 * pieces takes up to three times as long, which is not the price of the line. */
static uint64_t read_lines(const char *from, size_t bytes)
{
    const uint64_t *words = (const uint64_t *)(const void *)from;
    uint64_t sum[4] = {0, 0, 0, 0};
    size_t lines = (bytes + sizeof(line_t) - 1) / sizeof(line_t), i = 0;
    for (; i + 4 <= lines; i += 4)
        for (size_t k = 0; k < 4; k++)
            sum[k] += words[(i + k) * LINE_WORDS];
    for (; i < lines; i++)
        sum[0] += words[i * LINE_WORDS];
    return sum[0] + sum[1] + sum[2] + sum[3];
}

/* Whole words: a size below eight bytes touches one line all the same. */
static size_t plane_bytes(const struct bench_rank *rank)
{
    return (bench_payload_bytes(&rank->task) + 7) / 8 * 8;
}

int bench_remote_read_prepare(struct bench_rank *rank)
{
    write_words(part(rank, rank->rank), plane_bytes(rank), ++rank->round);
    return 0;
}

int bench_remote_read_run(struct bench_rank *rank, int calls)
{
    for (int i = 0; i < calls; i++) {
        uint64_t sum = read_lines(part(rank, neighbour(rank)), plane_bytes(rank));
        __asm__ __volatile__("" : : "r"(sum) : "memory");
    }
    return 0;
}

int bench_remote_read_verify(struct bench_rank *rank)
{
    size_t bytes = plane_bytes(rank);
    uint64_t lines = (bytes + sizeof(line_t) - 1) / sizeof(line_t);
    write_words(part(rank, rank->rank), bytes, (uint64_t)rank->rank + 3);
    int rc = bench_meet(&rank->party, BENCH_SPIN);
    if (rc == 0 &&
        read_lines(part(rank, neighbour(rank)), bytes) != lines * ((uint64_t)neighbour(rank) + 3))
        rc = -EBADMSG;
    return rc ? rc : bench_meet(&rank->party, BENCH_SPIN);
}

int bench_remote_write_prepare(struct bench_rank *rank)
{
    return bench_remote_read_run(rank, 1);
}

int bench_remote_write_run(struct bench_rank *rank, int calls)
{
    for (int i = 0; i < calls; i++)
        write_words(part(rank, rank->rank), plane_bytes(rank), ++rank->round);
    return 0;
}

int bench_remote_write_verify(struct bench_rank *rank)
{
    rank->round = (uint64_t)rank->rank * 1000;
    int rc = bench_remote_write_run(rank, 1);
    rc = rc ? rc : bench_meet(&rank->party, BENCH_SPIN);
    const uint64_t *word = (const uint64_t *)(const void *)part(rank, neighbour(rank));
    for (size_t i = 0; i < plane_bytes(rank) / 8 && rc == 0; i++)
        if (word[i] != (uint64_t)neighbour(rank) * 1000 + 1)
            rc = -EBADMSG;
    return rc ? rc : bench_meet(&rank->party, BENCH_SPIN);
}
