/* SPDX-License-Identifier: Apache-2.0 */
/*
 * norm_rows.h - the loops of a vector rung's norms, for one element type (L1)
 *
 * Included once for each type, with TYPE as its prefix and TYPE_BYTES as its size. The file that
 * includes it defines, for its instruction set:
 *   f32_vec, LANES                           a register of fp32, on which + - * work
 *   splat(x), zero_past(vec, n)              all lanes x; only the first n lanes, the rest 0
 *   spill(to, vec)                           lanes to memory
 * and for the type:
 *   TYPE_load(at), TYPE_store(at, vec)       LANES elements of any alignment, fp32 in between
 *   TYPE_load_part, TYPE_store_part          only the first n; the rest is 0, or not touched
 *   TYPE_rounded(vec)                        to the type and back
 *
 * Missing elements count as zeros, which leaves every partial sum as it is.
 */
#define PASTE(a, b)  a##b
#define EXPAND(a, b) PASTE(a, b)
#define T(name)      EXPAND(TYPE, name)

enum { T(_STEP) = LANES * TYPE_BYTES };

/* @n elements, LANES of them or fewer. */
SHMRT_INLINE f32_vec T(_get)(const char *at, size_t n)
{
    return n == LANES ? T(_load)(at) : T(_load_part)(at, n);
}

SHMRT_INLINE void T(_put)(char *at, f32_vec x, size_t n)
{
    if (n == LANES)
        T(_store)(at, x);
    else
        T(_store_part)(at, x, n);
}

/* The rounded sum with the residual, stored; what later steps read. */
SHMRT_INLINE f32_vec T(_sum)(struct shmrt_norm_row row, size_t at, size_t n)
{
    f32_vec x = T(_get)(row.in + at, n);
    if (row.residual)
        x = T(_rounded)(x + T(_get)(row.residual + at, n));
    T(_put)(row.sum_out + at, x, n);
    return x;
}

/* What of a value goes into a partial sum. */
enum T(_step) { T(_SUM_OF_SQUARES), T(_SUM), T(_DEVIATIONS) };

SHMRT_INLINE f32_vec T(_share)(enum T(_step) step, struct shmrt_norm_row row, float mean, size_t at,
                               size_t n)
{
    if (step == T(_SUM))
        return T(_sum)(row, at, n);
    f32_vec x;
    if (step == T(_DEVIATIONS))
        x = zero_past(T(_get)(row.sum_out + at, n) - splat(mean), n);
    else
        x = T(_sum)(row, at, n);
    return x * x;
}

/* A sum over the row, in the order that norm.h gives. */
SHMRT_INLINE float T(_total)(enum T(_step) step, struct shmrt_norm_row row, float mean,
                             size_t columns)
{
    f32_vec sums[SHMRT_NORM_PARTIALS / LANES];
    for (int k = 0; k < SHMRT_NORM_PARTIALS / LANES; k++)
        sums[k] = splat(0);
    size_t j = 0, at = 0;
    for (; columns - j >= SHMRT_NORM_PARTIALS; j += SHMRT_NORM_PARTIALS)
        for (int k = 0; k < SHMRT_NORM_PARTIALS / LANES; k++, at += T(_STEP))
            sums[k] += T(_share)(step, row, mean, at, LANES);
    float partial[SHMRT_NORM_PARTIALS];
    for (int k = 0; k < SHMRT_NORM_PARTIALS / LANES; k++, at += T(_STEP)) {
        if (j < columns) {
            size_t n = columns - j < LANES ? columns - j : LANES;
            sums[k] += T(_share)(step, row, mean, at, n);
            j += n;
        }
        spill(partial + k * LANES, sums[k]);
    }
    return shmrt_norm_total(partial);
}

SHMRT_INLINE void T(_scale_rms)(const struct shmrt_norm_args *args, struct shmrt_norm_row row,
                                float scale, size_t at, size_t n)
{
    f32_vec x = T(_rounded)(T(_get)(row.sum_out + at, n) * splat(scale));
    T(_put)(row.out + at, x * T(_get)((const char *)args->weight + at, n), n);
}

SHMRT_INLINE void T(_rms)(const struct shmrt_norm_args *args, struct shmrt_norm_row row)
{
    size_t columns = args->columns, j = 0, at = 0;
    float squares = T(_total)(T(_SUM_OF_SQUARES), row, 0, columns);
    float scale = shmrt_norm_scale(squares, columns, args->epsilon);
    for (; columns - j >= LANES; j += LANES, at += T(_STEP))
        T(_scale_rms)(args, row, scale, at, LANES);
    if (j < columns)
        T(_scale_rms)(args, row, scale, at, columns - j);
}

SHMRT_INLINE void T(_scale_layer)(const struct shmrt_norm_args *args, struct shmrt_norm_row row,
                                  float mean, float scale, size_t at, size_t n)
{
    f32_vec x = (T(_get)(row.sum_out + at, n) - splat(mean)) * splat(scale) *
                T(_get)((const char *)args->weight + at, n);
    if (args->bias)
        x = x + T(_get)((const char *)args->bias + at, n);
    T(_put)(row.out + at, x, n);
}

SHMRT_INLINE void T(_layer)(const struct shmrt_norm_args *args, struct shmrt_norm_row row)
{
    size_t columns = args->columns, j = 0, at = 0;
    float mean = T(_total)(T(_SUM), row, 0, columns) / (float)columns;
    float squares = T(_total)(T(_DEVIATIONS), row, mean, columns);
    float scale = shmrt_norm_scale(squares, columns, args->epsilon);
    for (; columns - j >= LANES; j += LANES, at += T(_STEP))
        T(_scale_layer)(args, row, mean, scale, at, LANES);
    if (j < columns)
        T(_scale_layer)(args, row, mean, scale, at, columns - j);
}

static void T(_norm)(const struct shmrt_norm_args *args)
{
    for (size_t r = 0; r < args->rows; r++) {
        struct shmrt_norm_row row = shmrt_norm_row_at(args, r, TYPE_BYTES);
        if (args->norm == SHMRT_RMS_NORM)
            T(_rms)(args, row);
        else
            T(_layer)(args, row);
    }
}

#undef T
#undef EXPAND
#undef PASTE
#undef TYPE
#undef TYPE_BYTES
