/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_rungs.c - how long a sum of two vectors takes with each rung, beside memcpy of the same
 * bytes written: one table, for vectors that stay in L1, in L2, and in neither.
 *
 * Usage: bench_rungs [bytes of a vector]... ; sizes that follow from the caches unless given. All
 * take turns, and each figure is the median over the turns of the quotient of one: so that what
 * else the machine does meets both. One thread; run it pinned to a core.
 */
#include "inputs.h"
#include "rungs.h"
#include "timing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TURNS = 31, TURNS_OF_LARGE = 9, BATCH_NS = 100000, TERMS = 2 };
enum { LARGE_BYTES = 8 << 20, IN_MEMORY_BYTES = 64 << 20 };

static const enum shmrt_dtype dtypes[] = {SHMRT_FLOAT32, SHMRT_FLOAT64, SHMRT_BFLOAT16,
                                          SHMRT_FLOAT16, SHMRT_INT8};
enum { DTYPES = sizeof dtypes / sizeof dtypes[0] };

/* What a turn does: the first is memcpy, whose kernels are NULL. */
struct work {
    const struct shmrt_kernels *kernels;
    enum shmrt_dtype dtype;
    int runs;           /* of a batch */
    double seen[TURNS]; /* times of memcpy; of the others the quotients by it */
    double median;
};

/* Vectors of a type's ones, so that no sum is a subnormal, which costs more, or overflows. */
struct vectors {
    size_t bytes;
    char *out;
    char *in[DTYPES][TERMS];
};

static int column_of(enum shmrt_dtype dtype)
{
    int column = 0;
    while (dtypes[column] != dtype)
        column++;
    return column;
}

static void run(const struct work *work, const struct vectors *vectors)
{
    char *const *in = vectors->in[column_of(work->dtype)];
    size_t count = vectors->bytes / shmrt_dtype_bytes(work->dtype);
    void *out = vectors->out;
    if (work->kernels)
        shmrt_kernels_reduce_to(work->kernels, work->dtype, SHMRT_SUM, &out, 1,
                                (const void *const *)in, NULL, TERMS, count);
    else
        memcpy(out, in[0], vectors->bytes);
    __asm__ __volatile__("" : : "r"(out) : "memory");
}

/* Nanoseconds of one run. */
static double time_batch(const struct work *work, const struct vectors *vectors)
{
    run(work, vectors); /* brings its inputs into the cache, where they fit */
    double start = now_ns();
    for (int i = 0; i < work->runs; i++)
        run(work, vectors);
    return (now_ns() - start) / work->runs;
}

/* Long enough that neither the clock nor registers that wake up matter. */
static void set_runs(struct work *work, const struct vectors *vectors)
{
    work->runs = 1;
    while (time_batch(work, vectors) * work->runs < BATCH_NS)
        work->runs *= 2;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* All of @works in turn, each beside a memcpy of its own. */
static void take_turns(struct work *works, int n, const struct vectors *vectors)
{
    int turns = vectors->bytes < LARGE_BYTES ? TURNS : TURNS_OF_LARGE;
    for (int w = 0; w < n; w++)
        set_runs(&works[w], vectors);
    for (int turn = 0; turn < turns; turn++)
        for (int w = 1; w < n; w++) {
            double memcpy_ns = time_batch(&works[0], vectors);
            works[0].seen[turn] = memcpy_ns;
            works[w].seen[turn] = time_batch(&works[w], vectors) / memcpy_ns;
        }
    for (int w = 0; w < n; w++) {
        qsort(works[w].seen, (size_t)turns, sizeof works[w].seen[0], compare);
        works[w].median = works[w].seen[turns / 2];
    }
}

static char *allocate(size_t bytes)
{
    char *vector = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (!vector) {
        fprintf(stderr, "bench_rungs: no memory for vectors of %zu bytes\n", bytes);
        exit(EXIT_FAILURE);
    }
    memset(vector, 0, bytes);
    return vector;
}

static struct vectors vectors_make(size_t bytes)
{
    static const uint64_t one[SHMRT_DTYPE_COUNT] = {
        [SHMRT_FLOAT32] = 0x3f800000,
        [SHMRT_FLOAT64] = 0x3ff0000000000000,
        [SHMRT_BFLOAT16] = 0x3f80,
        [SHMRT_FLOAT16] = 0x3c00,
        [SHMRT_INT8] = 1,
    };
    struct vectors vectors = {.bytes = bytes, .out = allocate(bytes)};
    for (int d = 0; d < DTYPES; d++)
        for (int k = 0; k < TERMS; k++) {
            vectors.in[d][k] = allocate(bytes);
            inputs_repeat(vectors.in[d][k], bytes / shmrt_dtype_bytes(dtypes[d]), dtypes[d],
                          one[dtypes[d]]);
        }
    return vectors;
}

static void vectors_free(struct vectors *vectors)
{
    free(vectors->out);
    for (int d = 0; d < DTYPES; d++)
        for (int k = 0; k < TERMS; k++)
            free(vectors->in[d][k]);
}

static void bench(const struct rungs *rungs, size_t bytes)
{
    struct work works[1 + RUNGS_MAX * DTYPES];
    struct vectors vectors = vectors_make(bytes);
    int n = 1;
    works[0] = (struct work){.dtype = dtypes[0]};
    for (int r = 0; r < rungs->count; r++)
        for (int d = 0; d < DTYPES; d++)
            works[n++] = (struct work){.kernels = &rungs->kernels[r], .dtype = dtypes[d]};
    take_turns(works, n, &vectors);
    for (int r = 0; r < rungs->count; r++) {
        printf("| %zu KiB | %s |", bytes / 1024, rungs->kernels[r].name);
        for (int d = 0; d < DTYPES; d++)
            printf(" %.2f |", works[1 + r * DTYPES + d].median);
        printf("\n");
    }
    printf("| %zu KiB | memcpy writes %.0f GB/s |%.*s\n", bytes / 1024,
           (double)bytes / works[0].median, 4 * DTYPES, " - | - | - | - | - | - | - | - |");
    fflush(stdout);
    vectors_free(&vectors);
}

/* Bytes of a cache, or what most CPUs have where the C library can't tell. */
static size_t cache_bytes(int name, size_t usual)
{
    long bytes = sysconf(name);
    return bytes > 0 ? (size_t)bytes : usual;
}

int main(int argc, char **argv)
{
    struct rungs rungs = rungs_here();
    rungs_print(&rungs);
    printf("\n| vector | rung |");
    for (int d = 0; d < DTYPES; d++)
        printf(" %s |", shmrt_dtype_name(dtypes[d]));
    printf("\n|---|---|%.*s\n", 4 * DTYPES, "---|---|---|---|---|---|---|---|");
    for (int i = 1; i < argc; i++)
        bench(&rungs, strtoull(argv[i], NULL, 10) / 4096 * 4096);
    if (argc > 1)
        return EXIT_SUCCESS;
    /* Two terms and the result fill three quarters of L1, and of half of L2. */
    bench(&rungs, cache_bytes(_SC_LEVEL1_DCACHE_SIZE, 32768) / 4 / 4096 * 4096);
    bench(&rungs, cache_bytes(_SC_LEVEL2_CACHE_SIZE, 524288) / 8 / 4096 * 4096);
    bench(&rungs, IN_MEMORY_BYTES);
    return EXIT_SUCCESS;
}
