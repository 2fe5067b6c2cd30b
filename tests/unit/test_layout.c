/* SPDX-License-Identifier: Apache-2.0 */
/* test_layout.c - the segment is a format: offsets as literals, nothing overlaps, all of it fits.
 */
#include "shm/layout.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A change here needs a new SHMRT_PROTOCOL_VERSION. */
static void offsets_of_version_4(void **state)
{
    (void)state;
    assert_int_equal(offsetof(struct shmrt_segment_header, magic), 0);
    assert_int_equal(offsetof(struct shmrt_segment_header, version), 8);
    assert_int_equal(offsetof(struct shmrt_segment_header, rank), 12);
    assert_int_equal(offsetof(struct shmrt_segment_header, segment_bytes), 16);
    assert_int_equal(sizeof(struct shmrt_call), 16);
    assert_int_equal(offsetof(struct shmrt_call_line, epoch), 0);
    assert_int_equal(offsetof(struct shmrt_call_line, call), 8);
    assert_int_equal(offsetof(struct shmrt_call_line, tiny), 24);
    assert_int_equal(offsetof(struct shmrt_call_line, places), 24);
    assert_int_equal(sizeof(struct shmrt_call_line), 64);
    assert_true(sizeof(struct shmrt_call_line) <= SHMRT_LINE_BYTES);
    assert_int_equal(sizeof(struct shmrt_places), 24);
    assert_int_equal(offsetof(struct shmrt_lane_flags, done), 16);
    assert_int_equal(offsetof(struct shmrt_lane_flags, partial), 24);
    assert_int_equal(offsetof(struct shmrt_lane_flags, relayed), 32);
    assert_int_equal(offsetof(struct shmrt_pair_flags, taken), SHMRT_APART_BYTES);
    assert_int_equal(sizeof(struct shmrt_pair_flags), 2 * SHMRT_APART_BYTES);
    assert_int_equal(sizeof(struct shmrt_message_note), SHMRT_LINE_BYTES);
    assert_int_equal(sizeof(struct shmrt_lane_flags), SHMRT_APART_BYTES);
    assert_int_equal(sizeof(struct shmrt_lane_sleep), SHMRT_LINE_BYTES);
    assert_int_equal(offsetof(struct shmrt_lane_sleep, note), 8);
    assert_int_equal(sizeof(struct shmrt_wait_note), 24);
    assert_int_equal(offsetof(struct shmrt_record, count), 8);
    assert_int_equal(offsetof(struct shmrt_record, epoch), 16);
    assert_int_equal(offsetof(struct shmrt_record, end), 24);
    assert_int_equal(sizeof(struct shmrt_record), 32);
    assert_int_equal(offsetof(struct shmrt_records, ring), SHMRT_LINE_BYTES);
    assert_int_equal(sizeof(struct shmrt_abort_record), SHMRT_ERROR_TEXT_BYTES);
    struct shmrt_layout l;
    assert_int_equal(shmrt_layout_compute(2, 1, 8 << 20, 16 << 10, 0, &l, NULL), 0);
    assert_int_equal(l.abort_offset, SHMRT_APART_BYTES);
    assert_int_equal(l.call_offset, 512 + SHMRT_APART_BYTES);
    assert_int_equal(l.flags_offset, 512 + 3 * SHMRT_APART_BYTES);
    assert_int_equal(l.sleep_offset, 512 + 4 * SHMRT_APART_BYTES);
    /* What comes before it takes a page where what is kept apart is 128 bytes apart, else two. */
    const size_t front = SHMRT_APART_BYTES > 128 ? 8192 : 4096;
    assert_int_equal(l.small_offset, front);
    assert_int_equal(l.pair_offset, 512 + 5 * SHMRT_APART_BYTES);
    assert_int_equal(l.records_offset, 512 + 9 * SHMRT_APART_BYTES);
    assert_int_equal(l.channel_offset, front + 32768);
    assert_int_equal(l.channel_chunk_bytes, 65536);
    assert_int_equal(l.ring_offset, front + 32768 + 8 * 65536 + 4096);
    assert_int_equal(l.chunk_bytes, 65536);
    assert_int_equal(l.ring_slots, 16);
}

