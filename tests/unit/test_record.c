/* SPDX-License-Identifier: Apache-2.0 */
/* test_record.c - nothing is believed of a record that is half written, overtaken or damaged. */
#include "diag/record.h"
#include "random64.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { SIZE = 5, WRITTEN = 300000, RUBBISH = 20000 };

/* What call @number is in these tests: all of it follows from the number. */
static struct shmrt_call call_of(uint64_t number)
{
    uint64_t state = number * 0x9e3779b97f4a7c15 + 1;
    uint64_t bits = next_shifted(&state);
    return (struct shmrt_call){.collective = (uint8_t)(1 + bits % (SHMRT_COLLECTIVE_END - 1)),
                               .dtype = (uint8_t)(bits >> 8 & 7),
                               .op = (uint8_t)((bits >> 16) % SHMRT_OP_COUNT),
                               .root = (uint8_t)((bits >> 24) % SIZE),
                               .count = bits >> 32};
}

static void assert_is_call(const struct shmrt_record_seen *seen)
{
    struct shmrt_call call = call_of(seen->number);
    assert_memory_equal(&seen->call, &call, sizeof call);
    assert_int_equal(seen->epoch, 7 * seen->number);
}

static void begin(struct shmrt_recorder *recorder)
{
    struct shmrt_call call = call_of(recorder->number + 1);
    uint64_t number = shmrt_record_begin(recorder, &call, 7 * (recorder->number + 1));
    assert_int_equal(number, recorder->number);
}

static void latest_calls_are_read_back(void **state)
{
    (void)state;
    static struct shmrt_records records;
    struct shmrt_recorder recorder = {.own = &records};
    struct shmrt_record_seen seen[SHMRT_RECORDS];
    assert_int_equal(shmrt_records_read(&records, SIZE, seen), 0);
    for (int i = 1; i <= 3 * SHMRT_RECORDS; i++) {
        begin(&recorder);
        if (i % 3)
            shmrt_record_end(&recorder, recorder.number);
        int count = shmrt_records_read(&records, SIZE, seen);
        assert_int_equal(count, i < SHMRT_RECORDS ? i : SHMRT_RECORDS);
        for (int k = 0; k < count; k++) {
            assert_int_equal(seen[k].number, i - k);
            assert_is_call(&seen[k]);
            assert_int_equal(seen[k].done, (i - k) % 3 != 0);
        }
    }
    /* The end of a call whose place has another one by now is nobody's. */
    shmrt_record_end(&recorder, recorder.number - SHMRT_RECORDS);
    assert_int_equal(shmrt_records_read(&records, SIZE, seen), SHMRT_RECORDS);
    assert_false(seen[0].done);
}

/* A writer that dies between any two of its stores, of which any may have become visible. */
static void half_a_record_is_not_believed(void **state)
{
    (void)state;
    struct shmrt_record_seen seen[SHMRT_RECORDS];
    for (unsigned visible = 0; visible < 32; visible++) {
        struct shmrt_records before = {0}, after;
        struct shmrt_recorder recorder = {.own = &before};
        for (int i = 0; i < 2 * SHMRT_RECORDS; i++)
            begin(&recorder);
        memcpy(&after, &before, sizeof after);
        recorder.own = &after;
        begin(&recorder);
        struct shmrt_record *to = &before.ring[recorder.number % SHMRT_RECORDS];
        const struct shmrt_record *from = &after.ring[recorder.number % SHMRT_RECORDS];
        if (visible & 1)
            to->call = from->call;
        if (visible & 2)
            to->count = from->count;
        if (visible & 4)
            to->epoch = from->epoch;
        if (visible & 8)
            to->end = from->end;
        if (visible & 16)
            before.newest = after.newest;
        int count = shmrt_records_read(&before, SIZE, seen);
        bool is_whole = (visible & 15) == 15;
        assert_int_equal(seen[0].number, recorder.number - !is_whole);
        /* Of 64 one may be the one that was being written over. */
        assert_in_range(count, SHMRT_RECORDS - 1, SHMRT_RECORDS);
        for (int i = 0; i < count; i++)
            assert_is_call(&seen[i]);
    }
}

