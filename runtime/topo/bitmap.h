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

static inline void shmrt_bitmap_clear(struct shmrt_bitmap *set, size_t number)
{
    set->words[number / 64] &= ~(UINT64_C(1) << (number % 64));
}

static inline void shmrt_bitmap_clear_all(struct shmrt_bitmap *set)
{
    for (size_t i = 0; i < set->bits; i += 64)
        set->words[i / 64] = 0;
}

/** A set in words for a sentence: "0-3,8"; a long one ends in "...". */
struct shmrt_bitmap_text {
    char text[96];
};

struct shmrt_bitmap_text shmrt_bitmap_text(const struct shmrt_bitmap *set);

/** One more than the largest number of a CPU, or of a node. */
size_t shmrt_machine_cpu_bits(const struct shmrt_machine *machine);
size_t shmrt_machine_node_bits(const struct shmrt_machine *machine);

#endif