/* Paints every piece with its own mark; a piece that is painted twice overlaps another. */
static void paint(unsigned char *map, size_t used, size_t offset, size_t bytes)
{
    assert_true(offset + bytes <= used);
    for (size_t i = offset; i < offset + bytes; i++)
        assert_int_equal(map[i]++, 0);
}

static void check_layout(int size, int lanes, size_t segment_bytes)
{
    struct shmrt_layout l;
    struct shmrt_error error;
    int rc = shmrt_layout_compute(size, lanes, segment_bytes, 1 << 10, 0, &l, &error);
    if (rc) {
        assert_int_equal(rc, -EINVAL);
        assert_non_null(strstr(error.text, "SHMRT_SEGMENT"));
        return;
    }
    assert_true(l.used_bytes <= segment_bytes);
    unsigned char *map = calloc(1, l.used_bytes);
    char *base = NULL;
    paint(map, l.used_bytes, 0, sizeof(struct shmrt_segment_header));
    paint(map, l.used_bytes, l.abort_offset, sizeof(struct shmrt_abort_record));
    for (unsigned slot = 0; slot < SHMRT_CALL_SLOTS; slot++) {
        paint(map, l.used_bytes, (size_t)((char *)shmrt_call_at(&l, base, slot) - base),
              sizeof(struct shmrt_call_line));
        paint(map, l.used_bytes, (size_t)(shmrt_small_at(&l, base, slot) - base), l.small_bytes);
    }
    paint(map, l.used_bytes, l.records_offset, sizeof(struct shmrt_records));
    for (int rank = 0; rank < size; rank++) {
        paint(map, l.used_bytes, (size_t)((char *)shmrt_pair_at(&l, base, rank) - base),
              sizeof(struct shmrt_pair_flags));
        for (uint64_t chunk = 0; chunk < SHMRT_CHANNEL_SLOTS; chunk++)
            paint(map, l.used_bytes,
                  (size_t)((char *)shmrt_channel_at(&l, base, rank, chunk) - base),
                  sizeof(struct shmrt_message_note) + l.channel_chunk_bytes);
    }
    for (int lane = 0; lane < lanes; lane++) {
        paint(map, l.used_bytes, (size_t)((char *)shmrt_flags_at(&l, base, lane) - base),
              sizeof(struct shmrt_lane_flags));
        paint(map, l.used_bytes, (size_t)((char *)shmrt_sleep_at(&l, base, lane) - base),
              sizeof(struct shmrt_lane_sleep));
        for (uint64_t round = 0; round < l.ring_slots; round++) {
            for (int rank = 0; rank < size; rank++)
                paint(map, l.used_bytes,
                      (size_t)(shmrt_scatter_at(&l, base, lane, round, rank) - base),
                      l.chunk_bytes);
            paint(map, l.used_bytes, (size_t)(shmrt_gather_at(&l, base, lane, round) - base),
                  l.chunk_bytes);
        }
    }
    free(map);
}

static void pieces_never_overlap(void **state)
{
    (void)state;
    static const int sizes[] = {1, 2, 3, 7, 64};
    static const int lanes[] = {1, 2, 5, 32};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (size_t l = 0; l < sizeof lanes / sizeof lanes[0]; l++) {
            check_layout(sizes[s], lanes[l], 256 << 10);
            check_layout(sizes[s], lanes[l], 2 << 20);
        }
}

static void rounds_reuse_slots(void **state)
{
    (void)state;
    struct shmrt_layout l;
    assert_int_equal(shmrt_layout_compute(3, 2, 8 << 20, 0, 4096, &l, NULL), 0);
    char base[1];
    assert_ptr_equal(shmrt_scatter_at(&l, base, 1, 5, 2),
                     shmrt_scatter_at(&l, base, 1, 5 + l.ring_slots, 2));
    assert_ptr_not_equal(shmrt_scatter_at(&l, base, 1, 5, 2), shmrt_scatter_at(&l, base, 1, 6, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(offsets_of_version_4),
        cmocka_unit_test(pieces_never_overlap),
        cmocka_unit_test(rounds_reuse_slots),
    };
    return cmocka_run_group_tests_name("layout", tests, NULL, NULL);
}
