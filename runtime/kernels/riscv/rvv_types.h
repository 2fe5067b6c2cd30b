/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rvv_types.h - how elements come from memory into vectors of RVV 1.0, and back (L1)
 *
 * For each type, with vl elements at a time, as many as the CPU's vectors hold:
 *   TYPE_BYTES                  of an element in memory
 *   TYPE_load(at, vl)           of any alignment; bf16 and fp16 as fp32
 *   TYPE_store(at, x, vl)       the same; rounded to the type, a NaN of bf16 and fp16 made
 * canonical
 *
 * Memory is read and written as bytes: a load of wider elements may trap where they are not aligned
 * to their size, and no kernel mends that. Four registers make a vector (two of halves), so that
 * the latency of one hides behind the others.
 *
 * Halves are converted in integer arithmetic but for fp16's subnormals; V alone knows no others.
 */
#ifndef SHMRT_RVV_TYPES_H
#define SHMRT_RVV_TYPES_H

#include "../halves.h"
#include "../rungs.h"

#include <riscv_vector.h>

typedef vfloat32m4_t f32_vec;
typedef vfloat64m4_t f64_vec;
typedef vint8m4_t i8_vec;
typedef vuint8m4_t u8_vec;
typedef vint16m4_t i16_vec;
typedef vint32m4_t i32_vec;
typedef vint64m4_t i64_vec;
typedef vuint32m4_t words; /* fp32 as its bits */

enum {
    f32_BYTES = 4,
    f64_BYTES = 8,
    bf16_BYTES = 2,
    fp16_BYTES = 2,
    i8_BYTES = 1,
    u8_BYTES = 1,
    i16_BYTES = 2,
    i32_BYTES = 4,
    i64_BYTES = 8,
};

SHMRT_INLINE vuint8m4_t bytes_load(const char *at, size_t bytes)
{
    return __riscv_vle8_v_u8m4((const uint8_t *)at, bytes);
}

SHMRT_INLINE void bytes_store(char *at, vuint8m4_t x, size_t bytes)
{
    __riscv_vse8((uint8_t *)at, x, bytes);
}

