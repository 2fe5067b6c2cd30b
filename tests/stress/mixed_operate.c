/* SPDX-License-Identifier: Apache-2.0 */
/* mixed_operate.c - the operations of stress_mixed, each checked. */
#include "mixed.h"

#include "kernels/kernels.h"
#include "values.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_STARTED = 6 };

static enum outcome say_died(struct life *life, const struct place *place, int code)
{
    life->died = place->comm;
    life->code = code;
    return DIED;
}

static enum outcome say_right(struct life *life)
{
    atomic_fetch_add(&life->control->rank[life->rank].counts[CHECKED], 1);
    return DONE;
}

static struct call draw_call(const struct life *life, struct place *place)
{
    int size = place->rank.size;
    struct call call = call_random(&place->stream, size, life->episode.most, size > 1);
    if (call.dtype <= SHMRT_FLOAT16 && next_random(&place->stream) % 5 == 0)
        call.op = SHMRT_AVG;
    call.groups = place->groups;
    return call;
}

/* In private memory where the pool has none: which of them a rank uses is its own affair. */
static bool make_side(struct life *life, struct side *side, struct call *call,
                      const struct place *place)
{
    if (side_make(side, call, place->comm))
        return true;
    side_free(side);
    atomic_fetch_add(&life->control->rank[life->rank].counts[REFUSED], 1);
    call->pooled = 0;
    return side_make(side, call, place->comm);
}

static enum outcome call_blocking(struct life *life, struct place *place)
{
    struct call call = draw_call(life, place);
    struct side side;
    if (!call_concerns(&call, place->rank.rank))
        return DONE;
    if (!make_side(life, &side, &call, place))
        return WRONG;
    int rc = side_call(&side, place->comm);
    bool right = rc || side_is_right(&side);
    side_free(&side);
    if (rc)
        return say_died(life, place, rc);
    return right ? say_right(life) : WRONG;
}

/* In an order of this rank's own. After an error, destroying the communicator frees what is left.
 */
static int end_requests(struct shmrt_request **requests, int n, uint64_t *own)
{
    int rc = 0;
    while (n && rc == 0) {
        int i = (int)(next_random(own) % (uint64_t)n);
        rc = next_random(own) % 3 ? shmrt_wait(requests[i]) : test_until_done(requests[i]);
        requests[i] = requests[--n];
    }
    return rc;
}

/* Some started, one blocking among them. */
static enum outcome call_several(struct life *life, struct place *place)
{
    struct side sides[MOST_STARTED];
    struct shmrt_request *requests[MOST_STARTED];
    int n = 0, started = 0, rc = 0, batch = 1 + (int)(next_random(&place->stream) % MOST_STARTED);
    bool right = true, blocking = next_random(&place->stream) % 2;
    for (int i = 0; i < batch && rc == 0 && right; i++) {
        struct call call = draw_call(life, place);
        if (!call_concerns(&call, place->rank.rank))
            continue;
        right = make_side(life, &sides[n], &call, place);
        if (right && blocking && i == batch / 2 && call.collective != SHMRT_SEND)
            rc = side_call(&sides[n], place->comm);
        else if (right && (rc = side_start(&sides[n], place->comm, &requests[started])) == 0)
            started++;
        n++;
    }
    if (rc == 0 && right)
        rc = end_requests(requests, started, &life->own);
    for (int i = 0; i < n; i++) {
        right = right && (rc || side_is_right(&sides[i]));
        side_free(&sides[i]);
    }
    if (rc)
        return say_died(life, place, rc);
    return right ? say_right(life) : WRONG;
}

struct rows {
    size_t rows, columns, count, bytes;
    enum shmrt_dtype dtype;
    unsigned seed;
};

enum { IN, RESIDUAL, WEIGHT, SUM, OUT, EXPECTED_SUM, EXPECTED, BUFFERS };
enum { SHARED = 1000 }; /* the "rank" of what all ranks hold alike */

static struct shmrt_norm_args norm_args(char *const at[BUFFERS], const struct rows *rows)
{
    return (struct shmrt_norm_args){.in = at[IN],
                                    .residual = at[RESIDUAL],
                                    .sum_out = at[SUM],
                                    .out = at[OUT],
                                    .weight = at[WEIGHT],
                                    .rows = rows->rows,
                                    .columns = rows->columns,
                                    .dtype = rows->dtype,
                                    .norm = rows->seed % 2 ? SHMRT_RMS_NORM : SHMRT_LAYER_NORM,
                                    .epsilon = 1e-6};
}

