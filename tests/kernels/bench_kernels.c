/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_kernels.c - the speed of every kernel beside memcpy, in GB/s of bytes read and written.
 *
 * Usage: bench_kernels [bytes of a vector] [terms]; 65536 and 2 unless given. The best of many
 * short runs on one core; vectors stay in whatever cache they fit.
 */
#include "inputs.h"
#include "rungs.h"
#include "timing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCHES = 20, BATCH_NS = 200000 };

struct work {
    const struct shmrt_kernels *kernels; /* NULL: memcpy */
    enum shmrt_dtype dtype;
    enum shmrt_op op;
    char *out;
    char *in[SHMRT_MAX_RANKS];
    int n;
    size_t bytes;
};

/* The bits of 1. */
static const uint64_t one[SHMRT_DTYPE_COUNT] = {
    [SHMRT_FLOAT32] = 0x3f800000,
    [SHMRT_FLOAT64] = 0x3ff0000000000000,
    [SHMRT_BFLOAT16] = 0x3f80,
    [SHMRT_FLOAT16] = 0x3c00,
    [SHMRT_INT8] = 1,
    [SHMRT_UINT8] = 1,
    [SHMRT_INT16] = 1,
    [SHMRT_INT32] = 1,
    [SHMRT_INT64] = 1,
};

static void run(const struct work *work)
{
    if (!work->kernels) {
        memcpy(work->out, work->in[0], work->bytes);
        __asm__ __volatile__("" : : "r"(work->out) : "memory");
        return;
    }
    rungs_reduce(work->kernels, work->dtype, work->op, work->out, (const void *const *)work->in,
                 work->n, work->bytes / shmrt_dtype_bytes(work->dtype));
}

/* Nanoseconds of one run, in the best batch. */
static double measure(const struct work *work)
{
    double start = now_ns(), best = 1e30;
    run(work);
    double once = now_ns() - start;
    int runs = once < BATCH_NS ? (int)(BATCH_NS / (once + 1)) + 1 : 1;
    for (int batch = 0; batch < BATCHES; batch++) {
        start = now_ns();
        for (int i = 0; i < runs; i++)
            run(work);
        double each = (now_ns() - start) / runs;
        best = each < best ? each : best;
    }
    return best;
}

static void bench_rung(struct work *work, const struct shmrt_kernels *kernels)
{
    printf("%-10s %-9s", kernels->name, "");
    for (int op = 0; op < SHMRT_OP_COUNT; op++)
        printf("%8s", shmrt_op_name(op));
    printf("\n");
    for (int dtype = 0; dtype < SHMRT_DTYPE_COUNT; dtype++) {
        for (int k = 0; k < work->n; k++)
            inputs_repeat(work->in[k], work->bytes / shmrt_dtype_bytes(dtype), dtype, one[dtype]);
        printf("%-10s %-9s", "", shmrt_dtype_name(dtype));
        for (int op = 0; op < SHMRT_OP_COUNT; op++) {
            if (!kernels->reduce[dtype][op])
                continue;
            work->kernels = kernels;
            work->dtype = dtype;
            work->op = op;
            printf("%8.1f", (double)work->bytes * (work->n + 1) / measure(work));
        }
        printf("\n");
    }
}

static char *allocate(size_t bytes)
{
    char *vector = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (!vector) {
        fprintf(stderr, "bench_kernels: no memory for vectors of %zu bytes\n", bytes);
        exit(EXIT_FAILURE);
    }
    memset(vector, 0, bytes);
    return vector;
}

int main(int argc, char **argv)
{
    struct work work = {.bytes = argc > 1 ? strtoull(argv[1], NULL, 10) : 65536,
                        .n = argc > 2 ? atoi(argv[2]) : 2};
    if (work.bytes == 0 || work.n < 1 || work.n > SHMRT_MAX_RANKS) {
        fprintf(stderr, "usage: bench_kernels [bytes of a vector] [terms, 1 to %d]\n",
                SHMRT_MAX_RANKS);
        return EXIT_FAILURE;
    }
    struct rungs rungs = rungs_here();
    rungs_print(&rungs);
    work.out = allocate(work.bytes);
    for (int k = 0; k < work.n; k++)
        work.in[k] = allocate(work.bytes);
    printf("%d vectors of %zu bytes, GB/s read and written; memcpy: %.1f\n", work.n, work.bytes,
           (double)work.bytes * 2 / measure(&work));
    for (int r = 0; r < rungs.count; r++)
        bench_rung(&work, &rungs.kernels[r]);
    free(work.out);
    for (int k = 0; k < work.n; k++)
        free(work.in[k]);
    return EXIT_SUCCESS;
}
