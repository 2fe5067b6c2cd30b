/* SPDX-License-Identifier: Apache-2.0 */
/* slices.c - the arithmetic of lanes, rounds and parts. */
#include "slices.h"

#include "base/attributes.h"

enum {
    /* Rounds overlap writing, reducing and reading; smaller parts than this are all overhead. */
    WANTED_ROUNDS = 4,
    MIN_PART_BYTES = 16 * 1024,
};

static size_t divide_up(size_t a, size_t b)
{
    return a / b + (a % b != 0);
}

static size_t line_up(size_t count, size_t element_bytes)
{
    size_t line = SHMRT_LINE_BYTES / element_bytes;
    return divide_up(count, line) * line;
}

static struct shmrt_slice clip(size_t total, size_t begin, size_t count)
{
    if (begin > total)
        begin = total;
    return (struct shmrt_slice){begin, count < total - begin ? count : total - begin};
}

int shmrt_slice_lanes(size_t bytes, size_t lane_bytes, int lanes)
{
    size_t paying = bytes / lane_bytes;
    return paying < 1 ? 1 : paying < (size_t)lanes ? (int)paying : lanes;
}

struct shmrt_slice shmrt_slice_cut(size_t count, size_t element_bytes, size_t unit, int pieces,
                                   int index)
{
    size_t piece = unit > 1 ? divide_up(count / unit, (size_t)pieces) * unit
                            : line_up(divide_up(count, (size_t)pieces), element_bytes);
    return clip(count, piece * (size_t)index, piece);
}

size_t shmrt_slice_part_count(size_t count, size_t element_bytes, size_t chunk_bytes)
{
    size_t most = chunk_bytes / element_bytes;
    size_t least = MIN_PART_BYTES / element_bytes;
    size_t part = line_up(divide_up(count, WANTED_ROUNDS), element_bytes);
    part = part < least ? least : part;
    return part > most ? most : part;
}

struct shmrt_slice shmrt_slice_piece(struct shmrt_slice slice, size_t count, uint64_t t)
{
    struct shmrt_slice piece = clip(slice.count, (size_t)t * count, count);
    piece.begin += slice.begin;
    return piece;
}

struct shmrt_rounds shmrt_slice_rounds(struct shmrt_slice lane, size_t element_bytes, int size,
                                       size_t chunk_bytes)
{
    struct shmrt_rounds r = {.lane = lane};
    r.part_count =
        shmrt_slice_part_count(divide_up(lane.count, (size_t)size), element_bytes, chunk_bytes);
    r.round_count = r.part_count * (size_t)size;
    r.rounds = divide_up(lane.count, r.round_count);
    return r;
}

struct shmrt_slice shmrt_slice_part(const struct shmrt_rounds *rounds, uint64_t round, int rank)
{
    /* The last round is cut evenly too: with full parts its first rank would do it all. */
    size_t begin = (size_t)round * rounds->round_count;
    struct shmrt_slice all = clip(rounds->lane.count, begin, rounds->round_count);
    size_t part = rounds->part_count;
    if (all.count < rounds->round_count) {
        size_t size = rounds->round_count / rounds->part_count;
        part = divide_up(divide_up(all.count, size), SHMRT_LINE_BYTES) * SHMRT_LINE_BYTES;
        part = part < rounds->part_count ? part : rounds->part_count;
    }
    struct shmrt_slice slice = clip(all.count, part * (size_t)rank, part);
    slice.begin += rounds->lane.begin + all.begin;
    return slice;
}
