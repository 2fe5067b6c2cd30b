/* SPDX-License-Identifier: Apache-2.0 */
/* calls.c - each collective spelled out as what a rank gives and what it has to get. */
#include "calls.h"

#include "values.h"

#include <stdlib.h>
#include <string.h>

enum { GUARD = 64, GUARD_BYTE = 0xA5 };

static bool is_rooted(const struct call *call)
{
    return call->collective == SHMRT_BROADCAST || call->collective == SHMRT_REDUCE ||
           call->collective == SHMRT_GATHER || call->collective == SHMRT_SCATTER;
}

bool call_concerns(const struct call *call, int rank)
{
    return call->collective != SHMRT_SEND || rank == call->root || rank == call->to;
}

size_t call_block(const struct call *call, int from, int to)
{
    if (!call->uneven)
        return call->count;
    uint64_t state = call->seed + 1;
    state += call->collective == SHMRT_REDUCE_SCATTER ? 0 : 1009 * (uint64_t)(from + 1);
    state += call->collective == SHMRT_ALLGATHER ? 0 : 9176 * (uint64_t)(to + 1);
    switch (next_random(&state) % 6) {
    case 0:
        return 0;
    case 1:
        return 1;
    case 2:
        return 5 * call->count + 3; /* much more than the others */
    default:
        return call->count / 4 + next_random(&state) % (call->count + 1);
    }
}

/* Elements of the blocks for @to (or from @from where that is given), before block @end. */
static size_t sum_to(const struct call *call, int from, int end)
{
    size_t sum = 0;
    for (int to = 0; to < end; to++)
        sum += call_block(call, from, to);
    return sum;
}

static size_t sum_from(const struct call *call, int end, int to)
{
    size_t sum = 0;
    for (int from = 0; from < end; from++)
        sum += call_block(call, from, to);
    return sum;
}

static void measure(struct side *s)
{
    const struct call *c = &s->call;
    bool root = s->rank == c->root;
    switch (c->collective) {
    case SHMRT_BROADCAST:
        s->out_count = c->count;
        break;
    case SHMRT_ALLREDUCE:
        s->in_count = s->out_count = c->count;
        break;
    case SHMRT_REDUCE:
        s->in_count = c->count;
        s->out_count = root ? c->count : 0;
        break;
    case SHMRT_ALLGATHER:
    case SHMRT_GATHER:
        s->in_count = call_block(c, s->rank, 0);
        s->out_count = root || !is_rooted(c) ? sum_from(c, s->size, 0) : 0;
        break;
    case SHMRT_REDUCE_SCATTER:
        s->in_count = sum_to(c, 0, s->size);
        s->out_count = call_block(c, 0, s->rank);
        break;
    case SHMRT_ALLTOALL:
        s->in_count = sum_to(c, s->rank, s->size);
        s->out_count = sum_from(c, s->size, s->rank);
        break;
    case SHMRT_SCATTER:
        s->in_count = root ? (size_t)s->size * c->count : 0;
        s->out_count = c->count;
        break;
    case SHMRT_SEND:
        s->in_count = root ? c->count : 0;
        s->out_count = s->rank == c->to ? c->count : 0;
        break;
    default:
        break;
    }
    for (int r = 0; r < s->size; r++) {
        bool by_writer = c->collective == SHMRT_ALLGATHER;
        s->in_counts[r] = by_writer ? call_block(c, r, 0) : call_block(c, s->rank, r);
        s->out_counts[r] = call_block(c, r, s->rank);
    }
}

static void fill_input(const struct side *s, void *in)
{
    values_fill(in, 0, s->in_count, s->call.dtype, s->rank, s->call.seed);
}

static void *obtain(struct shmrt_comm *comm, bool pooled, size_t bytes)
{
    void *memory = NULL;
    if (!pooled)
        return malloc(bytes);
    return shmrt_alloc(comm, bytes, &memory) ? NULL : memory;
}