static void *write_records(void *arg)
{
    struct shmrt_recorder *recorder = arg;
    for (int i = 0; i < WRITTEN; i++) {
        begin(recorder);
        shmrt_record_end(recorder, recorder->number);
    }
    return NULL;
}

static void reader_beside_a_writer_sees_whole_records(void **state)
{
    (void)state;
    static struct shmrt_records records;
    struct shmrt_recorder recorder = {.own = &records};
    struct shmrt_record_seen seen[SHMRT_RECORDS];
    pthread_t writer;
    uint64_t newest = 0;
    assert_int_equal(pthread_create(&writer, NULL, write_records, &recorder), 0);
    while (newest < WRITTEN) {
        int count = shmrt_records_read(&records, SIZE, seen);
        for (int i = 0; i < count; i++) {
            assert_is_call(&seen[i]);
            assert_true(i == 0 || seen[i].number < seen[i - 1].number);
        }
        if (count)
            newest = seen[0].number;
    }
    pthread_join(writer, NULL);
}

/* A peer's memory may hold anything. */
static void rubbish_is_never_out_of_range(void **state)
{
    (void)state;
    static struct shmrt_records records;
    struct shmrt_record_seen seen[SHMRT_RECORDS];
    struct shmrt_wait_seen wait;
    uint64_t random = 1;
    int believed = 0;
    for (int i = 0; i < RUBBISH; i++) {
        uint64_t *words = (uint64_t *)&records;
        for (size_t w = 0; w < sizeof records / sizeof *words; w++)
            words[w] = next_shifted(&random) >> (next_shifted(&random) % 64);
        /* The right tags, so that the rest is looked at. */
        for (uint64_t n = records.newest; i % 2 && n + 64 > records.newest && n; n--) {
            _Atomic uint64_t *record = (_Atomic uint64_t *)&records.ring[n % SHMRT_RECORDS];
            for (int w = 0; w < 4; w++)
                record[w] = (record[w] << 16 >> 16) | n << 48;
        }
        int count = shmrt_records_read(&records, SIZE, seen);
        believed += count;
        assert_in_range(count, 0, SHMRT_RECORDS);
        for (int k = 0; k < count; k++) {
            assert_in_range(seen[k].call.collective, 1, SHMRT_COLLECTIVE_END - 1);
            assert_in_range(seen[k].call.root, 0, SIZE - 1);
            assert_in_range(seen[k].call.dtype, 0, SHMRT_DTYPE_COUNT - 1);
            assert_in_range(seen[k].call.op, 0, SHMRT_OP_COUNT - 1);
        }
        struct shmrt_wait_note note = {next_shifted(&random) >> (i % 12), i, i};
        if (shmrt_wait_note_read(&note, SIZE, &wait))
            assert_in_range(wait.rank, 0, SIZE - 1);
    }
    assert_true(believed > 0); /* or the rest of this proves nothing */
}

static void wait_is_noted_and_cleared(void **state)
{
    (void)state;
    struct shmrt_wait_note note = {0};
    struct shmrt_wait_seen wait = {.rank = 3, .record = 9, .since_us = 1234}, seen;
    assert_false(shmrt_wait_note_read(&note, SIZE, &seen));
    shmrt_wait_note_write(&note, &wait);
    assert_true(shmrt_wait_note_read(&note, SIZE, &seen));
    assert_int_equal(seen.rank, 3);
    assert_int_equal(seen.record, 9);
    assert_int_equal(seen.since_us, 1234);
    assert_int_equal(seen.until_us, 0);
    wait.until_us = 2000; /* it gave up */
    shmrt_wait_note_write(&note, &wait);
    assert_true(shmrt_wait_note_read(&note, SIZE, &seen));
    assert_int_equal(seen.until_us, 2000);
    assert_false(shmrt_wait_note_read(&note, 3, &seen)); /* there is no rank 3 of 3 */
    shmrt_wait_note_clear(&note);
    assert_false(shmrt_wait_note_read(&note, SIZE, &seen));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(latest_calls_are_read_back),
        cmocka_unit_test(half_a_record_is_not_believed),
        cmocka_unit_test(reader_beside_a_writer_sees_whole_records),
        cmocka_unit_test(rubbish_is_never_out_of_range),
        cmocka_unit_test(wait_is_noted_and_cleared),
    };
    return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
