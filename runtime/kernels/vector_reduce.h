/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vector_reduce.h - the loops of a vector rung, for one element type (L1)
 *
 * Included once for each type, with TYPE as its prefix and TYPE_BYTES as its size. The file that
 * includes it defines, for its instruction set:
 *   raw, RAW_BYTES                           a register as it lies in memory
 *   raw_load(at), raw_store(at, raw)         whole, of any alignment
 *   raw_load_part, raw_store_part            only the first bytes; the rest is not touched
 * and for the type:
 *   TYPE_vec                                 accumulator of RAW_BYTES of elements
 *   TYPE_load(at), TYPE_store(at, vec)       whole, of any alignment
 *   TYPE_unpack(raw), TYPE_pack(vec)         the same, of a register
 *   TYPE_combine(op, vec, vec)               one step
 *   TYPE_finish(op, vec, ranks)              after the last: average, canonical NaN
 *   TYPE_finish_four(op, &vec, ..., ranks)   the same for four at once, in place
 *
 * A block is read from all terms before it is written, so out may be one of them, and is written
 * once.
 */
#define PASTE(a, b)  a##b
#define EXPAND(a, b) PASTE(a, b)
#define T(name)      EXPAND(TYPE, name)

SHMRT_INLINE T(_vec) T(_at)(const void *const *in, int k, size_t at)
{
    return T(_load)((const char *)in[k] + at);
}

/* Four at once, so that the latency of one chain of sums hides behind the others. */
SHMRT_INLINE void T(_four)(enum shmrt_op op, char *out, const void *const *in, int n, int ranks,
                           size_t at)
{
    T(_vec) a = T(_at)(in, 0, at);
    T(_vec) b = T(_at)(in, 0, at + RAW_BYTES);
    T(_vec) c = T(_at)(in, 0, at + 2 * RAW_BYTES);
    T(_vec) d = T(_at)(in, 0, at + 3 * RAW_BYTES);
    for (int k = 1; k < n; k++) {
        a = T(_combine)(op, a, T(_at)(in, k, at));
        b = T(_combine)(op, b, T(_at)(in, k, at + RAW_BYTES));
        c = T(_combine)(op, c, T(_at)(in, k, at + 2 * RAW_BYTES));
        d = T(_combine)(op, d, T(_at)(in, k, at + 3 * RAW_BYTES));
    }
    T(_finish_four)(op, &a, &b, &c, &d, ranks);
    T(_store)(out + at, a);
    T(_store)(out + at + RAW_BYTES, b);
    T(_store)(out + at + 2 * RAW_BYTES, c);
    T(_store)(out + at + 3 * RAW_BYTES, d);
}

SHMRT_INLINE void T(_one)(enum shmrt_op op, char *out, const void *const *in, int n, int ranks,
                          size_t at)
{
    T(_vec) a = T(_at)(in, 0, at);
    for (int k = 1; k < n; k++)
        a = T(_combine)(op, a, T(_at)(in, k, at));
    T(_store)(out + at, T(_finish)(op, a, ranks));
}

SHMRT_INLINE void T(_part)(enum shmrt_op op, char *out, const void *const *in, int n, int ranks,
                           size_t at, size_t bytes)
{
    T(_vec) a = T(_unpack)(raw_load_part((const char *)in[0] + at, bytes));
    for (int k = 1; k < n; k++)
        a = T(_combine)(op, a, T(_unpack)(raw_load_part((const char *)in[k] + at, bytes)));
    raw_store_part(out + at, T(_pack)(T(_finish)(op, a, ranks)), bytes);
}

SHMRT_INLINE void T(_reduce)(enum shmrt_op op, void *out, const void *const *in, int n, int ranks,
                             size_t count)
{
    size_t bytes = count * TYPE_BYTES, at = 0;
    for (; bytes - at >= 4 * RAW_BYTES; at += 4 * RAW_BYTES)
        T(_four)(op, out, in, n, ranks, at);
    for (; bytes - at >= RAW_BYTES; at += RAW_BYTES)
        T(_one)(op, out, in, n, ranks, at);
    if (at < bytes)
        T(_part)(op, out, in, n, ranks, at, bytes - at);
}

#undef T
#undef EXPAND
#undef PASTE
#undef TYPE
#undef TYPE_BYTES
