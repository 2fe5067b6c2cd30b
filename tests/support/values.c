/* SPDX-License-Identifier: Apache-2.0 */
/* values.c - an all-reduce of one element at a time; 16-bit floats by way of double. */
#include "values.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static uint64_t noise(size_t index, int rank, unsigned seed)
{
    return mix(index * 1000003 + (uint64_t)rank * 7919 + (uint64_t)seed * 104729 + 12345);
}

/* -2 .. 2 scaled by a power of two between 2^-8 and 2^7 */
static double real_value(uint64_t bits)
{
    double fraction = (double)(bits >> 20) / (double)(UINT64_C(1) << 42) - 2.0;
    return ldexp(fraction, (int)(bits & 15) - 8);
}

static uint16_t bf16_round(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (isnan(value))
        return 0x7fc0;
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

static float bf16_widen(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The multiple of fp16's unit nearest to it; compilers have a type for that on some CPUs only. */
static double fp16_nearest(double value)
{
    if (value == 0 || !isfinite(value))
        return value;
    int exponent;
    frexp(value, &exponent);
    int unit = exponent - 11 > -24 ? exponent - 11 : -24;
    double nearest = ldexp(rint(ldexp(value, -unit)), unit);
    return fabs(nearest) < 65536 ? nearest : copysign(INFINITY, value);
}

static uint16_t fp16_round(double value)
{
    double nearest = fabs(fp16_nearest(value));
    int sign = signbit(value) ? 0x8000 : 0, exponent;
    if (isnan(value))
        return 0x7e00;
    if (isinf(nearest))
        return (uint16_t)(sign | 0x7c00);
    if (nearest < 0x1p-14)
        return (uint16_t)(sign | (int)ldexp(nearest, 24));
    double fraction = frexp(nearest, &exponent) - 0.5;
    return (uint16_t)(sign | (exponent + 14) << 10 | (int)ldexp(fraction, 11));
}

/* The low bytes are the wrapped value, wherever this CPU has them. */
static void store_integer(void *at, size_t bytes, uint64_t value)
{
    const uint8_t byte = (uint8_t)value;
    const uint16_t half = (uint16_t)value;
    const uint32_t word = (uint32_t)value;
    const void *const from[] = {[1] = &byte, [2] = &half, [4] = &word, [8] = &value};
    memcpy(at, from[bytes], bytes);
}

static void store(void *out, size_t i, enum shmrt_dtype dtype, double real, uint64_t integer)
{
    char *at = (char *)out + i * shmrt_dtype_bytes(dtype);
    float single = (float)real;
    uint16_t half;
    switch (dtype) {
    case SHMRT_FLOAT32:
        memcpy(at, &single, sizeof single);
        break;
    case SHMRT_FLOAT64:
        memcpy(at, &real, sizeof real);
        break;
    case SHMRT_FLOAT16:
        half = fp16_round(single);
        memcpy(at, &half, sizeof half);
        break;
    case SHMRT_BFLOAT16:
        half = bf16_round(single);
        memcpy(at, &half, sizeof half);
        break;
    default:
        store_integer(at, shmrt_dtype_bytes(dtype), integer);
    }
}

void values_fill(void *out, size_t first, size_t count, enum shmrt_dtype dtype, int rank,
                 unsigned seed)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t bits = noise(first + i, rank, seed);
        store(out, i, dtype, real_value(bits), bits);
    }
}

static double combine(double a, double b, enum shmrt_op op)
{
    switch (op) {
    case SHMRT_MIN:
        return a < b ? a : b;
    case SHMRT_MAX:
        return a > b ? a : b;
    case SHMRT_PROD:
        return a * b;
    default:
        return a + b;
    }
}

/* Sums and products of 64 bits wrap; the low bits are right for every narrower type. */
static uint64_t combine_wrapped(uint64_t a, uint64_t b, enum shmrt_op op)
{
    return op == SHMRT_PROD ? a * b : a + b;
}

static int64_t narrow(uint64_t bits, enum shmrt_dtype dtype)
{
    switch (dtype) {
    case SHMRT_INT8:
        return (int8_t)bits;
    case SHMRT_UINT8:
        return (uint8_t)bits;
    case SHMRT_INT16:
        return (int16_t)bits;
    case SHMRT_INT32:
        return (int32_t)bits;
    default:
        return (int64_t)bits;
    }
}

static uint64_t reduce_integer(size_t index, enum shmrt_dtype dtype, enum shmrt_op op, int size,
                               unsigned seed)
{
    uint64_t sum = noise(index, 0, seed);
    for (int r = 1; r < size; r++) {
        uint64_t term = noise(index, r, seed);
        bool less = narrow(term, dtype) < narrow(sum, dtype);
        if (op == SHMRT_MIN || op == SHMRT_MAX)
            sum = less == (op == SHMRT_MIN) ? term : sum;
        else
            sum = combine_wrapped(sum, term, op);
    }
    return sum;
}

/* The term as the type holds it. */
static double real_term(size_t index, enum shmrt_dtype dtype, int rank, unsigned seed)
{
    double real = real_value(noise(index, rank, seed));
    if (dtype == SHMRT_FLOAT64)
        return real;
    float single = (float)real;
    if (dtype == SHMRT_FLOAT16)
        return fp16_nearest(single);
    return dtype == SHMRT_BFLOAT16 ? bf16_widen(bf16_round(single)) : single;
}

/* Each step of a sum or product of two floats rounds once. */
static double step(double a, double b, enum shmrt_dtype dtype, enum shmrt_op op)
{
    double both = combine(a, b, op);
    return dtype == SHMRT_FLOAT64 ? both : (double)(float)both;
}

static bool is_first_of_group(const int *groups, int rank)
{
    for (int r = 0; r < rank; r++)
        if (groups[r] == groups[rank])
            return false;
    return true;
}

/* The terms of one group, whose first rank is @first. */
static double reduce_group(size_t index, enum shmrt_dtype dtype, enum shmrt_op op, int size,
                           const int *groups, int first, unsigned seed)
{
    double sum = real_term(index, dtype, first, seed);
    for (int r = first + 1; r < size; r++)
        if (!groups || groups[r] == groups[first])
            sum = step(sum, real_term(index, dtype, r, seed), dtype, op);
    return sum;
}

static double reduce_real(size_t index, enum shmrt_dtype dtype, enum shmrt_op op, int size,
                          const int *groups, unsigned seed)
{
    double sum = reduce_group(index, dtype, op, size, groups, 0, seed);
    for (int r = 1; groups && r < size; r++)
        if (is_first_of_group(groups, r))
            sum = step(sum, reduce_group(index, dtype, op, size, groups, r, seed), dtype, op);
    if (op == SHMRT_AVG)
        sum = dtype == SHMRT_FLOAT64 ? sum / size : (double)((float)sum / (float)size);
    return sum;
}

void values_reduce_grouped(void *out, size_t first, size_t count, enum shmrt_dtype dtype,
                           enum shmrt_op op, int size, const int *groups, unsigned seed)
{
    bool real = dtype <= SHMRT_FLOAT16;
    for (size_t i = 0; i < count; i++)
        store(out, i, dtype, real ? reduce_real(first + i, dtype, op, size, groups, seed) : 0,
              real ? 0 : reduce_integer(first + i, dtype, op, size, seed));
}

void values_reduce(void *out, size_t first, size_t count, enum shmrt_dtype dtype, enum shmrt_op op,
                   int size, unsigned seed)
{
    values_reduce_grouped(out, first, count, dtype, op, size, NULL, seed);
}
