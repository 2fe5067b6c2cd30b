/* SPDX-License-Identifier: Apache-2.0 */
/*
 * norm_rung.h - a vector rung's norms of all three types, from the loops (L1)
 *
 * Included once, last, by the file of a rung, which has defined what norm_rows.h asks for.
 */
#define TYPE       f32
#define TYPE_BYTES 4
#include "norm_rows.h"

#define TYPE       bf16
#define TYPE_BYTES 2
#include "norm_rows.h"

#define TYPE       fp16
#define TYPE_BYTES 2
#include "norm_rows.h"

/* The row table of the rung. */
#define SHMRT_ALL_NORMS                                                                            \
    {                                                                                              \
        [SHMRT_FLOAT32] = f32_norm,                                                                \
        [SHMRT_BFLOAT16] = bf16_norm,                                                              \
        [SHMRT_FLOAT16] = fp16_norm,                                                               \
    }
