/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.c - life of a pool and of its blocks.
 *
 * The owner alone writes a block's mark, the line in front of it, by which shmrt_pool_free() finds
 * the pool. Everything else that is known of blocks is private memory of the owner: a stray write
 * into shared memory can spoil a mark, and the block is then lost, but not the heap.
 */
#include "pool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* "shmrtblk", little-endian */
#define MARK_MAGIC UINT64_C(0x6b6c6274726d6873)

enum { GROWTH_BYTES = 2 << 20 };

struct mark {
    uint64_t magic;
    uint64_t pool;  /* address of the owner's struct shmrt_pool */
    uint64_t block; /* its id in the heap */
    uint64_t check; /* of all this and the mark's own address */
};

_Static_assert(sizeof(struct mark) <= SHMRT_POOL_MARK_BYTES, "a mark fits before its block");

static const struct shmrt_file_use creation = {"pool", "a pool", "SHMRT_POOL"};
static const struct shmrt_file_use growth = {"pool", "a further part of the pool", "SHMRT_POOL"};

static struct shmrt_pool *make_pool(void)
{
    struct shmrt_pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return NULL;
    *pool = (struct shmrt_pool){.file = {.fd = -1}, .holders = 1};
    pthread_mutex_init(&pool->mutex, NULL);
    return pool;
}

static void destroy_pool(struct shmrt_pool *pool, bool mapped)
{
    shmrt_file_release(&pool->file, mapped);
    shmrt_pool_heap_destroy(&pool->heap);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}

static int make_memory(struct shmrt_pool *pool, const struct shmrt_file_wish *wish,
                       const struct shmrt_logger *logger, struct shmrt_error *error_out)
{
    int rc = shmrt_file_make(wish, logger, &pool->file, error_out);
    if (rc)
        return rc;
    if (pool->file.bind_code)
        shmrt_log(logger, SHMRT_LOG_WARNING,
                  "mbind of this rank's pool was refused (%s); first touch places it instead",
                  strerror(-pool->file.bind_code));
    if ((rc = shmrt_file_seal(&pool->file)) != 0)
        return shmrt_error_set(error_out, rc, "sealing a pool failed: %s", strerror(-rc));
    if ((rc = shmrt_pool_heap_create(wish->bytes, &pool->heap)) != 0)
        return shmrt_error_set(error_out, rc, "no memory to describe a pool");
    return 0;
}

int shmrt_pool_create(size_t bytes, enum shmrt_page_kind kind, const struct shmrt_nodeset *nodes,
                      const struct shmrt_logger *logger, struct shmrt_pool **pool_out,
                      struct shmrt_error *error_out)
{
    const struct shmrt_file_wish wish = {
        .use = &creation, .bytes = bytes, .kind = kind, .nodes = nodes};
    struct shmrt_pool *pool = make_pool();
    if (!pool)
        return shmrt_error_set(error_out, -ENOMEM, "no memory to describe a pool");
    int rc = bytes ? make_memory(pool, &wish, logger, error_out) : 0;
    if (rc)
        destroy_pool(pool, true);
    else
        *pool_out = pool;
    return rc;
}

int shmrt_pool_attach(int fd, int rank, size_t bytes, bool hugetlb, struct shmrt_pool **pool_out,
                      struct shmrt_error *error_out)
{
    struct shmrt_pool *pool = make_pool();
    int rc = pool ? 0 : -ENOMEM;
    if (rc == 0 && bytes)
        rc = shmrt_file_attach(fd, bytes, hugetlb, &pool->file);
    else if (fd >= 0)
        close(fd);
    if (rc == 0) {
        shmrt_file_close_fd(&pool->file);
        *pool_out = pool;
        return 0;
    }
    if (pool)
        destroy_pool(pool, true);
    if (rc == -EPROTO || rc == -EXDEV)
        return shmrt_file_refuse(rc, "a pool", bytes, rank, error_out);
    return shmrt_error_set(error_out, rc,
                           "mapping the pool of rank %d, %zu bytes, failed: %s; lower SHMRT_POOL, "
                           "or raise `ulimit -v`",
                           rank, bytes, strerror(-rc));
}

void shmrt_pool_hold(struct shmrt_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    pool->holders++;
    pthread_mutex_unlock(&pool->mutex);
}

void shmrt_pool_release(struct shmrt_pool *pool, bool mapped)
{
    if (!pool)
        return;
    /* In a forked child a thread that is not here any more may hold the mutex, and have left the
     * heap half changed: the struct then stays. */
    if (mapped)
        pthread_mutex_lock(&pool->mutex);
    else if (pthread_mutex_trylock(&pool->mutex) != 0)
        return;
    bool last = --pool->holders == 0 && (pool->heap.blocks == 0 || !mapped);
    pthread_mutex_unlock(&pool->mutex);
    if (last)
        destroy_pool(pool, mapped);
}

