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
        struct shmrt_rounds r = shmrt_slice_rounds(count, element, size, lanes, lane, chunk);
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
    struct shmrt_rounds r = shmrt_slice_rounds(count, 4, 2, 1, 0, 65536);
    struct shmrt_slice last = shmrt_slice_part(&r, r.rounds - 1, 1);
    assert_int_equal(last.begin + last.count, count);
}

/* With full parts in the last round its first rank would have all the work. */
static void last_round_is_shared(void **state)
{
    (void)state;
    struct shmrt_rounds r = shmrt_slice_rounds(16384 * 2 * 5 + 8192, 4, 2, 1, 0, 65536);
    struct shmrt_slice a = shmrt_slice_part(&r, r.rounds - 1, 0);
    struct shmrt_slice b = shmrt_slice_part(&r, r.rounds - 1, 1);
    assert_true(a.count > 0 && b.count > 0);
    assert_true(a.count - b.count <= 64);
}

static void small_vectors_wake_few_lanes(void **state)
{
    (void)state;
    assert_int_equal(shmrt_slice_lanes(0, 8), 1);
    assert_int_equal(shmrt_slice_lanes(16 << 10, 8), 1);
    assert_int_equal(shmrt_slice_lanes(100 << 10, 8), 3);
    assert_int_equal(shmrt_slice_lanes((size_t)1 << 40, 8), 8);
    assert_int_equal(shmrt_slice_lanes((size_t)1 << 40, 1), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_element_once),
        cmocka_unit_test(beyond_32_bits),
        cmocka_unit_test(last_round_is_shared),
        cmocka_unit_test(small_vectors_wake_few_lanes),
    };
    return cmocka_run_group_tests_name("slices", tests, NULL, NULL);
}
