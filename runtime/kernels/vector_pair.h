/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vector_pair.h - bf16 and fp16 of vector rungs: accumulators that are pairs of registers (L1)
 *
 * Included once by the file of a rung, which has defined struct f32_pair, two registers of fp32,
 * pair_any_nan and pairs_any_nan, and what vector_reduce.h asks for of fp32.
 */
typedef struct f32_pair bf16_vec;
typedef struct f32_pair fp16_vec;

SHMRT_INLINE struct f32_pair pair_combine(enum shmrt_op op, struct f32_pair x, struct f32_pair y)
{
    return (struct f32_pair){f32_combine(op, x.a, y.a), f32_combine(op, x.b, y.b)};
}

SHMRT_INLINE struct f32_pair pair_average(enum shmrt_op op, struct f32_pair x, int ranks)
{
    if (op == SHMRT_AVG)
        x = (struct f32_pair){f32_divide(x.a, ranks), f32_divide(x.b, ranks)};
    return x;
}

SHMRT_INLINE struct f32_pair pair_canonical(struct f32_pair x)
{
    return (struct f32_pair){f32_canonical(x.a), f32_canonical(x.b)};
}

/* NaNs are rare and these types are bound by arithmetic: one comparison finds any in the pair. */
SHMRT_INLINE struct f32_pair pair_finish(enum shmrt_op op, struct f32_pair x, int ranks)
{
    x = pair_average(op, x, ranks);
    return __builtin_expect(pair_any_nan(x), 0) ? pair_canonical(x) : x;
}

/* And one branch is taken for four pairs. */
SHMRT_INLINE void pair_finish_four(enum shmrt_op op, struct f32_pair *a, struct f32_pair *b,
                                   struct f32_pair *c, struct f32_pair *d, int ranks)
{
    *a = pair_average(op, *a, ranks);
    *b = pair_average(op, *b, ranks);
    *c = pair_average(op, *c, ranks);
    *d = pair_average(op, *d, ranks);
    if (__builtin_expect(pairs_any_nan(*a, *b, *c, *d), 0)) {
        *a = pair_canonical(*a);
        *b = pair_canonical(*b);
        *c = pair_canonical(*c);
        *d = pair_canonical(*d);
    }
}

#define bf16_combine pair_combine
#define bf16_finish  pair_finish
#define fp16_combine pair_combine
#define fp16_finish  pair_finish

#define bf16_finish_four pair_finish_four
#define fp16_finish_four pair_finish_four
