/* SPDX-License-Identifier: Apache-2.0 */
/* slices.c - the arithmetic of lanes, rounds and parts. */
#include "slices.h"

#include "base/attributes.h"

enum {
    /* Rounds overlap writing, reducing and reading; smaller parts than this are all overhead. */
    WANTED_ROUNDS = 4,
    MIN_PART_BYTES = 16 * 1024,
    /* Waking a team costs about as much as reducing some 10 KiB on one thread. */
    MIN_LANE_BYTES = 32 * 1024,
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

int shmrt_slice_lanes(size_t bytes, int lanes)
{
    size_t paying = bytes / MIN_LANE_BYTES;
    return paying < 1 ? 1 : paying < (size_t)lanes ? (int)paying : lanes;
}

struct shmrt_slice shmrt_slice_cut(size_t count, size_t element_bytes, int pieces, int index)
{
    size_t piece = line_up(divide_up(count, (size_t)pieces), element_bytes);
    return clip(count, piece * (size_t)index, piece);
}

struct shmrt_rounds shmrt_slice_rounds(size_t count, size_t element_bytes, int size, int lanes,
                                       int lane, size_t chunk_bytes)
{
    struct shmrt_rounds r = {.lane = shmrt_slice_cut(count, element_bytes, lanes, lane)};
    size_t most = chunk_bytes / element_bytes;
    size_t least = MIN_PART_BYTES / element_bytes;
    size_t part = line_up(divide_up(r.lane.count, (size_t)size * WANTED_ROUNDS), element_bytes);
    part = part < least ? least : part;
    r.part_count = part > most ? most : part;
    r.round_count = r.part_count * (size_t)size;
    r.rounds = divide_up(r.lane.count, r.round_count);
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