/* Takes the pages up to @end, and some more, so that this is rare. */
static int grow(struct shmrt_pool *pool, size_t end, struct shmrt_error *error_out)
{
    const struct shmrt_file *file = &pool->file;
    size_t taken = atomic_load_explicit(&pool->taken_bytes, memory_order_relaxed);
    if (end <= taken)
        return 0;
    size_t step = file->page_bytes > GROWTH_BYTES ? file->page_bytes : GROWTH_BYTES;
    size_t target = (end + step - 1) / step * step;
    target = target < file->bytes ? target : file->bytes;
    int rc = shmrt_file_take(&growth, file, taken, target - taken, error_out);
    if (rc)
        return rc == -ENOSPC ? shmrt_error_set(error_out, -ENOMEM,
                                               "the system has no %zu bytes more for the pool",
                                               target - taken)
                             : rc;
    atomic_store_explicit(&pool->taken_bytes, target, memory_order_relaxed);
    return 0;
}

static struct mark *mark_before(const void *memory)
{
    return (struct mark *)((uintptr_t)memory - SHMRT_POOL_MARK_BYTES);
}

/* Spreads every bit; a mark is never right by chance, nor when copied to another place. */
static uint64_t check_of(const struct mark *mark)
{
    uint64_t h = mark->magic ^ (uintptr_t)mark;
    h = (h ^ mark->pool) * UINT64_C(0x9e3779b97f4a7c15);
    h = ((h ^ h >> 32) + mark->block) * UINT64_C(0x9e3779b97f4a7c15);
    return h ^ h >> 29;
}

static void write_mark(struct shmrt_pool *pool, const struct shmrt_pool_block *block)
{
    struct mark *mark = mark_before(pool->file.base + block->at);
    *mark = (struct mark){.magic = MARK_MAGIC, .pool = (uintptr_t)pool, .block = block->id};
    mark->check = check_of(mark);
}

static int no_room(const struct shmrt_pool *pool, size_t bytes, struct shmrt_error *error_out)
{
    return shmrt_error_set(error_out, -ENOMEM,
                           "the pool has no room for a block of %zu bytes: %zu of its %zu are in "
                           "use, and the largest hole has %zu; free blocks, or raise SHMRT_POOL",
                           bytes, pool->heap.used_bytes, pool->file.bytes,
                           shmrt_pool_heap_largest(&pool->heap));
}

int shmrt_pool_alloc(struct shmrt_pool *pool, size_t bytes, void **out,
                     struct shmrt_error *error_out)
{
    if (pool->file.bytes == 0)
        return shmrt_error_set(error_out, -ENOTSUP,
                               "there is no pool to take a block from: SHMRT_POOL is 0");
    struct shmrt_pool_block block;
    pthread_mutex_lock(&pool->mutex);
    int rc = shmrt_pool_heap_take(&pool->heap, bytes, &block);
    if (rc == -ENOSPC)
        rc = no_room(pool, bytes, error_out);
    else if (rc)
        shmrt_error_set(error_out, rc, "no private memory to describe a block");
    else if ((rc = grow(pool, block.end, error_out)) != 0)
        shmrt_pool_heap_give(&pool->heap, block.id, block.at);
    if (rc == 0)
        write_mark(pool, &block);
    if (rc == 0 && pool->heap.used_bytes > pool->peak_bytes)
        pool->peak_bytes = pool->heap.used_bytes;
    pool->refused += rc != 0;
    pthread_mutex_unlock(&pool->mutex);
    if (rc == 0)
        *out = pool->file.base + block.at;
    return rc;
}

/* The block's mark, or NULL when @memory can't be a block, here or any more. */
static struct mark *find_mark(const void *memory)
{
    if (!memory || (uintptr_t)memory % SHMRT_POOL_GRAIN_BYTES != 0)
        return NULL;
    struct mark *mark = mark_before(memory);
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    void *page = (void *)((uintptr_t)mark / page_bytes * page_bytes);
    /* Writes nothing, but says whether the page is mapped: it is not in a forked child, nor after
     * the last block of a pool whose communicator is gone. */
    if (msync(page, page_bytes, MS_ASYNC) != 0)
        return NULL;
    return mark->magic == MARK_MAGIC && mark->check == check_of(mark) ? mark : NULL;
}

void shmrt_pool_free(void *memory)
{
    struct mark *mark = find_mark(memory);
    if (!mark)
        return;
    struct shmrt_pool *pool = (struct shmrt_pool *)(uintptr_t)mark->pool;
    size_t at = (size_t)((char *)memory - pool->file.base);
    pthread_mutex_lock(&pool->mutex);
    bool was_live = shmrt_pool_heap_give(&pool->heap, mark->block, at);
    if (was_live)
        mark->magic = 0;
    bool last = was_live && pool->holders == 0 && pool->heap.blocks == 0;
    pthread_mutex_unlock(&pool->mutex);
    if (last)
        destroy_pool(pool, true);
}

void shmrt_pool_stats_of(struct shmrt_pool *pool, struct shmrt_pool_stats *out)
{
    pthread_mutex_lock(&pool->mutex);
    *out = (struct shmrt_pool_stats){
        .limit_bytes = pool->file.bytes,
        .taken_bytes = atomic_load_explicit(&pool->taken_bytes, memory_order_relaxed),
        .used_bytes = pool->heap.used_bytes,
        .peak_bytes = pool->peak_bytes,
        .refused = pool->refused,
    };
    pthread_mutex_unlock(&pool->mutex);
}
