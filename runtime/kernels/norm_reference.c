/* SPDX-License-Identifier: Apache-2.0 */
/*
 * norm_reference.c - the norms in plain C: they define what every other rung must give, bit for
 * bit.
 *
 * Arithmetic is fp32. The sum with the residual is rounded to the type, and the norm is that of the
 * rounded sum. RMS: a value times the scale is rounded to the type, and once more after the weight.
 * Layer: the deviation times the scale, times the weight, plus the bias, is rounded once. A NaN is
 * stored as the type's canonical one.
 */
#include "halves.h"
#include "norm.h"

SHMRT_INLINE float f32_load(const char *in, size_t j)
{
    float value;
    memcpy(&value, in + j * sizeof value, sizeof value);
    return value;
}

SHMRT_INLINE void f32_store(char *out, size_t j, float value)
{
    uint32_t bits = isnan(value) ? UINT32_C(0x7fc00000) : shmrt_f32_bits(value);
    memcpy(out + j * sizeof bits, &bits, sizeof bits);
}

SHMRT_INLINE float f32_rounded(float value)
{
    return value;
}

#define DEFINE_HALF(type)                                                                          \
    SHMRT_INLINE float type##_load(const char *in, size_t j)                                       \
    {                                                                                              \
        uint16_t half;                                                                             \
        memcpy(&half, in + j * sizeof half, sizeof half);                                          \
        return shmrt_##type##_widen(half);                                                         \
    }                                                                                              \
    SHMRT_INLINE void type##_store(char *out, size_t j, float value)                               \
    {                                                                                              \
        uint16_t half = shmrt_##type##_round(value);                                               \
        memcpy(out + j * sizeof half, &half, sizeof half);                                         \
    }                                                                                              \
    SHMRT_INLINE float type##_rounded(float value)                                                 \
    {                                                                                              \
        return shmrt_##type##_widen(shmrt_##type##_round(value));                                  \
    }

DEFINE_HALF(bf16)
DEFINE_HALF(fp16)

#define DEFINE_NORM(type, bytes)                                                                   \
    SHMRT_INLINE void type##_add(struct shmrt_norm_row row, size_t columns)                        \
    {                                                                                              \
        for (size_t j = 0; j < columns; j++) {                                                     \
            float sum = type##_load(row.in, j);                                                    \
            if (row.residual)                                                                      \
                sum += type##_load(row.residual, j);                                               \
            type##_store(row.sum_out, j, sum);                                                     \
        }                                                                                          \
    }                                                                                              \
    SHMRT_INLINE void type##_rms(const struct shmrt_norm_args *args, struct shmrt_norm_row row)    \
    {                                                                                              \
        float squares[SHMRT_NORM_PARTIALS] = {0};                                                  \
        for (size_t j = 0; j < args->columns; j++) {                                               \
            float x = type##_load(row.sum_out, j);                                                 \
            squares[j % SHMRT_NORM_PARTIALS] += x * x;                                             \
        }                                                                                          \
        float scale = shmrt_norm_scale(shmrt_norm_total(squares), args->columns, args->epsilon);   \
        for (size_t j = 0; j < args->columns; j++) {                                               \
            float x = type##_rounded(type##_load(row.sum_out, j) * scale);                         \
            type##_store(row.out, j, x *type##_load(args->weight, j));                             \
        }                                                                                          \
    }                                                                                              \
    SHMRT_INLINE void type##_layer(const struct shmrt_norm_args *args, struct shmrt_norm_row row)  \
    {                                                                                              \
        float sums[SHMRT_NORM_PARTIALS] = {0}, squares[SHMRT_NORM_PARTIALS] = {0};                 \
        for (size_t j = 0; j < args->columns; j++)                                                 \
            sums[j % SHMRT_NORM_PARTIALS] += type##_load(row.sum_out, j);                          \
        float mean = shmrt_norm_total(sums) / (float)args->columns;                                \
        for (size_t j = 0; j < args->columns; j++) {                                               \
            float x = type##_load(row.sum_out, j) - mean;                                          \
            squares[j % SHMRT_NORM_PARTIALS] += x * x;                                             \
        }                                                                                          \
        float scale = shmrt_norm_scale(shmrt_norm_total(squares), args->columns, args->epsilon);   \
        for (size_t j = 0; j < args->columns; j++) {                                               \
            float x = (type##_load(row.sum_out, j) - mean) * scale * type##_load(args->weight, j); \
            type##_store(row.out, j, args->bias ? x + type##_load(args->bias, j) : x);             \
        }                                                                                          \
    }                                                                                              \
    static void type##_norm(const struct shmrt_norm_args *args)                                    \
    {                                                                                              \
        for (size_t r = 0; r < args->rows; r++) {                                                  \
            struct shmrt_norm_row row = shmrt_norm_row_at(args, r, bytes);                         \
            type##_add(row, args->columns);                                                        \
            if (args->norm == SHMRT_RMS_NORM)                                                      \
                type##_rms(args, row);                                                             \
            else                                                                                   \
                type##_layer(args, row);                                                           \
        }                                                                                          \
    }

DEFINE_NORM(f32, 4)
DEFINE_NORM(bf16, 2)
DEFINE_NORM(fp16, 2)

const shmrt_norm_fn shmrt_norms_reference[SHMRT_DTYPE_COUNT] = {
    [SHMRT_FLOAT32] = f32_norm, [SHMRT_BFLOAT16] = bf16_norm, [SHMRT_FLOAT16] = fp16_norm};