/* @width is what the intrinsics call the type; fp32 from bytes goes by way of integers. */
#define DEFINE_INTEGER_MOVES(type, width)                                                          \
    SHMRT_INLINE type##_vec type##_load(const char *at, size_t vl)                                 \
    {                                                                                              \
        vuint8m4_t bytes = bytes_load(at, vl * type##_BYTES);                                      \
        return __riscv_vreinterpret_i##width##m4(__riscv_vreinterpret_u##width##m4(bytes));        \
    }                                                                                              \
    SHMRT_INLINE void type##_store(char *at, type##_vec x, size_t vl)                              \
    {                                                                                              \
        bytes_store(at, __riscv_vreinterpret_u8m4(__riscv_vreinterpret_u##width##m4(x)),           \
                    vl *type##_BYTES);                                                             \
    }

DEFINE_INTEGER_MOVES(i16, 16)
DEFINE_INTEGER_MOVES(i32, 32)
DEFINE_INTEGER_MOVES(i64, 64)

SHMRT_INLINE i8_vec i8_load(const char *at, size_t vl)
{
    return __riscv_vreinterpret_i8m4(bytes_load(at, vl));
}

SHMRT_INLINE void i8_store(char *at, i8_vec x, size_t vl)
{
    bytes_store(at, __riscv_vreinterpret_u8m4(x), vl);
}

#define u8_load  bytes_load
#define u8_store bytes_store

SHMRT_INLINE f32_vec f32_load(const char *at, size_t vl)
{
    return __riscv_vreinterpret_f32m4(i32_load(at, vl));
}

SHMRT_INLINE void f32_store(char *at, f32_vec x, size_t vl)
{
    i32_store(at, __riscv_vreinterpret_i32m4(x), vl);
}

SHMRT_INLINE f32_vec f32_canonical(f32_vec x, size_t vl)
{
    return __riscv_vfmerge(x, shmrt_f32_from_bits(0x7fc00000), __riscv_vmfne(x, x, vl), vl);
}

SHMRT_INLINE f64_vec f64_load(const char *at, size_t vl)
{
    return __riscv_vreinterpret_f64m4(i64_load(at, vl));
}

SHMRT_INLINE void f64_store(char *at, f64_vec x, size_t vl)
{
    i64_store(at, __riscv_vreinterpret_i64m4(x), vl);
}

/* Halves in memory, each at the lower end of a word. */
SHMRT_INLINE words halves_load(const char *at, size_t vl)
{
    vuint8m2_t bytes = __riscv_vle8_v_u8m2((const uint8_t *)at, vl * 2);
    return __riscv_vzext_vf2(__riscv_vreinterpret_u16m2(bytes), vl);
}

/* @nan goes wherever @x, which the halves were made from, is a NaN. */
SHMRT_INLINE void halves_store(char *at, vuint16m2_t halves, f32_vec x, uint16_t nan, size_t vl)
{
    halves = __riscv_vmerge(halves, nan, __riscv_vmfne(x, x, vl), vl);
    __riscv_vse8((uint8_t *)at, __riscv_vreinterpret_u8m2(halves), vl * 2);
}

SHMRT_INLINE f32_vec bf16_load(const char *at, size_t vl)
{
    return __riscv_vreinterpret_f32m4(__riscv_vsll(halves_load(at, vl), 16, vl));
}

/* The upper half, rounded to nearest even by the instruction that takes it; no number overflows. */
SHMRT_INLINE vuint16m2_t bf16_round(f32_vec x, size_t vl)
{
    return __riscv_vnclipu(__riscv_vreinterpret_u32m4(x), 16, __RISCV_VXRM_RNE, vl);
}

SHMRT_INLINE void bf16_store(char *at, f32_vec x, size_t vl)
{
    halves_store(at, bf16_round(x, vl), x, SHMRT_BF16_NAN, vl);
}

/*
 * The magnitude, at the place of fp32's, is a number 2^112 times too small, a subnormal too; the
 * product is exact. Infinities and NaNs then still lack the upper bits of their exponent.
 */
SHMRT_INLINE f32_vec fp16_widen(words half, size_t vl)
{
    words sign = __riscv_vsll(__riscv_vand(half, 0x8000, vl), 16, vl);
    words magnitude = __riscv_vsll(__riscv_vand(half, 0x7fff, vl), 13, vl);
    f32_vec scaled = __riscv_vfmul(__riscv_vreinterpret_f32m4(magnitude), 0x1p112f, vl);
    vbool8_t special = __riscv_vmsgtu(magnitude, 0x7bff << 13, vl);
    words bits = __riscv_vreinterpret_u32m4(scaled);
    bits = __riscv_vor_mu(special, bits, bits, 0x7f800000, vl);
    return __riscv_vreinterpret_f32m4(__riscv_vor(bits, sign, vl));
}

SHMRT_INLINE f32_vec fp16_load(const char *at, size_t vl)
{
    return fp16_widen(halves_load(at, vl), vl);
}

/*
 * Below 2^-14 the unit is 2^-24, which is that of fp32's numbers from 0.5 to 1: adding 0.5 rounds
 * to it, and the count of units is left in the lower bits. From there on, exponents differ by 112;
 * the instruction that drops 13 bits rounds to nearest even and saturates, and what is infinity or
 * more becomes that.
 */
SHMRT_INLINE vuint16m2_t fp16_round(f32_vec x, size_t vl)
{
    words bits = __riscv_vreinterpret_u32m4(x);
    words magnitude = __riscv_vand(bits, 0x7fffffff, vl);
    f32_vec shifted = __riscv_vfadd(__riscv_vreinterpret_f32m4(magnitude), 0.5f, vl);
    vuint16m2_t small = __riscv_vnsrl(__riscv_vreinterpret_u32m4(shifted), 0, vl);
    words normal = __riscv_vsub(magnitude, (uint32_t)112 << 23, vl);
    vuint16m2_t half = __riscv_vnclipu(normal, 13, __RISCV_VXRM_RNE, vl);
    half = __riscv_vminu(half, 0x7c00, vl);
    half = __riscv_vmerge(half, small, __riscv_vmsltu(magnitude, 0x38800000, vl), vl);
    vuint16m2_t sign = __riscv_vand(__riscv_vnsrl(bits, 16, vl), 0x8000, vl);
    return __riscv_vor(half, sign, vl);
}

SHMRT_INLINE void fp16_store(char *at, f32_vec x, size_t vl)
{
    halves_store(at, fp16_round(x, vl), x, SHMRT_FP16_NAN, vl);
}

#endif
