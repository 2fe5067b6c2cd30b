/* SPDX-License-Identifier: Apache-2.0 */
/* test_pool_heap.c - blocks of a pool against a model that paints grain by grain. */
#include "random64.h"
#include "shm/pool_heap.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { GRAIN = SHMRT_POOL_GRAIN_BYTES, GRAINS = 1500, BLOCKS_MAX = 700 };

struct model {
    unsigned char painted[GRAINS]; /* 1: of some block, mark included */
    struct shmrt_pool_block blocks[BLOCKS_MAX];
    size_t count;
    size_t used_bytes;
};

static bool is_clear(const struct model *m, size_t first, size_t grains)
{
    if (first + grains > GRAINS)
        return false;
    return memchr(m->painted + first, 1, grains) == NULL;
}

/* The lowest place for a mark and @bytes, SIZE_MAX for none. */
static size_t expected_place(const struct model *m, size_t bytes)
{
    size_t grains = bytes ? (bytes + GRAIN - 1) / GRAIN : 1;
    size_t step = grains * GRAIN >= 4096 ? 4096 / GRAIN : 1;
    for (size_t at = step; at < GRAINS; at += step)
        if (is_clear(m, at - 1, grains + 1))
            return at * GRAIN;
    return SIZE_MAX;
}

static void paint(struct model *m, const struct shmrt_pool_block *block, unsigned char colour)
{
    size_t first = block->at / GRAIN - 1, grains = block->end / GRAIN - first;
    assert_true(colour == 0 || is_clear(m, first, grains));
    memset(m->painted + first, colour, grains);
    m->used_bytes += colour ? grains * GRAIN : -(grains * GRAIN);
}

static void take_one(struct shmrt_pool_heap *heap, struct model *m, size_t bytes)
{
    struct shmrt_pool_block block;
    size_t place = expected_place(m, bytes);
    int rc = shmrt_pool_heap_take(heap, bytes, &block);
    assert_int_equal(rc, place == SIZE_MAX ? -ENOSPC : 0);
    if (rc)
        return;
    assert_int_equal(block.at, place);
    assert_true(block.end - block.at >= bytes && block.end - block.at < bytes + 2 * GRAIN);
    paint(m, &block, 1);
    m->blocks[m->count++] = block;
}

static void give_one(struct shmrt_pool_heap *heap, struct model *m, size_t i)
{
    struct shmrt_pool_block block = m->blocks[i];
    assert_false(shmrt_pool_heap_give(heap, block.id, block.at + GRAIN));
    assert_true(shmrt_pool_heap_give(heap, block.id, block.at));
    assert_false(shmrt_pool_heap_give(heap, block.id, block.at));
    paint(m, &block, 0);
    m->blocks[i] = m->blocks[--m->count];
}

/* The largest block there is a place for, found by asking for each size. */
static size_t expected_largest(const struct model *m)
{
    for (size_t grains = GRAINS; grains > 0; grains--)
        if (expected_place(m, grains * GRAIN) != SIZE_MAX)
            return grains * GRAIN;
    return 0;
}

static size_t random_size(uint64_t *seed)
{
    uint64_t kind = next_shifted(seed) % 8;
    return kind < 4   ? next_shifted(seed) % 600
           : kind < 7 ? next_shifted(seed) % 12000
                      : next_shifted(seed) % 70000;
}

/* Phases in which it mostly fills, and in which it mostly drains. */
static void random_walk(uint64_t seed, int steps)
{
    struct shmrt_pool_heap heap;
    static struct model m;
    memset(&m, 0, sizeof m);
    assert_int_equal(shmrt_pool_heap_create(GRAINS * GRAIN + GRAIN - 1, &heap), 0);
    for (int step = 0; step < steps; step++) {
        bool filling = step / 200 % 2 == 0;
        bool take = next_shifted(&seed) % 8 < (filling ? 6 : 2);
        if (take && m.count < BLOCKS_MAX)
            take_one(&heap, &m, random_size(&seed));
        else if (m.count)
            give_one(&heap, &m, next_shifted(&seed) % m.count);
        assert_int_equal(heap.used_bytes, m.used_bytes);
        assert_int_equal(heap.blocks, m.count);
        if (step % 100 == 0)
            assert_int_equal(shmrt_pool_heap_largest(&heap), expected_largest(&m));
    }
    while (m.count)
        give_one(&heap, &m, next_shifted(&seed) % m.count);
    /* All coalesced: one block can have everything behind the first aligned place. */
    struct shmrt_pool_block all;
    assert_int_equal(shmrt_pool_heap_take(&heap, GRAINS * GRAIN - 4096, &all), 0);
    shmrt_pool_heap_destroy(&heap);
}

static void like_the_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++)
        random_walk(seed * UINT64_C(0x9e3779b97f4a7c15), 2000);
}

static void many_small_blocks(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    struct shmrt_pool_heap heap;
    struct shmrt_pool_block *blocks = malloc(COUNT * sizeof *blocks);
    assert_int_equal(shmrt_pool_heap_create(COUNT * 2 * GRAIN, &heap), 0);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(shmrt_pool_heap_take(&heap, 1, &blocks[i]), 0);
        assert_int_equal(blocks[i].at, (2 * i + 1) * GRAIN);
    }
    struct shmrt_pool_block none;
    assert_int_equal(shmrt_pool_heap_take(&heap, 1, &none), -ENOSPC);
    assert_int_equal(shmrt_pool_heap_largest(&heap), 0);
    for (size_t i = 0; i < COUNT; i += 2)
        assert_true(shmrt_pool_heap_give(&heap, blocks[i].id, blocks[i].at));
    assert_int_equal(shmrt_pool_heap_largest(&heap), GRAIN);
    for (size_t i = 1; i < COUNT; i += 2)
        assert_true(shmrt_pool_heap_give(&heap, blocks[i].id, blocks[i].at));
    assert_int_equal(heap.blocks, 0);
    assert_int_equal(heap.used_bytes, 0);
    shmrt_pool_heap_destroy(&heap);
    free(blocks);
}

static void sizes_that_would_wrap_are_refused(void **state)
{
    (void)state;
    struct shmrt_pool_heap heap;
    struct shmrt_pool_block block;
    assert_int_equal(shmrt_pool_heap_create(1 << 20, &heap), 0);
    static const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 127, SIZE_MAX - 4096, (1 << 20) + 1,
                                   1 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        assert_int_equal(shmrt_pool_heap_take(&heap, sizes[i], &block), -ENOSPC);
    assert_false(shmrt_pool_heap_give(&heap, UINT64_MAX, GRAIN));
    assert_false(shmrt_pool_heap_give(&heap, 0, GRAIN));
    shmrt_pool_heap_destroy(&heap);
}

/* Smaller than one block: nothing to give, and no error. */
static void tiny_heaps(void **state)
{
    (void)state;
    for (size_t bytes = 1; bytes < 4 * GRAIN; bytes += GRAIN / 2) {
        struct shmrt_pool_heap heap;
        struct shmrt_pool_block block;
        assert_int_equal(shmrt_pool_heap_create(bytes, &heap), 0);
        assert_int_equal(shmrt_pool_heap_take(&heap, 1, &block), bytes >= 2 * GRAIN ? 0 : -ENOSPC);
        shmrt_pool_heap_destroy(&heap);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(like_the_model),
        cmocka_unit_test(many_small_blocks),
        cmocka_unit_test(sizes_that_would_wrap_are_refused),
        cmocka_unit_test(tiny_heaps),
    };
    return cmocka_run_group_tests_name("pool_heap", tests, NULL, NULL);
}
