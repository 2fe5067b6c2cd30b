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

#include "base/attributes.h"

#include <errno.h>
#include <string.h>

/* The build defines SHMRT_WITH_AVX2 and so on as 1 or 0. */
#define IF_1(pointer)        (pointer)
#define IF_0(pointer)        NULL
#define IF_VALUE(n, pointer) IF_##n(pointer)
#define IF(n, pointer)       IF_VALUE(n, pointer)

/* What the rungs of x86-64 need. */
enum {
    NEEDS_SSE2 = SHMRT_CPU_SSE2,
    NEEDS_AVX2 = NEEDS_SSE2 | SHMRT_CPU_AVX2,
    NEEDS_AVX512 = NEEDS_AVX2 | SHMRT_CPU_AVX512,
    NEEDS_AVX512FP16 = NEEDS_AVX512 | SHMRT_CPU_AVX512FP16,
};

/* From the slowest up, of all architectures; a CPU has flags of its own only. */
static const struct {
    const char *name;
    unsigned int needs;
    const struct shmrt_kernels *kernels; /* NULL: not in this build */
    const shmrt_norm_fn *norms;          /* NULL: those of the rung below */
} ladder[] = {
    {"reference", 0, &shmrt_kernels_reference, shmrt_norms_reference},
    {"sse2", NEEDS_SSE2, IF(SHMRT_WITH_SSE2, &shmrt_kernels_sse2),
     IF(SHMRT_WITH_SSE2, shmrt_norms_sse2)},
    {"avx2", NEEDS_AVX2, IF(SHMRT_WITH_AVX2, &shmrt_kernels_avx2),
     IF(SHMRT_WITH_AVX2, shmrt_norms_avx2)},
    {"avx512", NEEDS_AVX512, IF(SHMRT_WITH_AVX512, &shmrt_kernels_avx512),
     IF(SHMRT_WITH_AVX512, shmrt_norms_avx512)},
    {"avx512fp16", NEEDS_AVX512FP16, IF(SHMRT_WITH_AVX512FP16, &shmrt_kernels_avx512fp16), NULL},
    {"neon", SHMRT_CPU_NEON, IF(SHMRT_WITH_NEON, &shmrt_kernels_neon),
     IF(SHMRT_WITH_NEON, shmrt_norms_neon)},
    {"neonfp16", SHMRT_CPU_NEON | SHMRT_CPU_NEONFP16,
     IF(SHMRT_WITH_NEONFP16, &shmrt_kernels_neonfp16), NULL},
    {"neonbf16", SHMRT_CPU_NEON | SHMRT_CPU_NEONBF16,
     IF(SHMRT_WITH_NEONBF16, &shmrt_kernels_neonbf16),
     IF(SHMRT_WITH_NEONBF16, shmrt_norms_neonbf16)},
    {"sve", SHMRT_CPU_NEON | SHMRT_CPU_SVE, IF(SHMRT_WITH_SVE, &shmrt_kernels_sve), NULL},
    {"svebf16", SHMRT_CPU_NEON | SHMRT_CPU_SVE | SHMRT_CPU_SVEBF16,
     IF(SHMRT_WITH_SVEBF16, &shmrt_kernels_svebf16), NULL},
    {"rvv", SHMRT_CPU_RVV, IF(SHMRT_WITH_RVV, &shmrt_kernels_rvv),
     IF(SHMRT_WITH_RVV, shmrt_norms_rvv)},
};

enum {
    RUNGS = sizeof ladder / sizeof ladder[0],
    BLOCK_BYTES = 4096,
    WIDE_BLOCK_BYTES = 2 * BLOCK_BYTES
};

static int runs_here(int rung, unsigned int flags)
{
    return ladder[rung].kernels && (ladder[rung].needs & ~flags) == 0;
}

