/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool_heap.h - which bytes of a pool belong to which block: pure arithmetic of offsets (L1)
 *
 * The pool is cut into extents, in the order of their offsets; each is free or the place of one
 * block. Two free extents never touch. A block begins with a mark of SHMRT_POOL_MARK_BYTES, which
 * belongs to the pool; the user's bytes follow.
 */
#ifndef SHMRT_POOL_HEAP_H
#define SHMRT_POOL_HEAP_H

#include "base/attributes.h"
#include "base/error.h"

enum {
    SHMRT_POOL_MARK_BYTES = SHMRT_APART_BYTES,
    SHMRT_POOL_GRAIN_BYTES = SHMRT_APART_BYTES, /* of every offset and length */
    SHMRT_POOL_ALIGNED_BYTES = 4096,            /* blocks of at least this are aligned to it */
};

struct shmrt_pool_extent {
    size_t begin;
    size_t end;
    uint32_t previous; /* extents are named by their index; UINT32_MAX: none */
    uint32_t next;
    bool is_block;
};

/** All of it is private memory of the pool's owner. */
struct shmrt_pool_heap {
    struct shmrt_pool_extent *extents;
    uint32_t capacity;
    uint32_t spare;       /* first of a chain, by next, of extents that name nothing */
    uint32_t lowest_free; /* UINT32_MAX: nothing is free */
    size_t bytes;
    size_t blocks;
    size_t used_bytes; /* in blocks, with their marks and the rounding */
};

/** A block, as offsets from the start of the pool. */
struct shmrt_pool_block {
    size_t at;   /* the user's first byte; the mark lies before it */
    size_t end;  /* past the last byte */
    uint32_t id; /* for giving it back */
};

/** One free extent of @bytes, cut down to whole grains. Return: 0 or -ENOMEM. */
int shmrt_pool_heap_create(size_t bytes, struct shmrt_pool_heap *out) SHMRT_WARN_UNUSED;

void shmrt_pool_heap_destroy(struct shmrt_pool_heap *heap);

/**
 * shmrt_pool_heap_take - the lowest place that holds @bytes, and at least one
 *
 * The lowest, so that few pages are ever needed. Return: 0, -ENOSPC when no hole is large enough,
 * or -ENOMEM when there is no private memory to write it down.
 */
int shmrt_pool_heap_take(struct shmrt_pool_heap *heap, size_t bytes,
                         struct shmrt_pool_block *out) SHMRT_WARN_UNUSED;

/** Give block @id back, which begins at @at. Return: false, and nothing done, if there is none. */
bool shmrt_pool_heap_give(struct shmrt_pool_heap *heap, uint64_t id, size_t at);

/** Bytes of the largest block that shmrt_pool_heap_take() would find a place for. */
size_t shmrt_pool_heap_largest(const struct shmrt_pool_heap *heap);

#endif
