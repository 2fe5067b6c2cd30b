/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vector_wide.h - a vector rung's partial results of bf16 or fp16, which are fp32 (L1)
 *
 * Included once for each type, with TYPE as its prefix, after vector_reduce.h, whose definitions it
 * uses. Beside them the file of the rung defines for the type:
 *   TYPE_load_wide(at), TYPE_store_wide(at, pair)   a pair as fp32, in the order of the elements
 *
 * @at counts bytes of the type; the same elements lie at twice that among fp32.
 */
#define PASTE(a, b)  a##b
#define EXPAND(a, b) PASTE(a, b)
#define T(name)      EXPAND(TYPE, name)

SHMRT_INLINE void T(_partial_end)(enum shmrt_op op, char *out, const void *const *in, int n,
                                  size_t at, size_t bytes)
{
    struct f32_pair x = T(_unpack)(raw_load_part((const char *)in[0] + at, bytes));
    for (int k = 1; k < n; k++)
        x = pair_combine(op, x, T(_unpack)(raw_load_part((const char *)in[k] + at, bytes)));
    char buffer[2 * RAW_BYTES];
    T(_store_wide)(buffer, x);
    memcpy(out + 2 * at, buffer, 2 * bytes);
}

SHMRT_INLINE void T(_partial)(enum shmrt_op op, char *out, const void *const *in, int n, int ranks,
                              size_t count)
{
    size_t bytes = count * 2, at = 0;
    (void)ranks;
    for (; bytes - at >= RAW_BYTES; at += RAW_BYTES) {
        struct f32_pair x = T(_at)(in, 0, at);
        for (int k = 1; k < n; k++)
            x = pair_combine(op, x, T(_at)(in, k, at));
        T(_store_wide)(out + 2 * at, x);
    }
    if (at < bytes)
        T(_partial_end)(op, out, in, n, at, bytes - at);
}

SHMRT_INLINE struct f32_pair T(_end_at)(const void *const *in, int k, size_t at, size_t bytes)
{
    char buffer[2 * RAW_BYTES] = {0};
    memcpy(buffer, (const char *)in[k] + 2 * at, 2 * bytes);
    return T(_load_wide)(buffer);
}

SHMRT_INLINE void T(_total)(enum shmrt_op op, char *out, const void *const *in, int n, int ranks,
                            size_t count)
{
    size_t bytes = count * 2, at = 0;
    for (; bytes - at >= RAW_BYTES; at += RAW_BYTES) {
        struct f32_pair x = T(_load_wide)((const char *)in[0] + 2 * at);
        for (int k = 1; k < n; k++)
            x = pair_combine(op, x, T(_load_wide)((const char *)in[k] + 2 * at));
        T(_store)(out + at, pair_finish(op, x, ranks));
    }
    if (at == bytes)
        return;
    struct f32_pair x = T(_end_at)(in, 0, at, bytes - at);
    for (int k = 1; k < n; k++)
        x = pair_combine(op, x, T(_end_at)(in, k, at, bytes - at));
    raw_store_part(out + at, T(_pack)(pair_finish(op, x, ranks)), bytes - at);
}

#undef T
#undef EXPAND
#undef PASTE
#undef TYPE
