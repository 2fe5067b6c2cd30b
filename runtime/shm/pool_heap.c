/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool_heap.c - first fit by address, with coalescing.
 *
 * The extents cover [0, bytes) without gaps. A scan starts at the lowest free one, so that a pool
 * that is filled from below is not walked through for every block.
 */
#include "pool_heap.h"

#include <errno.h>
#include <stdlib.h>

#define NONE UINT32_MAX

enum { FIRST_CAPACITY = 64, MOST_NEW_EXTENTS = 2 };

static size_t round_up(size_t value, size_t unit)
{
    return (value + unit - 1) / unit * unit;
}

/* Chains the extents from @first on as spare ones. */
static void add_spares(struct shmrt_pool_heap *heap, uint32_t first)
{
    for (uint32_t i = heap->capacity; i-- > first;) {
        heap->extents[i] = (struct shmrt_pool_extent){.next = heap->spare};
        heap->spare = i;
    }
}

int shmrt_pool_heap_create(size_t bytes, struct shmrt_pool_heap *out)
{
    struct shmrt_pool_heap heap = {.capacity = FIRST_CAPACITY, .spare = NONE, .lowest_free = NONE};
    heap.bytes = bytes / SHMRT_POOL_GRAIN_BYTES * SHMRT_POOL_GRAIN_BYTES;
    heap.extents = malloc(FIRST_CAPACITY * sizeof *heap.extents);
    if (!heap.extents)
        return -ENOMEM;
    add_spares(&heap, 1);
    heap.extents[0] = (struct shmrt_pool_extent){.end = heap.bytes, .previous = NONE, .next = NONE};
    heap.lowest_free = 0;
    *out = heap;
    return 0;
}

void shmrt_pool_heap_destroy(struct shmrt_pool_heap *heap)
{
    free(heap->extents);
    heap->extents = NULL;
}

/* Makes sure that a block can be cut out of a hole, which may leave a hole on either side. */
static int reserve(struct shmrt_pool_heap *heap)
{
    uint32_t spares = 0;
    for (uint32_t i = heap->spare; i != NONE && spares < MOST_NEW_EXTENTS; spares++)
        i = heap->extents[i].next;
    if (spares == MOST_NEW_EXTENTS)
        return 0;
    if (heap->capacity >= UINT32_MAX / 2)
        return -ENOMEM;
    uint32_t first = heap->capacity;
    struct shmrt_pool_extent *more =
        realloc(heap->extents, 2 * (size_t)first * sizeof *heap->extents);
    if (!more)
        return -ENOMEM;
    heap->extents = more;
    heap->capacity = 2 * first;
    add_spares(heap, first);
    return 0;
}

static size_t alignment_of(size_t bytes)
{
    return bytes >= SHMRT_POOL_ALIGNED_BYTES ? SHMRT_POOL_ALIGNED_BYTES : SHMRT_POOL_GRAIN_BYTES;
}

/* Where the user's bytes would begin in a hole. */
static size_t place_in(const struct shmrt_pool_extent *hole, size_t alignment)
{
    return round_up(hole->begin + SHMRT_POOL_MARK_BYTES, alignment);
}

static bool fits(const struct shmrt_pool_extent *hole, size_t bytes, size_t alignment)
{
    size_t at = place_in(hole, alignment);
    return at <= hole->end && bytes <= hole->end - at;
}

/* Cuts extent @id at @where: it keeps what lies below, and a new one after it gets the rest. */
static uint32_t split(struct shmrt_pool_heap *heap, uint32_t id, size_t where)
{
    uint32_t upper = heap->spare;
    struct shmrt_pool_extent *low = &heap->extents[id], *high = &heap->extents[upper];
    heap->spare = high->next;
    *high = (struct shmrt_pool_extent){
        .begin = where, .end = low->end, .previous = id, .next = low->next};
    if (high->next != NONE)
        heap->extents[high->next].previous = upper;
    low->end = where;
    low->next = upper;
    return upper;
}

