/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slices.h - who works on which elements (L3, pure)
 *
 * A vector is cut into one slice a lane; a lane's slice into rounds; a round into one part a rank.
 * Everything follows from (count, element size, ranks, lanes, chunk), so all ranks agree. Cuts are
 * at multiples of a cache line's worth of elements, the last piece takes what is left, and pieces
 * may be empty.
 */
#ifndef SHMRT_SLICES_H
#define SHMRT_SLICES_H

#include <stddef.h>
#include <stdint.h>

struct shmrt_slice {
    size_t begin; /* elements */
    size_t count;
};

/** How the slice of a lane is cut. */
struct shmrt_rounds {
    struct shmrt_slice lane;
    size_t round_count; /* elements of a full round, over all ranks */
    size_t part_count;  /* elements of a full part */
    uint64_t rounds;
};

/** Lanes worth waking for a vector: each has enough to do to pay for its thread. At least 1. */
int shmrt_slice_lanes(size_t bytes, int lanes);

/** Part @index of @count elements cut into @pieces. */
struct shmrt_slice shmrt_slice_cut(size_t count, size_t element_bytes, int pieces, int index);

/** The rounds of @lane, with parts of at most @chunk_bytes. */
struct shmrt_rounds shmrt_slice_rounds(size_t count, size_t element_bytes, int size, int lanes,
                                       int lane, size_t chunk_bytes);

/** The part of @rank in round @round of a lane, as elements of the whole vector. */
struct shmrt_slice shmrt_slice_part(const struct shmrt_rounds *rounds, uint64_t round, int rank);

#endif
