/* SPDX-License-Identifier: Apache-2.0 */
/*
 * task.c - shapes of the collectives, verification data, treatment of buffers.
 *
 * An element's value tells where it comes from (source rank, destination block, index), so that a
 * block in the wrong place, a rank left out or a shifted chunk shows. Values are small integers:
 * exact in every type, also when a contender adds up in 16 bits.
 */
#include "task.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PRIME = 127, EXACT_IN_BF16 = 256, LINE_BYTES = 64 };

const char *bench_collective_name(uint32_t collective)
{
    static const char *const names[BENCH_COLLECTIVE_COUNT] = {
        "allreduce", "broadcast", "reduce",   "allgather", "reduce_scatter", "alltoall",
        "gather",    "scatter",   "sendrecv", "barrier",   "allreduce_norm", "create"};
    return collective < BENCH_COLLECTIVE_COUNT ? names[collective] : NULL;
}

const char *bench_dtype_name(uint32_t dtype)
{
    static const char *const names[BENCH_DTYPE_COUNT] = {
        "float32", "float64", "bfloat16", "float16", "int8", "uint8", "int16", "int32", "int64"};
    return dtype < BENCH_DTYPE_COUNT ? names[dtype] : NULL;
}

const char *bench_op_name(uint32_t op)
{
    static const char *const names[BENCH_OP_COUNT] = {"sum", "min", "max", "prod", "avg"};
    return op < BENCH_OP_COUNT ? names[op] : NULL;
}

const char *bench_buffers_name(uint32_t buffers)
{
    static const char *const names[BENCH_BUFFERS_COUNT] = {"warm", "cold", "rewritten"};
    return buffers < BENCH_BUFFERS_COUNT ? names[buffers] : NULL;
}

size_t bench_dtype_bytes(uint32_t dtype)
{
    static const size_t bytes[BENCH_DTYPE_COUNT] = {4, 8, 2, 2, 1, 1, 2, 4, 8};
    return dtype < BENCH_DTYPE_COUNT ? bytes[dtype] : 0;
}

/* Blocks that a rank hands in and gets out. */
static void blocks(const struct bench_task *task, uint32_t rank, size_t *in, size_t *out)
{
    size_t is_root = rank == task->root, is_pair = rank < 2, all = task->ranks;
    switch (task->collective) {
    case BENCH_ALLREDUCE:
    case BENCH_ALLREDUCE_NORM:
    case BENCH_CREATE:
        *in = *out = 1;
        return;
    case BENCH_BROADCAST:
        *in = is_root, *out = 1;
        return;
    case BENCH_REDUCE:
        *in = 1, *out = is_root;
        return;
    case BENCH_ALLGATHER:
        *in = 1, *out = all;
        return;
    case BENCH_REDUCE_SCATTER:
        *in = all, *out = 1;
        return;
    case BENCH_ALLTOALL:
        *in = *out = all;
        return;
    case BENCH_GATHER:
        *in = 1, *out = is_root * all;
        return;
    case BENCH_SCATTER:
        *in = is_root * all, *out = 1;
        return;
    case BENCH_SENDRECV:
        *in = *out = is_pair;
        return;
    default:
        *in = *out = 0;
    }
}

static size_t block_bytes(const struct bench_task *task)
{
    return (size_t)task->count * bench_dtype_bytes(task->dtype);
}

size_t bench_in_bytes(const struct bench_task *task, uint32_t rank)
{
    size_t in, out;
    blocks(task, rank, &in, &out);
    return in * block_bytes(task);
}

size_t bench_out_bytes(const struct bench_task *task, uint32_t rank)
{
    size_t in, out;
    blocks(task, rank, &in, &out);
    return out * block_bytes(task);
}

size_t bench_payload_bytes(const struct bench_task *task)
{
    size_t most = 0;
    for (uint32_t rank = 0; rank < task->ranks; rank++) {
        size_t in = bench_in_bytes(task, rank), out = bench_out_bytes(task, rank);
        most = in > most ? in : most;
        most = out > most ? out : most;
    }
    return most;
}

/* 0 to 126. Linear in source and destination with factors that tell any two pairs, and a pair and
 * its transpose, apart; within 127 elements it steps, and from one 127 to the next it jumps. */
static unsigned code(uint64_t source, uint64_t destination, uint64_t index)
{
    uint64_t far = index / PRIME * UINT64_C(0x9e3779b97f4a7c15) >> 40;
    return (unsigned)((index % PRIME * 5 + far + source * 11 + destination * 37) % PRIME);
}

/* What @source hands in for a reduction. */
static int term(const struct bench_task *task, uint32_t source, uint64_t destination,
                uint64_t index)
{
    int c = (int)code(source, destination, index), n = (int)task->ranks, most;
    switch (task->op) {
    case BENCH_MIN:
    case BENCH_MAX:
        return 1 + c;
    case BENCH_PROD:
        return source < 6 ? 1 + c % 2 : 1; /* 64 at most */
    case BENCH_AVG:
        most = EXACT_IN_BF16 / (n * n);
        return n * (1 + c % (most < 2 ? 2 : most)); /* so that the quotient is an integer */
    default:
        most = EXACT_IN_BF16 / n;
        return 1 + c % (most > PRIME ? PRIME : most);
    }
}

static int64_t combined(const struct bench_task *task, uint64_t destination, uint64_t index)
{
    int64_t value = term(task, 0, destination, index);
    for (uint32_t r = 1; r < task->ranks; r++) {
        int64_t next = term(task, r, destination, index);
        value = task->op == BENCH_MIN    ? (next < value ? next : value)
                : task->op == BENCH_MAX  ? (next > value ? next : value)
                : task->op == BENCH_PROD ? value * next
                                         : value + next;
    }
    return task->op == BENCH_AVG ? value / task->ranks : value;
}