/* Extent @id takes over the one after it. */
static void join_next(struct shmrt_pool_heap *heap, uint32_t id)
{
    struct shmrt_pool_extent *low = &heap->extents[id];
    uint32_t upper = low->next;
    struct shmrt_pool_extent *high = &heap->extents[upper];
    low->end = high->end;
    low->next = high->next;
    if (low->next != NONE)
        heap->extents[low->next].previous = id;
    high->is_block = false;
    high->next = heap->spare;
    heap->spare = upper;
}

static uint32_t next_free(const struct shmrt_pool_heap *heap, uint32_t id)
{
    while (id != NONE && heap->extents[id].is_block)
        id = heap->extents[id].next;
    return id;
}

int shmrt_pool_heap_take(struct shmrt_pool_heap *heap, size_t bytes, struct shmrt_pool_block *out)
{
    if (bytes > heap->bytes) /* before rounding, which could wrap */
        return -ENOSPC;
    bytes = round_up(bytes ? bytes : 1, SHMRT_POOL_GRAIN_BYTES);
    size_t alignment = alignment_of(bytes);
    uint32_t id = heap->lowest_free;
    while (id != NONE && !fits(&heap->extents[id], bytes, alignment))
        id = next_free(heap, heap->extents[id].next);
    if (id == NONE)
        return -ENOSPC;
    int rc = reserve(heap);
    if (rc)
        return rc;
    size_t at = place_in(&heap->extents[id], alignment);
    size_t begin = at - SHMRT_POOL_MARK_BYTES;
    if (begin > heap->extents[id].begin)
        id = split(heap, id, begin);
    if (at + bytes < heap->extents[id].end)
        split(heap, id, at + bytes);
    heap->extents[id].is_block = true;
    heap->lowest_free = next_free(heap, heap->lowest_free);
    heap->blocks++;
    heap->used_bytes += SHMRT_POOL_MARK_BYTES + bytes;
    *out = (struct shmrt_pool_block){.at = at, .end = at + bytes, .id = id};
    return 0;
}

bool shmrt_pool_heap_give(struct shmrt_pool_heap *heap, uint64_t id64, size_t at)
{
    if (id64 >= heap->capacity)
        return false;
    uint32_t id = (uint32_t)id64;
    struct shmrt_pool_extent *block = &heap->extents[id];
    if (!block->is_block || block->begin + SHMRT_POOL_MARK_BYTES != at)
        return false;
    block->is_block = false;
    heap->blocks--;
    heap->used_bytes -= block->end - block->begin;
    if (block->next != NONE && !heap->extents[block->next].is_block)
        join_next(heap, id);
    if (block->previous != NONE && !heap->extents[block->previous].is_block) {
        id = block->previous;
        join_next(heap, id);
    }
    if (heap->lowest_free == NONE ||
        heap->extents[id].begin <= heap->extents[heap->lowest_free].begin)
        heap->lowest_free = id;
    return true;
}

static size_t room_in(const struct shmrt_pool_extent *hole, size_t alignment)
{
    size_t at = place_in(hole, alignment);
    return at < hole->end ? hole->end - at : 0;
}

size_t shmrt_pool_heap_largest(const struct shmrt_pool_heap *heap)
{
    const size_t most_unaligned = SHMRT_POOL_ALIGNED_BYTES - SHMRT_POOL_GRAIN_BYTES;
    size_t largest = 0;
    for (uint32_t id = heap->lowest_free; id != NONE;
         id = next_free(heap, heap->extents[id].next)) {
        const struct shmrt_pool_extent *hole = &heap->extents[id];
        size_t room = room_in(hole, SHMRT_POOL_ALIGNED_BYTES);
        if (room < SHMRT_POOL_ALIGNED_BYTES) {
            room = room_in(hole, SHMRT_POOL_GRAIN_BYTES);
            room = room < most_unaligned ? room : most_unaligned;
        }
        largest = room > largest ? room : largest;
    }
    return largest;
}
