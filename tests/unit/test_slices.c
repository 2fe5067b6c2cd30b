/* SPDX-License-Identifier: Apache-2.0 */
/* test_slices.c - lanes, rounds and parts cover every element once, and parts fit their chunk. */
#include "coll/slices.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void check_cover(size_t count, size_t element, int size, int lanes, size_t chunk)
{
    size_t next = 0;
    for (int lane = 0; lane < lanes; lane++) {
        struct shmrt_slice own = shmrt_slice_cut(count, element, 1, lanes, lane);
        struct shmrt_rounds r = shmrt_slice_rounds(own, element, size, chunk);
        for (uint64_t t = 0; t < r.rounds; t++)
            for (int rank = 0; rank < size; rank++) {
                struct shmrt_slice part = shmrt_slice_part(&r, t, rank);
                assert_true(part.count * element <= chunk);
                if (part.count)
                    assert_int_equal(part.begin, next);
                next += part.count;
            }
    }
    assert_int_equal(next, count);
}

static void every_element_once(void **state)
{
    (void)state;
    static const size_t counts[] = {1, 5, 63, 64, 65, 1000, 4097, 65536, 1000003};
    static const int sizes[] = {2, 3, 5, 8, 61};
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++)
        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
            for (size_t element = 1; element <= 8; element *= 2)
                for (int lanes = 1; lanes <= 7; lanes += 3)
                    for (size_t chunk = 64; chunk <= 65536; chunk *= 32)
                        check_cover(counts[c], element, sizes[s], lanes, chunk);
}

static void beyond_32_bits(void **state)
{
    (void)state;
    size_t count = (size_t)3 << 32;
    struct shmrt_rounds r = shmrt_slice_rounds((struct shmrt_slice){0, count}, 4, 2, 65536);
    struct shmrt_slice last = shmrt_slice_part(&r, r.rounds - 1, 1);
    assert_int_equal(last.begin + last.count, count);
}

/* With full parts in the last round its first rank would have all the work. */
static void last_round_is_shared(void **state)
{
    (void)state;
    struct shmrt_rounds r =
        shmrt_slice_rounds((struct shmrt_slice){0, 16384 * 2 * 5 + 8192}, 4, 2, 65536);
    struct shmrt_slice a = shmrt_slice_part(&r, r.rounds - 1, 0);
    struct shmrt_slice b = shmrt_slice_part(&r, r.rounds - 1, 1);
    assert_true(a.count > 0 && b.count > 0);
    assert_true(a.count - b.count <= 64);
}

static void small_vectors_wake_few_lanes(void **state)
{
    (void)state;
    assert_int_equal(shmrt_slice_lanes(0, 32 << 10, 8), 1);
    assert_int_equal(shmrt_slice_lanes(16 << 10, 32 << 10, 8), 1);
    assert_int_equal(shmrt_slice_lanes(100 << 10, 32 << 10, 8), 3);
    assert_int_equal(shmrt_slice_lanes((size_t)1 << 40, 32 << 10, 8), 8);
    assert_int_equal(shmrt_slice_lanes((size_t)1 << 40, 32 << 10, 1), 1);
}

/* Rows stay whole, and pieces of a slice cover it. */
static void units_are_not_cut(void **state)
{
    (void)state;
    for (size_t unit = 2; unit < 200; unit += 13)
        for (int lanes = 1; lanes < 6; lanes++) {
            size_t count = unit * 37, next = 0;
            for (int lane = 0; lane < lanes; lane++) {
                struct shmrt_slice own = shmrt_slice_cut(count, 4, unit, lanes, lane);
                size_t part = shmrt_slice_part_count(own.count, 4, 256);
                assert_true(own.begin % unit == 0 && own.count % unit == 0);
                for (uint64_t t = 0; t * part < own.count; t++) {
                    struct shmrt_slice piece = shmrt_slice_piece(own, part, t);
                    assert_int_equal(piece.begin, next);
                    next += piece.count;
                }
            }
            assert_int_equal(next, count);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_element_once),   cmocka_unit_test(beyond_32_bits),
        cmocka_unit_test(last_round_is_shared), cmocka_unit_test(small_vectors_wake_few_lanes),
        cmocka_unit_test(units_are_not_cut),
    };
    return cmocka_run_group_tests_name("slices", tests, NULL, NULL);
}