uint16_t bench_fp16(float exact)
{
    uint32_t bits;
    memcpy(&bits, &exact, sizeof bits);
    uint32_t sign = bits >> 16 & 0x8000, rest = bits >> 13 & 0x3ffff; /* exponent and fraction */
    return (uint16_t)(exact == 0 ? sign : sign | (rest - ((127 - 15) << 10)));
}

static void put_float(char *at, uint32_t dtype, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint16_t half = dtype == BENCH_BF16 ? (uint16_t)(bits >> 16) : bench_fp16(value);
    if (dtype == BENCH_FP32)
        memcpy(at, &value, sizeof value);
    else
        memcpy(at, &half, sizeof half);
}

static void put(char *at, uint32_t dtype, int64_t value)
{
    double d = (double)value;
    int32_t word = (int32_t)value;
    int16_t half = (int16_t)value;
    int8_t byte = (int8_t)value;
    const void *const integers[] = {[1] = &byte, [2] = &half, [4] = &word, [8] = &value};
    if (dtype == BENCH_FP64)
        memcpy(at, &d, sizeof d);
    else if (dtype == BENCH_FP32 || dtype == BENCH_BF16 || dtype == BENCH_FP16)
        put_float(at, dtype, (float)value);
    else
        memcpy(at, integers[bench_dtype_bytes(dtype)], bench_dtype_bytes(dtype));
}

static int is_reduction(const struct bench_task *task)
{
    return task->collective == BENCH_ALLREDUCE || task->collective == BENCH_REDUCE ||
           task->collective == BENCH_REDUCE_SCATTER;
}

void bench_fill(const struct bench_task *task, uint32_t rank, void *in, void *out)
{
    size_t element = bench_dtype_bytes(task->dtype), in_blocks, out_blocks;
    blocks(task, rank, &in_blocks, &out_blocks);
    memset(out, 0xa5, bench_payload_bytes(task));
    for (size_t b = 0; b < in_blocks; b++)
        for (uint64_t i = 0; i < task->count; i++)
            put((char *)in + (b * task->count + i) * element, task->dtype,
                is_reduction(task) ? term(task, rank, b, i) : 1 + (int64_t)code(rank, b, i));
}

/* What element @i of block @block has to be at @rank. */
static int64_t wanted(const struct bench_task *task, uint32_t rank, size_t block, uint64_t i)
{
    switch (task->collective) {
    case BENCH_ALLREDUCE:
    case BENCH_REDUCE:
        return combined(task, 0, i);
    case BENCH_REDUCE_SCATTER:
        return combined(task, rank, i);
    case BENCH_BROADCAST:
        return 1 + (int64_t)code(task->root, 0, i);
    case BENCH_SCATTER:
        return 1 + (int64_t)code(task->root, rank, i);
    case BENCH_ALLTOALL:
        return 1 + (int64_t)code(block, rank, i);
    case BENCH_SENDRECV:
        return 1 + (int64_t)code(1 - rank, 0, i);
    default: /* gather, allgather */
        return 1 + (int64_t)code(block, 0, i);
    }
}

int64_t bench_check(const struct bench_task *task, uint32_t rank, const void *out)
{
    size_t element = bench_dtype_bytes(task->dtype), in_blocks, out_blocks;
    char right[8];
    blocks(task, rank, &in_blocks, &out_blocks);
    for (size_t b = 0; b < out_blocks; b++)
        for (uint64_t i = 0; i < task->count; i++) {
            put(right, task->dtype, wanted(task, rank, b, i));
            if (memcmp((const char *)out + (b * task->count + i) * element, right, element) != 0)
                return (int64_t)(b * task->count + i);
        }
    return -1;
}

void bench_clear(const struct bench_task *task, void *in, void *out)
{
    memset(in, 0, bench_payload_bytes(task));
    memset(out, 0, bench_payload_bytes(task));
}

#if defined(__x86_64__)
__attribute__((target("clflushopt"))) static void flush_weakly_ordered(const char *at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += LINE_BYTES)
        __builtin_ia32_clflushopt(at + i);
}

static void flush(const char *at, size_t bytes)
{
    at -= (uintptr_t)at % LINE_BYTES;
    bytes += LINE_BYTES;
    if (__builtin_cpu_supports("clflushopt"))
        flush_weakly_ordered(at, bytes);
    else
        for (size_t i = 0; i < bytes; i += LINE_BYTES)
            __builtin_ia32_clflush(at + i);
    __builtin_ia32_mfence();
}
#elif defined(__aarch64__)
static void flush(const char *at, size_t bytes)
{
    at -= (uintptr_t)at % LINE_BYTES;
    for (size_t i = 0; i < bytes + LINE_BYTES; i += LINE_BYTES)
        __asm__ __volatile__("dc civac, %0" : : "r"(at + i) : "memory");
    __asm__ __volatile__("dsb ish" : : : "memory");
}
#else
/* No instruction for it: more than the caches hold is written, which pushes the rest out. */
static void flush(const char *at, size_t bytes)
{
    (void)at;
    (void)bytes;
    long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    size_t sweep = cache > 0 ? 2 * (size_t)cache : (size_t)64 << 20;
    void *memory = mmap(NULL, sweep, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return;
    memset(memory, 1, sweep);
    munmap(memory, sweep);
}
#endif

void bench_prepare(const struct bench_task *task, uint32_t rank, void *in, void *out)
{
    if (task->buffers == BENCH_COLD) {
        flush(in, bench_in_bytes(task, rank));
        flush(out, bench_out_bytes(task, rank));
    } else if (task->buffers == BENCH_REWRITTEN) {
        memset(in, 0x3c, bench_in_bytes(task, rank)); /* an ordinary number in every type */
    }
}