static void overlay_entry(const struct shmrt_kernels *rung, struct shmrt_kernels *out, int dtype,
                          int op)
{
    if (rung->reduce[dtype][op])
        out->reduce[dtype][op] = rung->reduce[dtype][op];
    if (rung->partial[dtype][op])
        out->partial[dtype][op] = rung->partial[dtype][op];
    if (rung->total[dtype][op])
        out->total[dtype][op] = rung->total[dtype][op];
}

/* Lays @rung's kernels over those of the rungs below it. */
static void overlay(const struct shmrt_kernels *rung, const shmrt_norm_fn *norms,
                    struct shmrt_kernels *out)
{
    out->name = rung->name;
    for (int dtype = 0; dtype < SHMRT_DTYPE_COUNT; dtype++) {
        for (int op = 0; op < SHMRT_OP_COUNT; op++)
            overlay_entry(rung, out, dtype, op);
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

static bool is_half(enum shmrt_dtype dtype)
{
    return dtype == SHMRT_BFLOAT16 || dtype == SHMRT_FLOAT16;
}

bool shmrt_kernels_order_matters(enum shmrt_dtype dtype, enum shmrt_op op)
{
    bool is_float = is_half(dtype) || dtype == SHMRT_FLOAT32 || dtype == SHMRT_FLOAT64;
    return is_float && op != SHMRT_MIN && op != SHMRT_MAX;
}

size_t shmrt_kernels_partial_bytes(enum shmrt_dtype dtype, enum shmrt_op op)
{
    bool is_wide = is_half(dtype) && shmrt_kernels_order_matters(dtype, op);
    return is_wide ? sizeof(float) : shmrt_dtype_bytes(dtype);
}

static shmrt_reduce_fn partial_of(const struct shmrt_kernels *kernels, enum shmrt_dtype dtype,
                                  enum shmrt_op op)
{
    enum shmrt_op step = op == SHMRT_AVG ? SHMRT_SUM : op;
    return kernels->partial[dtype][step] ? kernels->partial[dtype][step]
                                         : kernels->reduce[dtype][step];
}

static shmrt_reduce_fn total_of(const struct shmrt_kernels *kernels, enum shmrt_dtype dtype,
                                enum shmrt_op op)
{
    return kernels->total[dtype][op] ? kernels->total[dtype][op] : kernels->reduce[dtype][op];
}

/* How a block of elements is combined; in and out may have elements of different sizes. */
struct reduction {
    const struct shmrt_kernels *kernels;
    enum shmrt_dtype dtype;
    enum shmrt_op op;
    shmrt_reduce_fn reduce;
    const struct shmrt_grouping *grouping; /* NULL: one group */
    int n;
    int ranks;
    size_t in_bytes; /* of an element */
    size_t out_bytes;
};

/*
 * Within the groups, each into a partial result, which are combined on the way: there are never
 * more than two of them, so that a block of each stays in L1.
 */
static void reduce_groups(const struct reduction *r, void *out, const void *const *in, size_t count)
{
    const int *begin = r->grouping->begin;
    shmrt_reduce_fn partial = partial_of(r->kernels, r->dtype, r->op);
    size_t wide = shmrt_kernels_partial_bytes(r->dtype, r->op);
    enum shmrt_dtype wide_dtype = wide == r->out_bytes ? r->dtype : SHMRT_FLOAT32;
    shmrt_reduce_fn join = partial_of(r->kernels, wide_dtype, r->op);
    shmrt_reduce_fn total = total_of(r->kernels, r->dtype, r->op);
    _Alignas(SHMRT_LINE_BYTES) char sum[WIDE_BLOCK_BYTES], next[WIDE_BLOCK_BYTES];
    const void *both[2] = {sum, next};
    partial(sum, in, begin[1], begin[1], count);
    for (int g = 1; g < r->grouping->groups; g++) {
        int terms = begin[g + 1] - begin[g];
        partial(next, in + begin[g], terms, terms, count);
        if (g + 1 < r->grouping->groups)
            join(sum, both, 2, 2, count);
        else
            total(out, both, 2, r->ranks, count);
    }
}

/* Elements @begin .. @begin + @count of every vector; all are read before a copy is made. */
static void reduce_block(const struct reduction *r, void *const *outs, int outs_n,
                         const void *const *in, size_t begin, size_t count)
{
    const void *terms[SHMRT_MAX_RANKS];
    for (int k = 0; k < r->n; k++)
        terms[k] = (const char *)in[k] + begin * r->in_bytes;
    char *first = (char *)outs[0] + begin * r->out_bytes;
    if (r->grouping)
        reduce_groups(r, first, terms, count);
    else
        r->reduce(first, terms, r->n, r->ranks, count);
    for (int i = 1; i < outs_n; i++)
        memcpy((char *)outs[i] + begin * r->out_bytes, first, count * r->out_bytes);
}

/*
 * Blocks go from the first destination to the others while they lie in L1. Measured with two ranks
 * that write each other's tensors, in place, on a machine with a slow path between cores: 256 KiB
 * take 9.4 us in blocks of 4 KiB, 9.8 in blocks of 16 KiB, 9.7 with all stores in the kernel's
 * loop, 11.9 reduced whole and then copied; 1 MiB, when the two tensors lie a multiple of 4 KiB
 * apart, 47, 45, 57 and 54 us. So the kernels need to know of one destination only.
 */
static void reduce_blocks(const struct reduction *r, void *const *outs, int outs_n,
                          const void *const *in, size_t count)
{
    size_t block = outs_n > 1 || r->grouping ? BLOCK_BYTES / r->out_bytes : count;
    struct shmrt_fpenv env = shmrt_fpenv_enter();
    for (size_t begin = 0; begin < count; begin += block) {
        size_t part = count - begin < block ? count - begin : block;
        reduce_block(r, outs, outs_n, in, begin, part);
    }
    shmrt_fpenv_leave(env);
}

void shmrt_kernels_reduce_to(const struct shmrt_kernels *kernels, enum shmrt_dtype dtype,
                             enum shmrt_op op, void *const *outs, int outs_n, const void *const *in,
                             const struct shmrt_grouping *grouping, int n, size_t count)
{
    bool grouped = grouping && grouping->groups > 1 && shmrt_kernels_order_matters(dtype, op);
    size_t bytes = shmrt_dtype_bytes(dtype);
    struct reduction r = {
        kernels, dtype, op,   kernels->reduce[dtype][op], grouped ? grouping : NULL, n,
        n,       bytes, bytes};
    reduce_blocks(&r, outs, outs_n, in, count);
}

void shmrt_kernels_partial(const struct shmrt_kernels *kernels, enum shmrt_dtype dtype,
                           enum shmrt_op op, void *out, const void *const *in, int n, size_t count)
{
    struct reduction r = {kernels,
                          dtype,
                          op,
                          partial_of(kernels, dtype, op),
                          NULL,
                          n,
                          n,
                          shmrt_dtype_bytes(dtype),
                          shmrt_kernels_partial_bytes(dtype, op)};
    reduce_blocks(&r, &out, 1, in, count);
}

void shmrt_kernels_total(const struct shmrt_kernels *kernels, enum shmrt_dtype dtype,
                         enum shmrt_op op, void *const *outs, int outs_n, const void *const *in,
                         int n, int ranks, size_t count)
{
    struct reduction r = {kernels,
                          dtype,
                          op,
                          total_of(kernels, dtype, op),
                          NULL,
                          n,
                          ranks,
                          shmrt_kernels_partial_bytes(dtype, op),
                          shmrt_dtype_bytes(dtype)};
    reduce_blocks(&r, outs, outs_n, in, count);
}

/* @pointer, which may be NULL, @bytes further on. */
static const void *past(const void *pointer, size_t bytes)
{
    return pointer ? (const char *)pointer + bytes : NULL;
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
