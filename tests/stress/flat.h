/* SPDX-License-Identifier: Apache-2.0 */
/* flat.h - whether what a process holds stays the same over a long run */
#ifndef TEST_FLAT_H
#define TEST_FLAT_H

#include <stdbool.h>
#include <stdint.h>

enum flat_kind {
    FLAT_HEAP,
    FLAT_RSS,
    FLAT_PSS,
    FLAT_SHMEM,
    FLAT_FILES,
    FLAT_THREADS,
    FLAT_MAPPINGS,
    FLAT_KINDS
};

enum { FLAT_MOST_SAMPLES = 2048 };

/** Samples, of which every other one is dropped when there is no room for more. */
struct flat {
    int64_t every_ns, last_ns;
    int n;
    int64_t at_ns[FLAT_MOST_SAMPLES];
    int64_t value[FLAT_MOST_SAMPLES][FLAT_KINDS];
};

/**
 * flat_count_exactly - first in main: start this program again, without glibc's caches of free
 * blocks
 *
 * They belong to threads, count as used, and fill up for hours.
 */
void flat_count_exactly(char **argv);

/** flat_sample - note what this process holds, if the last sample is old enough */
void flat_sample(struct flat *flat);

/** The last sample in words. */
void flat_describe(const struct flat *flat, char *out, int bytes);

/**
 * flat_judge - whether nothing has grown, after a warm-up of a quarter of the time
 *
 * The medians of the first and the last third of what comes after are compared, so that one odd
 * sample says nothing. Prints a line for each kind.
 */
bool flat_judge(const struct flat *flat);

#endif
