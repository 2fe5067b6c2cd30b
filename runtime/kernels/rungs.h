/* SPDX-License-Identifier: Apache-2.0 */
/* rungs.h - the ladder, and what a file of kernels needs to be a rung of it (L1) */
#ifndef SHMRT_RUNGS_H
#define SHMRT_RUNGS_H

#include "kernels.h"

/* NaN, infinities, -0, and the order and rounding of each step are part of the result. */
#if defined(__FAST_MATH__) || __FINITE_MATH_ONLY__ || defined(__ASSOCIATIVE_MATH__) ||             \
    defined(__RECIPROCAL_MATH__) || defined(__NO_SIGNED_ZEROS__)
#error "compile the kernels without -ffast-math and the options it consists of"
#endif

extern const struct shmrt_kernels shmrt_kernels_reference;
extern const struct shmrt_kernels shmrt_kernels_sse2;
extern const struct shmrt_kernels shmrt_kernels_avx2;
extern const struct shmrt_kernels shmrt_kernels_avx512;
extern const struct shmrt_kernels shmrt_kernels_avx512fp16;
extern const struct shmrt_kernels shmrt_kernels_neon;
extern const struct shmrt_kernels shmrt_kernels_neonfp16;
extern const struct shmrt_kernels shmrt_kernels_neonbf16;
extern const struct shmrt_kernels shmrt_kernels_sve;
extern const struct shmrt_kernels shmrt_kernels_svebf16;
extern const struct shmrt_kernels shmrt_kernels_rvv;

/** shmrt_kernels_choose for a CPU that has @flags (a mask of SHMRT_CPU_*). */
int shmrt_kernels_choose_for(unsigned int flags, const char *forced,
                             struct shmrt_kernels *out) SHMRT_WARN_UNUSED;

/* Operation and element type must be constants where a kernel is compiled, at -O0 too. */
#define SHMRT_INLINE static inline __attribute__((always_inline))

/* Division by it is multiplication by its inverse, to the bit, and several times as fast. */
SHMRT_INLINE int shmrt_is_power_of_two(int n)
{
    return (n & (n - 1)) == 0;
}

#define SHMRT_ENTRY_OF(function, type, op, constant)                                               \
    static void type##_##function##_##op(void *out, const void *const *in, int n, int ranks,       \
                                         size_t count)                                             \
    {                                                                                              \
        type##_##function(constant, out, in, n, ranks, count);                                     \
    }
#define SHMRT_ENTRY(type, op, constant) SHMRT_ENTRY_OF(reduce, type, op, constant)

/* One function per operation, from type_reduce(op, out, in, n, ranks, count). */
#define SHMRT_INTEGER_ENTRIES(type)                                                                \
    SHMRT_ENTRY(type, sum, SHMRT_SUM)                                                              \
    SHMRT_ENTRY(type, min, SHMRT_MIN)                                                              \
    SHMRT_ENTRY(type, max, SHMRT_MAX)                                                              \
    SHMRT_ENTRY(type, prod, SHMRT_PROD)
#define SHMRT_FLOAT_ENTRIES(type)                                                                  \
    SHMRT_INTEGER_ENTRIES(type)                                                                    \
    SHMRT_ENTRY(type, avg, SHMRT_AVG)

/* The same from type_partial and type_total, of bf16 and fp16. */
#define SHMRT_WIDE_ENTRIES(type)                                                                   \
    SHMRT_ENTRY_OF(partial, type, sum, SHMRT_SUM)                                                  \
    SHMRT_ENTRY_OF(partial, type, prod, SHMRT_PROD)                                                \
    SHMRT_ENTRY_OF(total, type, sum, SHMRT_SUM)                                                    \
    SHMRT_ENTRY_OF(total, type, prod, SHMRT_PROD)                                                  \
    SHMRT_ENTRY_OF(total, type, avg, SHMRT_AVG)

/* The tables' rows of these functions. */
#define SHMRT_INTEGER_ROW(type)                                                                    \
    {                                                                                              \
        [SHMRT_SUM] = type##_reduce_sum,                                                           \
        [SHMRT_MIN] = type##_reduce_min,                                                           \
        [SHMRT_MAX] = type##_reduce_max,                                                           \
        [SHMRT_PROD] = type##_reduce_prod,                                                         \
    }
#define SHMRT_FLOAT_ROW(type)                                                                      \
    {                                                                                              \
        [SHMRT_SUM] = type##_reduce_sum, [SHMRT_MIN] = type##_reduce_min,                          \
        [SHMRT_MAX] = type##_reduce_max, [SHMRT_PROD] = type##_reduce_prod,                        \
        [SHMRT_AVG] = type##_reduce_avg,                                                           \
    }
#define SHMRT_PARTIAL_ROW(type)                                                                    \
    {                                                                                              \
        [SHMRT_SUM] = type##_partial_sum,                                                          \
        [SHMRT_PROD] = type##_partial_prod,                                                        \
    }
#define SHMRT_TOTAL_ROW(type)                                                                      \
    {                                                                                              \
        [SHMRT_SUM] = type##_total_sum,                                                            \
        [SHMRT_PROD] = type##_total_prod,                                                          \
        [SHMRT_AVG] = type##_total_avg,                                                            \
    }

/* All rows of a rung whose functions have these prefixes: tables of struct shmrt_kernels. */
#define SHMRT_ALL_ROWS                                                                             \
    .reduce =                                                                                      \
        {                                                                                          \
            [SHMRT_FLOAT32] = SHMRT_FLOAT_ROW(f32),   [SHMRT_FLOAT64] = SHMRT_FLOAT_ROW(f64),      \
            [SHMRT_BFLOAT16] = SHMRT_FLOAT_ROW(bf16), [SHMRT_FLOAT16] = SHMRT_FLOAT_ROW(fp16),     \
            [SHMRT_INT8] = SHMRT_INTEGER_ROW(i8),     [SHMRT_UINT8] = SHMRT_INTEGER_ROW(u8),       \
            [SHMRT_INT16] = SHMRT_INTEGER_ROW(i16),   [SHMRT_INT32] = SHMRT_INTEGER_ROW(i32),      \
            [SHMRT_INT64] = SHMRT_INTEGER_ROW(i64),                                                \
    },                                                                                             \
    .partial =                                                                                     \
        {[SHMRT_BFLOAT16] = SHMRT_PARTIAL_ROW(bf16), [SHMRT_FLOAT16] = SHMRT_PARTIAL_ROW(fp16)},   \
    .total = {[SHMRT_BFLOAT16] = SHMRT_TOTAL_ROW(bf16), [SHMRT_FLOAT16] = SHMRT_TOTAL_ROW(fp16)}

#endif
