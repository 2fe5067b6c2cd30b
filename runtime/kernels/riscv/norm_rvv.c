/* SPDX-License-Identifier: Apache-2.0 */
/*
 * norm_rvv.c - the norms with RISC-V's vectors, version 1.0, of any length.
 *
 * A vector holds some neighbours of the 64 partial sums, and goes along the row in steps of 64
 * elements; then the next ones do. So the order of norm.h is kept however many a vector holds:
 * 16 of them where vectors are 128 bits long, all from 512 bits on.
 */
#include "../norm.h"
#include "rvv_types.h"

SHMRT_INLINE f32_vec f32_rounded(f32_vec x, size_t vl)
{
    (void)vl;
    return x;
}

/* NaNs may keep their bits: what is made from them is stored as the canonical one. */
SHMRT_INLINE f32_vec bf16_rounded(f32_vec x, size_t vl)
{
    words half = __riscv_vzext_vf2(bf16_round(f32_canonical(x, vl), vl), vl);
    return __riscv_vreinterpret_f32m4(__riscv_vsll(half, 16, vl));
}

SHMRT_INLINE f32_vec fp16_rounded(f32_vec x, size_t vl)
{
    words half = __riscv_vzext_vf2(fp16_round(x, vl), vl);
    return __riscv_vmerge(fp16_widen(half, vl), x, __riscv_vmfne(x, x, vl), vl);
}

#define f32_put(at, x, vl) f32_store(at, f32_canonical(x, vl), vl)
#define bf16_put           bf16_store
#define fp16_put           fp16_store

/* What of a value goes into a partial sum. */
enum share { SUM_OF_SQUARES, SUM, DEVIATIONS };

/* The rounded sum with the residual, stored; what later steps read. */
#define DEFINE_SHARE(type)                                                                         \
    SHMRT_INLINE f32_vec type##_sum(struct shmrt_norm_row row, size_t at, size_t vl)               \
    {                                                                                              \
        f32_vec x = type##_load(row.in + at, vl);                                                  \
        if (row.residual)                                                                          \
            x = type##_rounded(__riscv_vfadd(x, type##_load(row.residual + at, vl), vl), vl);      \
        type##_put(row.sum_out + at, x, vl);                                                       \
        return x;                                                                                  \
    }                                                                                              \
    SHMRT_INLINE f32_vec type##_share(enum share share, struct shmrt_norm_row row, float mean,     \
                                      size_t at, size_t vl)                                        \
    {                                                                                              \
        if (share == SUM)                                                                          \
            return type##_sum(row, at, vl);                                                        \
        f32_vec x = share == DEVIATIONS                                                            \
                        ? __riscv_vfsub(type##_load(row.sum_out + at, vl), mean, vl)               \
                        : type##_sum(row, at, vl);                                                 \
        return __riscv_vfmul(x, x, vl);                                                            \
    }

/* A sum over the row; where the row ends, the elements that are missing leave their sums alone. */
#define DEFINE_TOTAL(type)                                                                         \
    SHMRT_INLINE float type##_total(enum share share, struct shmrt_norm_row row, float mean,       \
                                    size_t columns)                                                \
    {                                                                                              \
        float partial[SHMRT_NORM_PARTIALS];                                                        \
        for (size_t vl, first = 0; first < SHMRT_NORM_PARTIALS; first += vl) {                     \
            vl = __riscv_vsetvl_e32m4(SHMRT_NORM_PARTIALS - first);                                \
            f32_vec sums = __riscv_vfmv_v_f_f32m4(0, vl);                                          \
            for (size_t j = first; j < columns; j += SHMRT_NORM_PARTIALS) {                        \
                size_t part = columns - j < vl ? columns - j : vl;                                 \
                f32_vec x = type##_share(share, row, mean, j * type##_BYTES, part);                \
                sums = __riscv_vfadd_tu(sums, sums, x, part);                                      \
            }                                                                                      \
            __riscv_vse32(partial + first, sums, vl);                                              \
        }                                                                                          \
        return shmrt_norm_total(partial);                                                          \
    }

#define DEFINE_RMS(type)                                                                           \
    SHMRT_INLINE void type##_rms(const struct shmrt_norm_args *args, struct shmrt_norm_row row)    \
    {                                                                                              \
        size_t columns = args->columns;                                                            \
        float squares = type##_total(SUM_OF_SQUARES, row, 0, columns);                             \
        float scale = shmrt_norm_scale(squares, columns, args->epsilon);                           \
        for (size_t vl, j = 0; j < columns; j += vl) {                                             \
            vl = __riscv_vsetvl_e32m4(columns - j);                                                \
            size_t at = j * type##_BYTES;                                                          \
            f32_vec x = __riscv_vfmul(type##_load(row.sum_out + at, vl), scale, vl);               \
            f32_vec weight = type##_load((const char *)args->weight + at, vl);                     \
            type##_put(row.out + at, __riscv_vfmul(type##_rounded(x, vl), weight, vl), vl);        \
        }                                                                                          \
    }

#define DEFINE_LAYER(type)                                                                         \
    SHMRT_INLINE void type##_layer(const struct shmrt_norm_args *args, struct shmrt_norm_row row)  \
    {                                                                                              \
        size_t columns = args->columns;                                                            \
        float mean = type##_total(SUM, row, 0, columns) / (float)columns;                          \
        float squares = type##_total(DEVIATIONS, row, mean, columns);                              \
        float scale = shmrt_norm_scale(squares, columns, args->epsilon);                           \
        for (size_t vl, j = 0; j < columns; j += vl) {                                             \
            vl = __riscv_vsetvl_e32m4(columns - j);                                                \
            size_t at = j * type##_BYTES;                                                          \
            f32_vec x = __riscv_vfsub(type##_load(row.sum_out + at, vl), mean, vl);                \
            f32_vec weight = type##_load((const char *)args->weight + at, vl);                     \
            x = __riscv_vfmul(__riscv_vfmul(x, scale, vl), weight, vl);                            \
            if (args->bias)                                                                        \
                x = __riscv_vfadd(x, type##_load((const char *)args->bias + at, vl), vl);          \
            type##_put(row.out + at, x, vl);                                                       \
        }                                                                                          \
    }

#define DEFINE_NORM(type)                                                                          \
    DEFINE_SHARE(type)                                                                             \
    DEFINE_TOTAL(type)                                                                             \
    DEFINE_RMS(type)                                                                               \
    DEFINE_LAYER(type)                                                                             \
    static void type##_norm(const struct shmrt_norm_args *args)                                    \
    {                                                                                              \
        for (size_t r = 0; r < args->rows; r++) {                                                  \
            struct shmrt_norm_row row = shmrt_norm_row_at(args, r, type##_BYTES);                  \
            if (args->norm == SHMRT_RMS_NORM)                                                      \
                type##_rms(args, row);                                                             \
            else                                                                                   \
                type##_layer(args, row);                                                           \
        }                                                                                          \
    }

DEFINE_NORM(f32)
DEFINE_NORM(bf16)
DEFINE_NORM(fp16)

const shmrt_norm_fn shmrt_norms_rvv[SHMRT_DTYPE_COUNT] = {
    [SHMRT_FLOAT32] = f32_norm, [SHMRT_BFLOAT16] = bf16_norm, [SHMRT_FLOAT16] = fp16_norm};
