/* SPDX-License-Identifier: Apache-2.0 */
/* bitmap.h - making and filling sets; the reading side is public (L1) */
#ifndef SHMRT_BITMAP_H
#define SHMRT_BITMAP_H

#include "shmrt_placement.h"

/** An empty set for the numbers 0 to @bits - 1. Return: 0 or -ENOMEM. */
int shmrt_bitmap_alloc(size_t bits, struct shmrt_bitmap *out) SHMRT_WARN_UNUSED;

/** @number has to be below set->bits. */
static inline void shmrt_bitmap_set(struct shmrt_bitmap *set, size_t number)
{
    set->words[number / 64] |= UINT64_C(1) << (number % 64);
}

#endif