static void give_back(void *memory, bool pooled)
{
    if (pooled)
        shmrt_free(memory);
    else
        free(memory);
}

bool side_make(struct side *s, const struct call *call, struct shmrt_comm *comm)
{
    int rank = shmrt_comm_rank(comm);
    *s = (struct side){.call = *call, .rank = rank, .size = shmrt_comm_size(comm)};
    measure(s);
    s->in_pooled = call->pooled >> (2 * rank % 64) & 1;
    s->out_pooled = call->pooled >> (2 * rank % 64) & 2;
    size_t element = shmrt_dtype_bytes(call->dtype);
    size_t in_bytes = s->in_count * element, out_bytes = s->out_count * element;
    /* Nothing behind the input, so that a sanitizer sees what reads beyond it. */
    s->in_memory = obtain(comm, s->in_pooled, call->shift + in_bytes + (in_bytes == 0));
    s->out_memory = obtain(comm, s->out_pooled, call->shift + out_bytes + (size_t)2 * GUARD);
    if (!s->in_memory || !s->out_memory)
        return false;
    memset(s->out_memory, GUARD_BYTE, call->shift + out_bytes + (size_t)2 * GUARD);
    s->in = s->in_memory + call->shift;
    s->out = s->out_memory + GUARD + call->shift;
    if (call->in_place && s->in_count == s->out_count)
        s->in = s->out;
    fill_input(s, s->in);
    if (call->collective == SHMRT_BROADCAST && rank == call->root)
        values_fill(s->out, 0, s->out_count, call->dtype, rank, call->seed);
    /* A side of nothing needs no buffer; both ways have to do. */
    if (s->in_count == 0 && call->seed % 2)
        s->in = NULL;
    if (s->out_count == 0 && call->seed % 2)
        s->out = NULL;
    return true;
}

void side_free(struct side *s)
{
    give_back(s->in_memory, s->in_pooled);
    give_back(s->out_memory, s->out_pooled);
}

static int call_moving(const struct side *s, struct shmrt_comm *comm)
{
    const struct call *c = &s->call;
    switch (c->collective) {
    case SHMRT_BROADCAST:
        return shmrt_broadcast(comm, s->out, c->count, c->dtype, c->root);
    case SHMRT_ALLGATHER:
        return c->uneven ? shmrt_allgatherv(comm, s->in, s->out, s->in_counts, c->dtype)
                         : shmrt_allgather(comm, s->in, s->out, c->count, c->dtype);
    case SHMRT_ALLTOALL:
        return c->uneven
                   ? shmrt_alltoallv(comm, s->in, s->in_counts, s->out, s->out_counts, c->dtype)
                   : shmrt_alltoall(comm, s->in, s->out, c->count, c->dtype);
    case SHMRT_GATHER:
        return shmrt_gather(comm, s->in, s->out, c->count, c->dtype, c->root);
    case SHMRT_SCATTER:
        return shmrt_scatter(comm, s->in, s->out, c->count, c->dtype, c->root);
    case SHMRT_SEND:
        return s->rank == c->root ? shmrt_send(comm, s->in, c->count, c->dtype, c->to)
                                  : shmrt_recv(comm, s->out, c->count, c->dtype, c->root);
    default:
        return shmrt_barrier(comm);
    }
}

int side_call(const struct side *s, struct shmrt_comm *comm)
{
    const struct call *c = &s->call;
    switch (c->collective) {
    case SHMRT_ALLREDUCE:
        return shmrt_allreduce(comm, s->in, s->out, c->count, c->dtype, c->op);
    case SHMRT_REDUCE:
        return shmrt_reduce(comm, s->in, s->out, c->count, c->dtype, c->op, c->root);
    case SHMRT_REDUCE_SCATTER:
        return c->uneven ? shmrt_reduce_scatterv(comm, s->in, s->out, s->in_counts, c->dtype, c->op)
                         : shmrt_reduce_scatter(comm, s->in, s->out, c->count, c->dtype, c->op);
    default:
        return call_moving(s, comm);
    }
}

