/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rvv.c - the rung for the vectors of RISC-V, version 1.0 of the V extension, of any length.
 *
 * Loops of its own: a vector's length is known when it runs only, so that no struct can hold one,
 * and the ends of vectors need nothing, since the CPU takes what is left as a shorter vector.
 *
 * Arithmetic rounds as frm says, which the caller has set to nearest. No NaN keeps its bits in
 * arithmetic: all are the canonical one afterwards.
 */
#include "rvv_types.h"

/*
 * vfmin and vfmax take -0 for less than +0, and a number rather than a NaN: where the first term is
 * a NaN it stays, and where the second one is, it comes in.
 */
#define DEFINE_REAL(type, one)                                                                     \
    SHMRT_INLINE type##_vec type##_combine(enum shmrt_op op, type##_vec x, type##_vec y,           \
                                           size_t vl)                                              \
    {                                                                                              \
        switch (op) {                                                                              \
        case SHMRT_MIN:                                                                            \
            x = __riscv_vfmin_mu(__riscv_vmfeq(x, x, vl), x, x, y, vl);                            \
            return __riscv_vmerge(x, y, __riscv_vmfne(y, y, vl), vl);                              \
        case SHMRT_MAX:                                                                            \
            x = __riscv_vfmax_mu(__riscv_vmfeq(x, x, vl), x, x, y, vl);                            \
            return __riscv_vmerge(x, y, __riscv_vmfne(y, y, vl), vl);                              \
        case SHMRT_PROD:                                                                           \
            return __riscv_vfmul(x, y, vl);                                                        \
        default:                                                                                   \
            return __riscv_vfadd(x, y, vl);                                                        \
        }                                                                                          \
    }                                                                                              \
    SHMRT_INLINE type##_vec type##_average(enum shmrt_op op, type##_vec x, int ranks, size_t vl)   \
    {                                                                                              \
        if (op != SHMRT_AVG)                                                                       \
            return x;                                                                              \
        if (shmrt_is_power_of_two(ranks))                                                          \
            return __riscv_vfmul(x, (one) / ranks, vl);                                            \
        return __riscv_vfdiv(x, (one) * ranks, vl);                                                \
    }

DEFINE_REAL(f32, 1.0f)
DEFINE_REAL(f64, 1.0)

SHMRT_INLINE f32_vec f32_finish(enum shmrt_op op, f32_vec x, int ranks, size_t vl)
{
    return f32_canonical(f32_average(op, x, ranks, vl), vl);
}

SHMRT_INLINE f64_vec f64_finish(enum shmrt_op op, f64_vec x, int ranks, size_t vl)
{
    x = f64_average(op, x, ranks, vl);
    return __riscv_vfmerge(x, __builtin_nan(""), __riscv_vmfne(x, x, vl), vl);
}

typedef f32_vec bf16_vec;
typedef f32_vec fp16_vec;

/* Their NaNs become canonical when they are stored. */
#define bf16_combine f32_combine
#define bf16_finish  f32_average
#define fp16_combine f32_combine
#define fp16_finish  f32_average

#define DEFINE_INTEGER(type, min, max)                                                             \
    SHMRT_INLINE type##_vec type##_combine(enum shmrt_op op, type##_vec x, type##_vec y,           \
                                           size_t vl)                                              \
    {                                                                                              \
        switch (op) {                                                                              \
        case SHMRT_MIN:                                                                            \
            return __riscv_##min(x, y, vl);                                                        \
        case SHMRT_MAX:                                                                            \
            return __riscv_##max(x, y, vl);                                                        \
        case SHMRT_PROD:                                                                           \
            return __riscv_vmul(x, y, vl);                                                         \
        default:                                                                                   \
            return __riscv_vadd(x, y, vl);                                                         \
        }                                                                                          \
    }                                                                                              \
    SHMRT_INLINE type##_vec type##_finish(enum shmrt_op op, type##_vec x, int ranks, size_t vl)    \
    {                                                                                              \
        (void)op;                                                                                  \
        (void)ranks;                                                                               \
        (void)vl;                                                                                  \
        return x;                                                                                  \
    }

DEFINE_INTEGER(i8, vmin, vmax)
DEFINE_INTEGER(u8, vminu, vmaxu)
DEFINE_INTEGER(i16, vmin, vmax)
DEFINE_INTEGER(i32, vmin, vmax)
DEFINE_INTEGER(i64, vmin, vmax)

/*
 * Loads elements of one type and stores those of another. A block is read from all terms before it
 * is written, so out may be one of them, and is written once. @width: bits of an element of the
 * accumulator.
 */
#define DEFINE_REDUCE(type, function, width, from, to)                                             \
    SHMRT_INLINE void type##_##function(enum shmrt_op op, void *out, const void *const *in, int n, \
                                        int ranks, size_t count)                                   \
    {                                                                                              \
        for (size_t vl, i = 0; i < count; i += vl) {                                               \
            vl = __riscv_vsetvl_e##width##m4(count - i);                                           \
            size_t at = i * from##_BYTES;                                                          \
            type##_vec x = from##_load((const char *)in[0] + at, vl);                              \
            for (int k = 1; k < n; k++)                                                            \
                x = type##_combine(op, x, from##_load((const char *)in[k] + at, vl), vl);          \
            to##_store((char *)out + i * to##_BYTES, type##_finish(op, x, ranks, vl), vl);         \
        }                                                                                          \
    }

#define DEFINE_REAL_TYPE(type, width)                                                              \
    DEFINE_REDUCE(type, reduce, width, type, type)                                                 \
    SHMRT_FLOAT_ENTRIES(type)
DEFINE_REAL_TYPE(f32, 32)
DEFINE_REAL_TYPE(f64, 64)
DEFINE_REAL_TYPE(bf16, 32)
DEFINE_REAL_TYPE(fp16, 32)

#define DEFINE_WIDE(type)                                                                          \
    DEFINE_REDUCE(type, partial, 32, type, f32)                                                    \
    DEFINE_REDUCE(type, total, 32, f32, type)                                                      \
    SHMRT_WIDE_ENTRIES(type)
DEFINE_WIDE(bf16)
DEFINE_WIDE(fp16)

#define DEFINE_INTEGER_TYPE(type, width)                                                           \
    DEFINE_REDUCE(type, reduce, width, type, type)                                                 \
    SHMRT_INTEGER_ENTRIES(type)
DEFINE_INTEGER_TYPE(i8, 8)
DEFINE_INTEGER_TYPE(u8, 8)
DEFINE_INTEGER_TYPE(i16, 16)
DEFINE_INTEGER_TYPE(i32, 32)
DEFINE_INTEGER_TYPE(i64, 64)

const struct shmrt_kernels shmrt_kernels_rvv = {.name = "rvv", SHMRT_ALL_ROWS};
