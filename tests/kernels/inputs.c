/* SPDX-License-Identifier: Apache-2.0 */
/* inputs.c - test vectors made from bits, so that no compiler quiets or flushes them. */
#include "inputs.h"
#include "random64.h"

#include <string.h>

/* Widths of the fields of a floating-point type. */
struct format {
    int exponent_bits;
    int fraction_bits;
};

static const struct format formats[SHMRT_DTYPE_COUNT] = {
    [SHMRT_FLOAT32] = {8, 23},
    [SHMRT_FLOAT64] = {11, 52},
    [SHMRT_BFLOAT16] = {8, 7},
    [SHMRT_FLOAT16] = {5, 10},
};

static uint64_t ones(int bits)
{
    return (UINT64_C(1) << bits) - 1;
}

static uint64_t infinity(struct format f)
{
    return ones(f.exponent_bits) << f.fraction_bits;
}

static uint64_t quiet_bit(struct format f)
{
    return UINT64_C(1) << (f.fraction_bits - 1);
}

/* A number of the format's landmarks, without sign. */
static uint64_t landmark(struct format f, uint64_t random)
{
    uint64_t one = ones(f.exponent_bits - 1) << f.fraction_bits;
    const uint64_t marks[] = {
        0,
        1,                                                    /* least subnormal */
        ones(f.fraction_bits),                                /* greatest subnormal */
        random >> 8 & ones(f.fraction_bits),                  /* some subnormal */
        ones(f.fraction_bits) + 1,                            /* least normal */
        one,                                                  /* 1 */
        one + 1,                                              /* the next */
        infinity(f) - 1,                                      /* greatest */
        infinity(f) - 1 - (UINT64_C(1) << f.fraction_bits),   /* half of it */
        infinity(f),                                          /* infinity */
        infinity(f) + 1,                                      /* signalling NaN */
        infinity(f) + quiet_bit(f),                           /* quiet NaN */
        infinity(f) + quiet_bit(f) + (random >> 8 & 0xf) + 1, /* quiet NaN with a payload */
        infinity(f) + ones(f.fraction_bits),                  /* NaN of ones only */
    };
    return marks[random % (sizeof marks / sizeof marks[0])];
}

/*
 * Near 1, with only the first few bits of the fraction and an exponent from a range of about the
 * fraction's width: where two such are added, the lost part is often one half exactly.
 */
static uint64_t near_one(struct format f, uint64_t random)
{
    uint64_t range = (uint64_t)f.fraction_bits + 3;
    uint64_t exponent = ones(f.exponent_bits - 1) - range / 2 + random % range;
    uint64_t fraction = random >> 8 & ones(f.fraction_bits);
    uint64_t dropped = (random >> 4 & 15) * (uint64_t)f.fraction_bits / 16;
    return exponent << f.fraction_bits | (fraction & ~ones((int)dropped));
}

static uint64_t float_bits(struct format f, uint64_t *seed)
{
    uint64_t random = next_random(seed), value = next_random(seed);
    uint64_t sign = (random >> 60 & 1) << (f.exponent_bits + f.fraction_bits);
    switch (random & 7) {
    case 0:
    case 1:
        return sign | landmark(f, value);
    case 2:
        return value;
    default:
        return sign | near_one(f, value);
    }
}

static uint64_t integer_bits(int bits, uint64_t *seed)
{
    uint64_t random = next_random(seed), value = next_random(seed);
    const uint64_t marks[] = {0, 1, ~UINT64_C(0), ones(bits - 1), ones(bits - 1) + 1, 2};
    if (random & 1)
        return value;
    return marks[value % (sizeof marks / sizeof marks[0])];
}

static void store_low_bytes(char *at, uint64_t bits, size_t bytes)
{
    const uint8_t byte = (uint8_t)bits;
    const uint16_t half = (uint16_t)bits;
    const uint32_t word = (uint32_t)bits;
    const void *const from[] = {[1] = &byte, [2] = &half, [4] = &word, [8] = &bits};
    memcpy(at, from[bytes], bytes);
}

void inputs_fill(void *out, size_t count, enum shmrt_dtype dtype, uint64_t seed)
{
    size_t bytes = shmrt_dtype_bytes(dtype);
    struct format f = formats[dtype];
    for (size_t i = 0; i < count; i++) {
        uint64_t bits =
            f.exponent_bits ? float_bits(f, &seed) : integer_bits((int)bytes * 8, &seed);
        store_low_bytes((char *)out + i * bytes, bits, bytes);
    }
}

void inputs_repeat(void *out, size_t count, enum shmrt_dtype dtype, uint64_t bits)
{
    size_t bytes = shmrt_dtype_bytes(dtype);
    for (size_t i = 0; i < count; i++)
        store_low_bytes((char *)out + i * bytes, bits, bytes);
}

uint64_t inputs_bits(const void *vector, size_t i, enum shmrt_dtype dtype)
{
    size_t bytes = shmrt_dtype_bytes(dtype);
    uint8_t byte;
    uint16_t half;
    uint32_t word;
    uint64_t bits;
    void *const to[] = {[1] = &byte, [2] = &half, [4] = &word, [8] = &bits};
    memcpy(to[bytes], (const char *)vector + i * bytes, bytes);
    return bytes == 1 ? byte : bytes == 2 ? half : bytes == 4 ? word : bits;
}

enum inputs_kind inputs_kind_of(const void *vector, size_t i, enum shmrt_dtype dtype)
{
    struct format f = formats[dtype];
    uint64_t magnitude = inputs_bits(vector, i, dtype) & ones(f.exponent_bits + f.fraction_bits);
    if (magnitude > infinity(f))
        return INPUTS_NAN;
    if (magnitude == infinity(f))
        return INPUTS_INFINITE;
    if (magnitude > ones(f.fraction_bits))
        return INPUTS_NORMAL;
    return magnitude ? INPUTS_SUBNORMAL : INPUTS_ZERO;
}

uint64_t inputs_canonical_nan(enum shmrt_dtype dtype)
{
    struct format f = formats[dtype];
    return f.exponent_bits ? infinity(f) + quiet_bit(f) : 0;
}