int side_start(const struct side *s, struct shmrt_comm *comm, struct shmrt_request **request)
{
    const struct call *c = &s->call;
    struct shmrt_args args = {.collective = c->collective, .dtype = c->dtype};
    bool receives = c->collective == SHMRT_SEND && s->rank != c->root;
    bool broadcast = c->collective == SHMRT_BROADCAST;
    if (receives)
        args.collective = SHMRT_RECV;
    if (is_rooted(c) || c->collective == SHMRT_SEND)
        args.peer = c->collective == SHMRT_SEND && !receives ? c->to : c->root;
    if (c->collective == SHMRT_ALLREDUCE || c->collective == SHMRT_REDUCE ||
        c->collective == SHMRT_REDUCE_SCATTER)
        args.op = c->op;
    args.in = receives || broadcast ? NULL : s->in;
    args.out = c->collective == SHMRT_SEND && !receives ? NULL : s->out;
    if (c->uneven)
        args.in_counts = s->in_counts;
    else
        args.count = c->count;
    if (c->uneven && c->collective == SHMRT_ALLTOALL)
        args.out_counts = s->out_counts;
    return shmrt_start(comm, &args, request);
}

static void expect(const struct side *s, char *out)
{
    const struct call *c = &s->call;
    size_t element = shmrt_dtype_bytes(c->dtype);
    if (s->out_count == 0)
        return;
    switch (c->collective) {
    case SHMRT_ALLREDUCE:
    case SHMRT_REDUCE:
        values_reduce_grouped(out, 0, c->count, c->dtype, c->op, s->size, c->groups, c->seed);
        break;
    case SHMRT_REDUCE_SCATTER:
        values_reduce_grouped(out, sum_to(c, 0, s->rank), s->out_count, c->dtype, c->op, s->size,
                              c->groups, c->seed);
        break;
    case SHMRT_SCATTER:
        values_fill(out, (size_t)s->rank * c->count, c->count, c->dtype, c->root, c->seed);
        break;
    case SHMRT_BROADCAST:
    case SHMRT_SEND:
        values_fill(out, 0, c->count, c->dtype, c->root, c->seed);
        break;
    default: /* blocks of all, in rank order */
        for (int r = 0; r < s->size; r++) {
            size_t first = c->collective == SHMRT_ALLTOALL ? sum_to(c, r, s->rank) : 0;
            size_t count = call_block(c, r, s->rank);
            values_fill(out, first, count, c->dtype, r, c->seed);
            out += count * element;
        }
    }
}

/* The guards before and behind, or all of it where this rank has no output. */
static bool guards_intact(const struct side *s, size_t out_bytes)
{
    const unsigned char *at = (const unsigned char *)s->out_memory;
    size_t front = GUARD + s->call.shift;
    for (size_t i = 0; i < front + GUARD; i++)
        if (at[i < front ? i : i + out_bytes] != GUARD_BYTE)
            return false;
    return true;
}

static bool say_wrong(const struct side *s, const char *what, size_t at)
{
    const struct call *c = &s->call;
    fprintf(stderr,
            "rank %d of %d: %s: %s at byte %zu; %zu %s%s, %s, root %d, to %d, shift %zu, pooled "
            "%#llx%s\n",
            s->rank, s->size, shmrt_collective_name(c->collective), what, at, c->count,
            shmrt_dtype_name(c->dtype), c->uneven ? ", uneven" : "", shmrt_op_name(c->op), c->root,
            c->to, c->shift, (unsigned long long)c->pooled, c->in_place ? ", in place" : "");
    return false;
}

static size_t first_difference(const char *a, const char *b, size_t bytes)
{
    size_t i = 0;
    while (i < bytes && a[i] == b[i])
        i++;
    return i;
}

