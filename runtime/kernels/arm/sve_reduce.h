/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sve_reduce.h - the loop of one kernel for SVE (L1)
 *
 * Included once for each kernel, with NAME as its name, ACC as the prefix of its accumulators,
 * FROM and TO as those of its elements in memory. The file that includes it defines:
 *   ACC_vec, ACC_lanes()                         a register, and how many elements it holds
 *   ACC_until(i, count)                          predicate: those of elements i on before count
 *   ACC_combine(op, vec, vec)                    one step
 *   ACC_finish(op, &vec, ..., ranks)             after the last, four at once: average,
 *                                                canonical NaN
 *   FROM_load(lanes, in, i, k)                   the k-th register of elements i on; 0 in lanes
 *                                                that the predicate leaves out
 *   TO_store(in_a, in_b, out, i, vec a, vec b)   two registers' elements, i on
 *
 * A block is read from all terms before it is written, so out may be one of them, and is written
 * once. Lanes are not accessed where the predicate is false, and cannot fault.
 */
#define PASTE(a, b)     a##b
#define EXPAND(a, b)    PASTE(a, b)
#define WITH(x, suffix) EXPAND(x, suffix)

/* Four at once, so that the latency of one chain of sums hides behind the others. */
SHMRT_INLINE void WITH(NAME, _block)(enum shmrt_op op, void *out, const void *const *in, int n,
                                     int ranks, size_t i, svbool_t in_a, svbool_t in_b,
                                     svbool_t in_c, svbool_t in_d)
{
    WITH(ACC, _vec) a = WITH(FROM, _load)(in_a, in[0], i, 0);
    WITH(ACC, _vec) b = WITH(FROM, _load)(in_b, in[0], i, 1);
    WITH(ACC, _vec) c = WITH(FROM, _load)(in_c, in[0], i, 2);
    WITH(ACC, _vec) d = WITH(FROM, _load)(in_d, in[0], i, 3);
    for (int k = 1; k < n; k++) {
        a = WITH(ACC, _combine)(op, a, WITH(FROM, _load)(in_a, in[k], i, 0));
        b = WITH(ACC, _combine)(op, b, WITH(FROM, _load)(in_b, in[k], i, 1));
        c = WITH(ACC, _combine)(op, c, WITH(FROM, _load)(in_c, in[k], i, 2));
        d = WITH(ACC, _combine)(op, d, WITH(FROM, _load)(in_d, in[k], i, 3));
    }
    WITH(ACC, _finish)(op, &a, &b, &c, &d, ranks);
    WITH(TO, _store)(in_a, in_b, out, i, a, b);
    WITH(TO, _store)(in_c, in_d, out, i + 2 * WITH(ACC, _lanes)(), c, d);
}

SHMRT_INLINE void NAME(enum shmrt_op op, void *out, const void *const *in, int n, int ranks,
                       size_t count)
{
    size_t lanes = WITH(ACC, _lanes)(), i = 0;
    svbool_t all = svptrue_b8();
    for (; count - i >= 4 * lanes; i += 4 * lanes)
        WITH(NAME, _block)(op, out, in, n, ranks, i, all, all, all, all);
    if (i < count)
        WITH(NAME, _block)(op, out, in, n, ranks, i, WITH(ACC, _until)(i, count),
                           WITH(ACC, _until)(i + lanes, count),
                           WITH(ACC, _until)(i + 2 * lanes, count),
                           WITH(ACC, _until)(i + 3 * lanes, count));
}

#undef WITH
#undef EXPAND
#undef PASTE
#undef NAME
#undef ACC
#undef FROM
#undef TO
