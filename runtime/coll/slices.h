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

/** Lanes worth waking for a vector: each has @lane_bytes to do at least. At least 1. */
int shmrt_slice_lanes(size_t bytes, size_t lane_bytes, int lanes);

/**
 * Part @index of @count elements cut into @pieces
 * @unit: 2 or more: cut at multiples of so many elements (of which @count is one) instead
 */
struct shmrt_slice shmrt_slice_cut(size_t count, size_t element_bytes, size_t unit, int pieces,
                                   int index);

/** Elements of a part, so that a lane's @count elements make a few rounds of whole lines. */
size_t shmrt_slice_part_count(size_t count, size_t element_bytes, size_t chunk_bytes);

/** Piece @t of @slice cut into pieces of @count elements. */
struct shmrt_slice shmrt_slice_piece(struct shmrt_slice slice, size_t count, uint64_t t);

/** The rounds of the slice @lane, with a part for each of @size ranks. */
struct shmrt_rounds shmrt_slice_rounds(struct shmrt_slice lane, size_t element_bytes, int size,
                                       size_t chunk_bytes);

/** The part of @rank in round @round of a lane, as elements of the whole vector. */
struct shmrt_slice shmrt_slice_part(const struct shmrt_rounds *rounds, uint64_t round, int rank);

#endif