bool side_is_right(const struct side *s)
{
    size_t element = shmrt_dtype_bytes(s->call.dtype);
    size_t in_bytes = s->in_count * element, out_bytes = s->out_count * element;
    char *expected = malloc((in_bytes > out_bytes ? in_bytes : out_bytes) + 1);
    if (!expected)
        return false;
    expect(s, expected);
    bool right = true;
    if (out_bytes && memcmp(s->out, expected, out_bytes) != 0)
        right = say_wrong(s, "wrong output", first_difference(s->out, expected, out_bytes));
    if (!guards_intact(s, out_bytes))
        right = say_wrong(s, "wrote outside the output", 0);
    fill_input(s, expected);
    if (in_bytes && s->in != s->out && memcmp(s->in, expected, in_bytes) != 0)
        right = say_wrong(s, "changed its input", first_difference(s->in, expected, in_bytes));
    free(expected);
    return right;
}

int call_once(struct rank *rank, struct shmrt_comm *comm, const struct call *call)
{
    struct side side;
    if (!call_concerns(call, rank->rank))
        return 0;
    CHECK(side_make(&side, call, comm));
    int rc = side_call(&side, comm);
    if (rc)
        fprintf(stderr, "rank %d: %s\n", rank->rank, shmrt_comm_error(comm)->text);
    bool right = rc == 0 && side_is_right(&side);
    side_free(&side);
    CHECK(rc == 0 && right);
    return 0;
}

/* Small ones often, and lengths around powers of two. */
static size_t random_count(uint64_t *state, size_t most)
{
    uint64_t x = next_random(state);
    size_t power = (size_t)1 << (x >> 8) % 40;
    while (power > most)
        power >>= 4;
    switch (x % 4) {
    case 0:
        return (x >> 16) % 12;
    case 1:
        return power > 1 ? power - 1 + (x >> 16) % 3 : power;
    default:
        return (x >> 16) % (power + 1);
    }
}

struct call call_random(uint64_t *state, int size, size_t most, bool messages)
{
    uint64_t x = next_random(state);
    int kinds = messages ? SHMRT_SEND : SHMRT_SCATTER; /* those after all-reduce, and it */
    struct call call = {
        .collective = (enum shmrt_collective)(SHMRT_ALLREDUCE + (int)(x % (uint64_t)(kinds - 1))),
        .dtype = (enum shmrt_dtype)((x >> 8) % SHMRT_DTYPE_COUNT),
        .op = (enum shmrt_op)((x >> 16) % SHMRT_AVG),
        .count = random_count(state, most),
        .root = (int)((x >> 24) % (uint64_t)size),
        .to = (int)((x >> 32) % (uint64_t)size),
        .shift = (x >> 40) % 9,
        .in_place = (x >> 48) % 2,
        .seed = (unsigned)(x >> 52),
    };
    uint64_t where = next_random(state);
    call.pooled = where % 4 < 2 ? 0 : where % 4 == 2 ? UINT64_MAX : where >> 2;
    bool blocks = call.collective == SHMRT_ALLGATHER || call.collective == SHMRT_REDUCE_SCATTER ||
                  call.collective == SHMRT_ALLTOALL;
    call.uneven = blocks && (x >> 49) % 2;
    call.in_place =
        call.in_place && (call.collective == SHMRT_ALLREDUCE || call.collective == SHMRT_REDUCE);
    if (call.collective == SHMRT_SEND && call.to == call.root)
        call.to = (call.to + 1) % size;
    return call;
}

void nap_at_random(uint64_t *state)
{
    uint64_t x = next_random(state);
    if (x % 16 == 0)
        ranks_nap_ms((long)(x >> 8) % 3);
}

int test_until_done(struct shmrt_request *request)
{
    bool done = false;
    int rc = 0;
    while (rc == 0 && !done) {
        rc = shmrt_test(request, &done);
        if (!done)
            ranks_nap_ms(0);
    }
    return rc;
}
