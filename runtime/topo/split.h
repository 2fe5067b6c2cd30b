/* SPDX-License-Identifier: Apache-2.0 */
/* split.h - sharing out a row of cores, as pure arithmetic (L1) */
#ifndef SHMRT_SPLIT_H
#define SHMRT_SPLIT_H

#include "shmrt_placement.h"

/** What lies between a core and the one before it: the outermost of these. */
enum shmrt_border {
    SHMRT_BORDER_NONE,
    SHMRT_BORDER_L3,
    SHMRT_BORDER_NODE,
    SHMRT_BORDER_PACKAGE,
};

/** Cores [begin, end) of the row. */
struct shmrt_slice {
    size_t begin, end;
};

/**
 * struct shmrt_split - a row of cores and what each rank is to get of it
 * @borders: [@cores], that before each core; the first is not looked at
 * @narrowest, @widest: cores of a rank; ranks * narrowest <= cores
 * @gaps: cores may be left over; else ranks * widest >= cores
 */
struct shmrt_split {
    const enum shmrt_border *borders;
    size_t cores, ranks;
    size_t narrowest, widest;
    bool gaps;
};

/**
 * shmrt_split_cores - the slices, in order, that cross the fewest borders of packages, then of
 * nodes, then of L3s; among equals those that start nearest to an even share
 *
 * Return: 0 or -ENOMEM.
 */
int shmrt_split_cores(const struct shmrt_split *split,
                      struct shmrt_slice *slices_out) SHMRT_WARN_UNUSED;

#endif
