/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_halves.c - bf16 and fp16 conversions, exhaustively.
 *
 * Widening: every value, against its fields. Rounding: every value, the point halfway to the next
 * one, and both neighbours of that point. Rounding keeps order, so nothing in between can be wrong.
 */
#include "kernels/halves.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct half_type {
    int exponent_bits, fraction_bits;
    uint16_t canonical_nan;
    float (*widen)(uint16_t half);
    uint16_t (*round)(float value);
};

static const struct half_type bf16 = {8, 7, 0x7fc0, shmrt_bf16_widen, shmrt_bf16_round};
static const struct half_type fp16 = {5, 10, 0x7e00, shmrt_fp16_widen, shmrt_fp16_round};

static uint16_t infinity_of(const struct half_type *type)
{
    return (uint16_t)(0x7fff & -(1 << type->fraction_bits));
}

/* The value of a positive, finite half from its fields; for infinity, where the next one would be.
 */
static double value_of(const struct half_type *type, uint16_t half)
{
    int bias = (1 << (type->exponent_bits - 1)) - 1;
    int exponent = half >> type->fraction_bits;
    int fraction = half & ((1 << type->fraction_bits) - 1);
    if (exponent == 0)
        return ldexp(fraction, 1 - bias - type->fraction_bits);
    return ldexp(fraction + (1 << type->fraction_bits), exponent - bias - type->fraction_bits);
}

static void check_widen(const struct half_type *type)
{
    uint16_t infinity = infinity_of(type);
    for (uint16_t half = 0; half < infinity; half++) {
        float expected = (float)value_of(type, half);
        assert_int_equal(shmrt_f32_bits(type->widen(half)), shmrt_f32_bits(expected));
        assert_int_equal(shmrt_f32_bits(type->widen(half | 0x8000)), shmrt_f32_bits(-expected));
    }
    assert_int_equal(shmrt_f32_bits(type->widen(infinity)), 0x7f800000);
    assert_int_equal(shmrt_f32_bits(type->widen(infinity | 0x8000)), 0xff800000);
    for (int half = infinity + 1; half <= 0x7fff; half++) {
        assert_true(isnan(type->widen((uint16_t)half)));
        assert_true(isnan(type->widen((uint16_t)(half | 0x8000))));
    }
}

static void check_round_trip(const struct half_type *type)
{
    for (int half = 0; half <= 0xffff; half++) {
        uint16_t expected = (half & 0x7fff) > infinity_of(type) ? type->canonical_nan : half;
        assert_int_equal(type->round(type->widen((uint16_t)half)), expected);
    }
}

static void check_around_halfway(const struct half_type *type)
{
    for (uint16_t half = 0; half < infinity_of(type); half++) {
        uint16_t above = (uint16_t)(half + 1);
        float middle = (float)((value_of(type, half) + value_of(type, above)) / 2);
        for (int sign = 0; sign <= 0x8000; sign += 0x8000) {
            float at = sign ? -middle : middle;
            assert_int_equal(type->round(at), sign | (half & 1 ? above : half));
            assert_int_equal(type->round(nextafterf(at, 0)), sign | half);
            assert_int_equal(type->round(nextafterf(at, sign ? -INFINITY : INFINITY)),
                             sign | above);
        }
    }
}

/* Every NaN of fp32 that differs in one bit of the payload, of both signs. */
static void check_nan(const struct half_type *type)
{
    for (int bit = 0; bit < 23; bit++)
        for (uint32_t sign = 0; sign <= 1; sign++) {
            uint32_t bits = sign << 31 | 0x7f800000 | UINT32_C(1) << bit;
            assert_int_equal(type->round(shmrt_f32_from_bits(bits)), type->canonical_nan);
        }
    assert_int_equal(type->round(shmrt_f32_from_bits(0xffffffff)), type->canonical_nan);
    assert_int_equal(type->round(INFINITY), infinity_of(type));
    assert_int_equal(type->round(-INFINITY), 0x8000 | infinity_of(type));
}

static void check(void **state)
{
    const struct half_type *type = *state;
    check_widen(type);
    check_round_trip(type);
    check_around_halfway(type);
    check_nan(type);
}

int main(void)
{
    struct half_type types[] = {bf16, fp16};
    const struct CMUnitTest tests[] = {
        {"bf16", check, NULL, NULL, &types[0]},
        {"fp16", check, NULL, NULL, &types[1]},
    };
    return cmocka_run_group_tests_name("halves", tests, NULL, NULL);
}