static void fill_rows(char *const at[BUFFERS], const struct rows *rows, const struct place *place)
{
    values_fill(at[IN], 0, rows->count, rows->dtype, place->rank.rank, rows->seed);
    values_fill(at[RESIDUAL], 0, rows->count, rows->dtype, SHARED, rows->seed);
    values_fill(at[WEIGHT], 0, rows->columns, rows->dtype, SHARED + 1, rows->seed);
    values_reduce_grouped(at[EXPECTED], 0, rows->count, rows->dtype, SHMRT_SUM, place->rank.size,
                          place->groups, rows->seed);
}

static struct rows draw_rows(struct place *place, size_t most)
{
    static const enum shmrt_dtype dtypes[] = {SHMRT_FLOAT32, SHMRT_BFLOAT16, SHMRT_FLOAT16};
    uint64_t x = next_random(&place->stream);
    struct rows rows = {
        .rows = 1 + x % 12, .dtype = dtypes[(x >> 8) % 3], .seed = (unsigned)(x >> 40)};
    rows.columns = 1 + (x >> 16) % (most / 12 + 1);
    rows.count = rows.rows * rows.columns;
    rows.bytes = rows.count * shmrt_dtype_bytes(rows.dtype);
    return rows;
}

static enum outcome call_norm(struct life *life, struct place *place)
{
    struct rows rows = draw_rows(place, life->episode.most);
    struct shmrt_kernels reference;
    char *memory = malloc(BUFFERS * (rows.bytes + 64)), *at[BUFFERS];
    if (!memory || shmrt_kernels_choose("reference", &reference) != 0)
        return WRONG;
    for (size_t b = 0; b < BUFFERS; b++)
        at[b] = memory + b * (rows.bytes + 64);
    fill_rows(at, &rows, place);
    struct shmrt_norm_args args = norm_args(at, &rows), expected = args;
    int rc = shmrt_allreduce_norm(place->comm, &args);
    expected.in = expected.out = at[EXPECTED];
    expected.sum_out = at[EXPECTED_SUM];
    shmrt_kernels_norm(&reference, &expected, 0, rows.rows);
    bool right = memcmp(at[OUT], at[EXPECTED], rows.bytes) == 0 &&
                 memcmp(at[SUM], at[EXPECTED_SUM], rows.bytes) == 0;
    free(memory);
    if (rc)
        return say_died(life, place, rc);
    return right ? say_right(life) : WRONG;
}

static enum outcome call_barrier(struct life *life, struct place *place)
{
    int rc = shmrt_barrier(place->comm);
    return rc ? say_died(life, place, rc) : DONE;
}

static bool give_back(struct kept *kept)
{
    bool whole = true;
    for (size_t i = 0; kept->memory && i < kept->bytes; i++)
        whole = whole && kept->memory[i] == kept->value;
    shmrt_free(kept->memory);
    kept->memory = NULL;
    return whole;
}

bool mixed_free_kept(struct life *life)
{
    bool whole = true;
    for (int i = 0; i < MOST_KEPT; i++)
        whole = give_back(&life->kept[i]) && whole;
    return whole;
}

/* A block in place of another one. Nobody else has to do with it. */
static enum outcome keep_block(struct life *life, struct place *place)
{
    uint64_t x = next_random(&life->own);
    struct kept *kept = &life->kept[x % MOST_KEPT];
    void *memory = NULL;
    if (!give_back(kept))
        return WRONG;
    kept->bytes = 1 + (x >> 8) % ((size_t)1 << (x >> 40) % 18);
    kept->value = (unsigned char)(x >> 32);
    if (shmrt_alloc(place->comm, kept->bytes, &memory) == 0)
        kept->memory = memset(memory, kept->value, kept->bytes);
    else
        atomic_fetch_add(&life->control->rank[life->rank].counts[REFUSED], 1);
    return DONE;
}

static struct place *draw_place(struct life *life, uint64_t x)
{
    return x % 8 < 4 ? &life->world : x % 8 < 6 ? &life->twin : &life->part;
}

enum outcome mixed_operate(struct life *life, int number)
{
    uint64_t state = life->episode.seed + (uint64_t)number * 7919, x = next_random(&state);
    struct place *place = draw_place(life, x);
    uint64_t kind = (x >> 8) % 32;
    if (kind == 31)
        return mixed_split(life);
    if (!place->comm)
        return DONE;
    place->stream = x ^ (uint64_t)place->rank.size << 32 ^ (uint64_t)(place == &life->part);
    if (kind < 14)
        return call_blocking(life, place);
    if (kind < 24)
        return call_several(life, place);
    if (kind < 27)
        return call_norm(life, place);
    return kind < 29 ? call_barrier(life, place) : keep_block(life, place);
}
