/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dispatch.c - the ladder of rungs: chooses one for this CPU and runs its kernels.
 *
 * Every rung is known by name in every build, so that a message can tell "no such rung" from "not
 * here". A rung needs what the rungs below it need.
 */
#include "cpu.h"
#include "fpenv.h"
#include "norm.h"
#include "rungs.h"

#include <errno.h>
#include <string.h>

#ifdef SHMRT_WITH_AVX2
#define AVX2_KERNELS &shmrt_kernels_avx2
#define AVX2_NORMS   shmrt_norms_avx2
#else
#define AVX2_KERNELS NULL
#define AVX2_NORMS   NULL
#endif
#ifdef SHMRT_WITH_AVX512
#define AVX512_KERNELS &shmrt_kernels_avx512
#define AVX512_NORMS   shmrt_norms_avx512
#else
#define AVX512_KERNELS NULL
#define AVX512_NORMS   NULL
#endif
#ifdef SHMRT_WITH_AVX512FP16
#define AVX512FP16_KERNELS &shmrt_kernels_avx512fp16
#else
#define AVX512FP16_KERNELS NULL
#endif

/* From the slowest up. */
static const struct {
    const char *name;
    unsigned int needs;
    const struct shmrt_kernels *kernels; /* NULL: not in this build */
    const shmrt_norm_fn *norms;          /* NULL: those of the rung below */
} ladder[] = {
    {"reference", 0, &shmrt_kernels_reference, shmrt_norms_reference},
    {"avx2", SHMRT_CPU_AVX2, AVX2_KERNELS, AVX2_NORMS},
    {"avx512", SHMRT_CPU_AVX2 | SHMRT_CPU_AVX512, AVX512_KERNELS, AVX512_NORMS},
    {"avx512fp16", SHMRT_CPU_AVX2 | SHMRT_CPU_AVX512 | SHMRT_CPU_AVX512FP16, AVX512FP16_KERNELS,
     NULL},
};

enum { RUNGS = sizeof ladder / sizeof ladder[0], BLOCK_BYTES = 4096 };

static int runs_here(int rung, unsigned int flags)
{
    return ladder[rung].kernels && (ladder[rung].needs & ~flags) == 0;
}

/* Lays @rung's kernels over those of the rungs below it. */
static void overlay(const struct shmrt_kernels *rung, const shmrt_norm_fn *norms,
                    struct shmrt_kernels *out)
{
    out->name = rung->name;
    for (int dtype = 0; dtype < SHMRT_DTYPE_COUNT; dtype++) {
        for (int op = 0; op < SHMRT_OP_COUNT; op++)
            if (rung->reduce[dtype][op])
                out->reduce[dtype][op] = rung->reduce[dtype][op];
        if (norms && norms[dtype])
            out->norm[dtype] = norms[dtype];
    }
}

/* Index of the highest rung to use, or a negative errno value. */
static int find_top(unsigned int flags, const char *forced)
{
    int rung = RUNGS - 1;
    if (!forced || strcmp(forced, "auto") == 0)
        return rung;
    while (rung >= 0 && strcmp(forced, ladder[rung].name) != 0)
        rung--;
    if (rung < 0)
        return -EINVAL;
    return runs_here(rung, flags) ? rung : -ENOTSUP;
}

int shmrt_kernels_choose_for(unsigned int flags, const char *forced, struct shmrt_kernels *out)
{
    int top = find_top(flags, forced);
    if (top < 0)
        return top;
    memset(out, 0, sizeof *out);
    for (int rung = 0; rung <= top; rung++)
        if (runs_here(rung, flags))
            overlay(ladder[rung].kernels, ladder[rung].norms, out);
    return 0;
}

int shmrt_kernels_choose(const char *forced, struct shmrt_kernels *out)
{
    return shmrt_kernels_choose_for(shmrt_cpu_flags(), forced, out);
}

const char *shmrt_kernels_rung(int i)
{
    return i >= 0 && i < RUNGS ? ladder[i].name : NULL;
}

void shmrt_kernels_reduce(const struct shmrt_kernels *kernels, enum shmrt_dtype dtype,
                          enum shmrt_op op, void *out, const void *const *in, int n, size_t count)
{
    struct shmrt_fpenv env = shmrt_fpenv_enter();
    kernels->reduce[dtype][op](out, in, n, count);
    shmrt_fpenv_leave(env);
}

/* @pointer, which may be NULL, @bytes further on. */
static const void *past(const void *pointer, size_t bytes)
{
    return pointer ? (const char *)pointer + bytes : NULL;
}

/* One block of elements, @at bytes into every vector; all terms are read before a copy is made. */
static void reduce_block(shmrt_reduce_fn reduce, void *const *outs, int outs_n,
                         const void *const *in, int n, size_t at, size_t count, size_t bytes)
{
    const void *terms[SHMRT_MAX_RANKS];
    for (int k = 0; k < n; k++)
        terms[k] = (const char *)in[k] + at;
    char *first = (char *)outs[0] + at;
    reduce(first, terms, n, count);
    for (int i = 1; i < outs_n; i++)
        memcpy((char *)outs[i] + at, first, bytes);
}

/*
 * Blocks go from the first destination to the others while they lie in L1. Measured with two ranks
 * that write each other's tensors, in place, on a machine with a slow path between cores: 256 KiB
 * take 9.4 us in blocks of 4 KiB, 9.8 in blocks of 16 KiB, 9.7 with all stores in the kernel's
 * loop, 11.9 reduced whole and then copied; 1 MiB, when the two tensors lie a multiple of 4 KiB
 * apart, 47, 45, 57 and 54 us. So the kernels need to know of one destination only.
 */
void shmrt_kernels_reduce_to(const struct shmrt_kernels *kernels, enum shmrt_dtype dtype,
                             enum shmrt_op op, void *const *outs, int outs_n, const void *const *in,
                             int n, size_t count)
{
    shmrt_reduce_fn reduce = kernels->reduce[dtype][op];
    size_t element_bytes = shmrt_dtype_bytes(dtype);
    size_t block = outs_n > 1 ? BLOCK_BYTES / element_bytes : count;
    struct shmrt_fpenv env = shmrt_fpenv_enter();
    for (size_t begin = 0; begin < count; begin += block) {
        size_t part = count - begin < block ? count - begin : block;
        reduce_block(reduce, outs, outs_n, in, n, begin * element_bytes, part,
                     part * element_bytes);
    }
    shmrt_fpenv_leave(env);
}

void shmrt_kernels_norm(const struct shmrt_kernels *kernels, const struct shmrt_norm_args *args,
                        size_t first, size_t rows)
{
    size_t skipped = first * args->columns * shmrt_dtype_bytes(args->dtype);
    struct shmrt_norm_args some = *args;
    some.in = past(args->in, skipped);
    some.residual = past(args->residual, skipped);
    some.sum_out = (char *)args->sum_out + skipped;
    some.out = (char *)args->out + skipped;
    some.rows = rows;
    struct shmrt_fpenv env = shmrt_fpenv_enter();
    kernels->norm[args->dtype](&some);
    shmrt_fpenv_leave(env);
}
