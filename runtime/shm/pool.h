/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.h - one rank's memory for tensors that every rank can map (L1)
 *
 * A file like a segment, but sparse: it has the size of the limit from the start, and its pages are
 * taken as they are needed. Peers map all of it at creation, so nobody is told of its growth.
 *
 * Lifetime: the communicator that made the pool holds it, and each block in it does. A peer's
 * mapping of it ends with the peer's communicator.
 */
#ifndef SHMRT_POOL_H
#define SHMRT_POOL_H

#include "layout.h"
#include "pool_heap.h"
#include "shared_file.h"

#include <pthread.h>
#include <stdatomic.h>

#define SHMRT_POOL_NONE SHMRT_NOWHERE

/** What SHMRT_POOL=0 makes is a pool without memory: no base, all sizes 0. */
struct shmrt_pool {
    struct shmrt_file file; /* a peer's offset has to stay within its bytes */
    /* The owner's [base, base + taken_bytes) has its pages; it only grows. 0 in a peer's pool. */
    _Atomic size_t taken_bytes;

    pthread_mutex_t mutex; /* guards what follows */
    unsigned holders;      /* communicators; blocks are counted by the heap */
    size_t peak_bytes;     /* the most that the heap's used_bytes has been */
    uint64_t refused;
    struct shmrt_pool_heap heap;
};

/**
 * shmrt_pool_create - this rank's own pool, of which no page is taken yet
 * @bytes: 0 makes the empty pool
 * @kind:  of its pages; with hugetlb the kernel promises all of them at once
 * @nodes: where its pages will be, by mbind; NULL leaves them to first touch. Refused, one line
 *         goes to @logger.
 *
 * Return: 0, or a negative errno.
 */
int shmrt_pool_create(size_t bytes, enum shmrt_page_kind kind, const struct shmrt_nodeset *nodes,
                      const struct shmrt_logger *logger, struct shmrt_pool **pool_out,
                      struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

/**
 * shmrt_pool_attach - map a peer's pool; takes @fd over, also on failure
 * @fd: ignored when @bytes is 0
 *
 * Return: 0, -EPROTO when the file is not sealed or not of @bytes, or another negative errno.
 */
int shmrt_pool_attach(int fd, int rank, size_t bytes, bool hugetlb, struct shmrt_pool **pool_out,
                      struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

/** One more holder. For ranks of one process in builds with SHMRT_SHARE_MAPPINGS; see segment.h */
void shmrt_pool_hold(struct shmrt_pool *pool);

/**
 * shmrt_pool_release - the communicator lets go of @pool (may be NULL)
 * @mapped: false in a forked child, which has neither the mapping nor any block
 */
void shmrt_pool_release(struct shmrt_pool *pool, bool mapped);

/**
 * shmrt_pool_alloc - a block of the own pool, from any thread
 *
 * Takes pages where there are none yet, on the owner's nodes. Return: 0, -ENOTSUP (the empty pool),
 * -ENOMEM (the limit, or memory) or another negative errno; the pool stays as it was.
 */
int shmrt_pool_alloc(struct shmrt_pool *pool, size_t bytes, void **out,
                     struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

/** Give back what shmrt_pool_alloc() of any pool gave, from any thread; ignores anything else. */
void shmrt_pool_free(void *memory);

/**
 * shmrt_pool_locate - offset of [memory, memory + bytes) in the own pool, for peers to find it by
 *
 * Lock-free: who has a block has been told of its pages. Return: SHMRT_POOL_NONE when not all of it
 * lies on pages that are taken.
 */
static inline uint64_t shmrt_pool_locate(const struct shmrt_pool *own, const void *memory,
                                         size_t bytes)
{
    uint64_t offset = (uintptr_t)memory - (uintptr_t)own->file.base;
    size_t taken = atomic_load_explicit(&own->taken_bytes, memory_order_relaxed);
    return offset < taken && bytes <= taken - offset ? offset : SHMRT_POOL_NONE;
}

void shmrt_pool_stats_of(struct shmrt_pool *pool, struct shmrt_pool_stats *out);

#endif
