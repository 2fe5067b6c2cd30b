/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reference.c - the kernels in plain C: they define what every other rung must give, bit for bit.
 *
 * - Terms are combined one after the other, in the order given, in their own type; bf16 and fp16
 *   in fp32, with one rounding at the end (avg: of the fp32 quotient).
 * - A NaN among the terms, or made on the way, gives the type's canonical quiet NaN. min and max
 *   propagate it.
 * - min and max take -0 for less than +0, so that they do not depend on the order of the terms.
 * - Integer sums and products wrap.
 *
 * Each step rounds to the type it is written in; a build where it would not is refused.
 */
#include "halves.h"
#include "rungs.h"

#include <float.h>
#include <math.h>

#if FLT_EVAL_METHOD != 0
#error "float has excess precision here; on 32-bit x86 compile with -msse2 -mfpmath=sse"
#endif
/* Everything that fp32 and fp64 have in common. */
#define DEFINE_REAL(real)                                                                          \
    SHMRT_INLINE int real##_less(real a, real b)                                                   \
    {                                                                                              \
        return a < b || (a == b && signbit(a));                                                    \
    }                                                                                              \
    SHMRT_INLINE real real##_combine(enum shmrt_op op, real a, real b)                             \
    {                                                                                              \
        switch (op) {                                                                              \
        case SHMRT_MIN:                                                                            \
            return isnan(a) || real##_less(a, b) ? a : b;                                          \
        case SHMRT_MAX:                                                                            \
            return isnan(a) || real##_less(b, a) ? a : b;                                          \
        case SHMRT_PROD:                                                                           \
            return a * b;                                                                          \
        default:                                                                                   \
            return a + b;                                                                          \
        }                                                                                          \
    }
DEFINE_REAL(float)
DEFINE_REAL(double)

SHMRT_INLINE float f32_load(const void *in, size_t i)
{
    float value;
    memcpy(&value, (const char *)in + i * sizeof value, sizeof value);
    return value;
}

SHMRT_INLINE void f32_store(void *out, size_t i, float value)
{
    uint32_t bits = isnan(value) ? UINT32_C(0x7fc00000) : shmrt_f32_bits(value);
    memcpy((char *)out + i * sizeof bits, &bits, sizeof bits);
}

SHMRT_INLINE double f64_load(const void *in, size_t i)
{
    double value;
    memcpy(&value, (const char *)in + i * sizeof value, sizeof value);
    return value;
}

SHMRT_INLINE void f64_store(void *out, size_t i, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits = isnan(value) ? UINT64_C(0x7ff8000000000000) : bits;
    memcpy((char *)out + i * sizeof bits, &bits, sizeof bits);
}

SHMRT_INLINE uint16_t half_load(const void *in, size_t i)
{
    uint16_t half;
    memcpy(&half, (const char *)in + i * sizeof half, sizeof half);
    return half;
}

SHMRT_INLINE void half_store(void *out, size_t i, uint16_t half)
{
    memcpy((char *)out + i * sizeof half, &half, sizeof half);
}

#define bf16_load(in, i)         shmrt_bf16_widen(half_load(in, i))
#define bf16_store(out, i, real) half_store(out, i, shmrt_bf16_round(real))
#define fp16_load(in, i)         shmrt_fp16_widen(half_load(in, i))
#define fp16_store(out, i, real) half_store(out, i, shmrt_fp16_round(real))

/* Loads elements of one type and stores those of another. */
#define DEFINE_REDUCE(type, function, real, from, to)                                              \
    SHMRT_INLINE void type##_##function(enum shmrt_op op, void *out, const void *const *in, int n, \
                                        int ranks, size_t count)                                   \
    {                                                                                              \
        for (size_t i = 0; i < count; i++) {                                                       \
            real result = from##_load(in[0], i);                                                   \
            for (int k = 1; k < n; k++)                                                            \
                result = real##_combine(op, result, from##_load(in[k], i));                        \
            if (op == SHMRT_AVG)                                                                   \
                result /= (real)ranks;                                                             \
            to##_store(out, i, result);                                                            \
        }                                                                                          \
    }

#define DEFINE_FLOAT(type, real)                                                                   \
    DEFINE_REDUCE(type, reduce, real, type, type)                                                  \
    SHMRT_FLOAT_ENTRIES(type)
DEFINE_FLOAT(f32, float)
DEFINE_FLOAT(f64, double)
DEFINE_FLOAT(bf16, float)
DEFINE_FLOAT(fp16, float)

/* Of a NaN among partial results the bits are a rung's own business: the total makes it canonical.
 */
#define DEFINE_WIDE(type)                                                                          \
    DEFINE_REDUCE(type, partial, float, type, f32)                                                 \
    DEFINE_REDUCE(type, total, float, f32, type)                                                   \
    SHMRT_WIDE_ENTRIES(type)
DEFINE_WIDE(bf16)
DEFINE_WIDE(fp16)

/*
 * Integers: sums and products modulo 2^64, of which the low bits are right for every narrower
 * type, signed or not; comparisons in the type itself.
 */
#define DEFINE_INTEGER(type, integer)                                                              \
    SHMRT_INLINE integer type##_combine(enum shmrt_op op, integer a, integer b)                    \
    {                                                                                              \
        switch (op) {                                                                              \
        case SHMRT_MIN:                                                                            \
            return b < a ? b : a;                                                                  \
        case SHMRT_MAX:                                                                            \
            return b > a ? b : a;                                                                  \
        case SHMRT_PROD:                                                                           \
            return (integer)((uint64_t)a * (uint64_t)b);                                           \
        default:                                                                                   \
            return (integer)((uint64_t)a + (uint64_t)b);                                           \
        }                                                                                          \
    }                                                                                              \
    SHMRT_INLINE void type##_reduce(enum shmrt_op op, void *out, const void *const *in, int n,     \
                                    int ranks, size_t count)                                       \
    {                                                                                              \
        (void)ranks;                                                                               \
        for (size_t i = 0; i < count; i++) {                                                       \
            integer result, term;                                                                  \
            memcpy(&result, (const char *)in[0] + i * sizeof result, sizeof result);               \
            for (int k = 1; k < n; k++) {                                                          \
                memcpy(&term, (const char *)in[k] + i * sizeof term, sizeof term);                 \
                result = type##_combine(op, result, term);                                         \
            }                                                                                      \
            memcpy((char *)out + i * sizeof result, &result, sizeof result);                       \
        }                                                                                          \
    }                                                                                              \
    SHMRT_INTEGER_ENTRIES(type)

DEFINE_INTEGER(i8, int8_t)
DEFINE_INTEGER(u8, uint8_t)
DEFINE_INTEGER(i16, int16_t)
DEFINE_INTEGER(i32, int32_t)
DEFINE_INTEGER(i64, int64_t)

const struct shmrt_kernels shmrt_kernels_reference = {.name = "reference", SHMRT_ALL_ROWS};
