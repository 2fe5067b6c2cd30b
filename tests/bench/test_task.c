/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_task.c - the data that shm-bench verifies with: a right collective passes, and each way of
 * being wrong that libraries have shows.
 */
#include "task.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 7, COUNT = 300 };

/* All ranks' buffers, so that a collective can be played by hand. */
struct stage {
    struct bench_task task;
    char *in[MOST];
    char *out[MOST];
    size_t block;
};

static void fill_stage(struct stage *s, enum bench_collective collective, uint32_t ranks,
                       enum bench_dtype dtype)
{
    s->task = (struct bench_task){.collective = collective,
                                  .dtype = dtype,
                                  .op = BENCH_SUM,
                                  .ranks = ranks,
                                  .root = ranks - 1,
                                  .count = COUNT};
    s->block = COUNT * bench_dtype_bytes(dtype);
    for (uint32_t r = 0; r < ranks; r++) {
        s->in[r] = malloc(s->block * ranks);
        s->out[r] = malloc(s->block * ranks);
        bench_fill(&s->task, r, s->in[r], s->out[r]);
    }
}

static void clear_stage(struct stage *s)
{
    for (uint32_t r = 0; r < s->task.ranks; r++) {
        free(s->in[r]);
        free(s->out[r]);
    }
}

/* Block @from of rank @source to block @to of rank @destination. */
static void copy(struct stage *s, uint32_t source, size_t from, uint32_t destination, size_t to)
{
    memcpy(s->out[destination] + to * s->block, s->in[source] + from * s->block, s->block);
}

static void move(struct stage *s)
{
    uint32_t n = s->task.ranks, root = s->task.root;
    for (uint32_t a = 0; a < n; a++)
        for (uint32_t b = 0; b < n; b++)
            if (s->task.collective == BENCH_ALLTOALL)
                copy(s, a, b, b, a);
            else if (s->task.collective == BENCH_ALLGATHER)
                copy(s, a, 0, b, a);
            else if (s->task.collective == BENCH_GATHER && b == root)
                copy(s, a, 0, b, a);
            else if (s->task.collective == BENCH_SCATTER && a == root)
                copy(s, a, b, b, 0);
            else if (s->task.collective == BENCH_BROADCAST && a == root)
                copy(s, a, 0, b, 0);
            else if (s->task.collective == BENCH_SENDRECV && a + b == 1)
                copy(s, a, 0, b, 0);
}

static int64_t first_wrong(const struct stage *s)
{
    for (uint32_t r = 0; r < s->task.ranks; r++) {
        int64_t wrong = bench_check(&s->task, r, s->out[r]);
        if (wrong >= 0)
            return wrong;
    }
    return -1;
}

static const enum bench_collective movers[] = {BENCH_BROADCAST, BENCH_ALLGATHER, BENCH_ALLTOALL,
                                               BENCH_GATHER,    BENCH_SCATTER,   BENCH_SENDRECV};

static void a_right_move_passes_and_an_untouched_output_does_not(void **state)
{
    (void)state;
    for (size_t m = 0; m < sizeof movers / sizeof movers[0]; m++)
        for (uint32_t ranks = 2; ranks <= MOST; ranks++)
            for (uint32_t dtype = 0; dtype < BENCH_DTYPE_COUNT; dtype++) {
                struct stage s;
                fill_stage(&s, movers[m], ranks, (enum bench_dtype)dtype);
                assert_int_not_equal(first_wrong(&s), -1);
                move(&s);
                assert_int_equal(first_wrong(&s), -1);
                clear_stage(&s);
            }
}

static void two_blocks_exchanged_show(void **state)
{
    (void)state;
    for (uint32_t a = 0; a < MOST; a++)
        for (uint32_t b = 0; b < a; b++) {
            struct stage s;
            fill_stage(&s, BENCH_ALLTOALL, MOST, BENCH_INT8);
            move(&s);
            copy(&s, a, 3, 3, b);
            copy(&s, b, 3, 3, a);
            assert_int_not_equal(bench_check(&s.task, 3, s.out[3]), -1);
            clear_stage(&s);
        }
}

static void an_untransposed_alltoall_shows(void **state)
{
    (void)state;
    struct stage s;
    fill_stage(&s, BENCH_ALLTOALL, 4, BENCH_FP16);
    for (uint32_t r = 0; r < 4; r++)
        for (size_t b = 0; b < 4; b++)
            copy(&s, r, b, r, b);
    for (uint32_t r = 0; r < 4; r++)
        assert_int_not_equal(bench_check(&s.task, r, s.out[r]), -1);
    clear_stage(&s);
}

/* Each single element, also where its neighbours are right. */
static void one_stale_element_shows_and_is_named(void **state)
{
    (void)state;
    struct stage s;
    fill_stage(&s, BENCH_ALLGATHER, 2, BENCH_BF16);
    for (int64_t i = 0; i < 2 * COUNT; i++) {
        move(&s);
        memset(s.out[1] + i * 2, 0, 2);
        assert_int_equal(bench_check(&s.task, 1, s.out[1]), i);
    }
    clear_stage(&s);
}

static void a_shifted_chunk_shows(void **state)
{
    (void)state;
    struct stage s;
    for (size_t shift = 1; shift < COUNT - 1; shift++) {
        fill_stage(&s, BENCH_BROADCAST, 2, BENCH_UINT8);
        move(&s);
        memmove(s.out[0], s.out[0] + shift, s.block - shift);
        assert_int_not_equal(bench_check(&s.task, 0, s.out[0]), -1);
        clear_stage(&s);
    }
}

/* In the type's own arithmetic, as a contender would; leaves out @without, takes @twice twice. */
static void reduce_fp32(struct stage *s, int without, int twice)
{
    uint32_t n = s->task.ranks;
    size_t blocks = s->task.collective == BENCH_REDUCE_SCATTER ? n : 1;
    for (uint32_t to = 0; to < n; to++)
        for (size_t i = 0; i < COUNT; i++) {
            float sum = 0;
            for (int r = 0; r < (int)n; r++) {
                const float *in = (const float *)(const void *)s->in[r];
                float value = in[(blocks > 1 ? to : 0) * COUNT + i];
                sum += r == without ? 0 : r == twice ? 2 * value : value;
            }
            memcpy(s->out[to] + i * sizeof sum, &sum, sizeof sum);
        }
}

static void sums_pass_and_a_rank_left_out_or_doubled_shows(void **state)
{
    (void)state;
    static const enum bench_collective reductions[] = {BENCH_ALLREDUCE, BENCH_REDUCE,
                                                       BENCH_REDUCE_SCATTER};
    for (size_t c = 0; c < 3; c++)
        for (uint32_t ranks = 2; ranks <= MOST; ranks++) {
            struct stage s;
            fill_stage(&s, reductions[c], ranks, BENCH_FP32);
            reduce_fp32(&s, -1, -1);
            assert_int_equal(first_wrong(&s), -1);
            reduce_fp32(&s, (int)ranks - 1, -1);
            assert_int_not_equal(first_wrong(&s), -1);
            reduce_fp32(&s, 0, 1);
            assert_int_not_equal(first_wrong(&s), -1);
            clear_stage(&s);
        }
}

static void another_ranks_block_of_a_reduce_scatter_shows(void **state)
{
    (void)state;
    struct stage s;
    fill_stage(&s, BENCH_REDUCE_SCATTER, 3, BENCH_FP32);
    reduce_fp32(&s, -1, -1);
    for (uint32_t r = 0; r < 3; r++)
        assert_int_not_equal(bench_check(&s.task, r, s.out[(r + 1) % 3]), -1);
    clear_stage(&s);
}

static void sizes(void **state)
{
    (void)state;
    struct bench_task t = {.dtype = BENCH_FP64, .ranks = 4, .root = 2, .count = 10};
    static const size_t wanted[BENCH_COLLECTIVE_COUNT][4] = {
        /* in and out of the root, in and out of another rank; in blocks of 80 bytes */
        [BENCH_ALLREDUCE] = {1, 1, 1, 1},      [BENCH_BROADCAST] = {1, 1, 0, 1},
        [BENCH_REDUCE] = {1, 1, 1, 0},         [BENCH_ALLGATHER] = {1, 4, 1, 4},
        [BENCH_REDUCE_SCATTER] = {4, 1, 4, 1}, [BENCH_ALLTOALL] = {4, 4, 4, 4},
        [BENCH_GATHER] = {1, 4, 1, 0},         [BENCH_SCATTER] = {4, 1, 0, 1},
        [BENCH_SENDRECV] = {0, 0, 1, 1},       [BENCH_BARRIER] = {0, 0, 0, 0},
        [BENCH_ALLREDUCE_NORM] = {1, 1, 1, 1}, [BENCH_CREATE] = {1, 1, 1, 1}};
    for (uint32_t c = 0; c < BENCH_COLLECTIVE_COUNT; c++) {
        t.collective = c;
        assert_int_equal(bench_in_bytes(&t, 2), 80 * wanted[c][0]);
        assert_int_equal(bench_out_bytes(&t, 2), 80 * wanted[c][1]);
        assert_int_equal(bench_in_bytes(&t, 1), 80 * wanted[c][2]);
        assert_int_equal(bench_out_bytes(&t, 1), 80 * wanted[c][3]);
    }
}

static void rewriting_writes_the_input_alone(void **state)
{
    (void)state;
    struct bench_task t = {.collective = BENCH_ALLREDUCE,
                           .dtype = BENCH_UINT8,
                           .ranks = 2,
                           .count = 100,
                           .buffers = BENCH_REWRITTEN};
    char in[128], out[128], zeros[128] = {0};
    memset(in, 0, sizeof in);
    memset(out, 0, sizeof out);
    bench_prepare(&t, 0, in, out);
    assert_memory_equal(out, zeros, sizeof out);
    assert_memory_not_equal(in, zeros, 1);
    assert_memory_not_equal(in + 99, zeros, 1);
    assert_memory_equal(in + 100, zeros, 28);
    t.buffers = BENCH_COLD; /* leaves the values alone */
    memcpy(out, in, sizeof out);
    bench_prepare(&t, 0, in, out);
    assert_memory_equal(in, out, sizeof out);
}

static void fp16_of_exact_numbers(void **state)
{
    (void)state;
    static const struct {
        float value;
        uint16_t bits;
    } known[] = {{0, 0},          {1, 0x3c00},     {-2, 0xc000},      {2048, 0x6800},
                 {65504, 0x7bff}, {0.5f, 0x3800},  {0x1p-14f, 0x400}, {0x1.004p0f, 0x3c01},
                 {1.5f, 0x3e00},  {-0.0f, 0x8000}, {255, 0x5bf8}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        assert_int_equal(bench_fp16(known[i].value), known[i].bits);
}

/* Integers of each width are the same numbers, on a big-endian CPU too. */
static void narrow_integers_are_the_wide_ones(void **state)
{
    (void)state;
    int64_t wide[COUNT], out[COUNT];
    int32_t word[COUNT];
    int16_t half[COUNT];
    int8_t byte[COUNT];
    void *const in[] = {wide, word, half, byte};
    static const enum bench_dtype dtypes[] = {BENCH_INT64, BENCH_INT32, BENCH_INT16, BENCH_INT8};
    struct bench_task t = {.collective = BENCH_ALLGATHER, .ranks = 1, .count = COUNT};
    for (int k = 0; k < 4; k++) {
        t.dtype = dtypes[k];
        bench_fill(&t, 0, in[k], out);
    }
    for (int i = 0; i < COUNT; i++) {
        assert_in_range(wide[i], 1, 127);
        assert_int_equal(word[i], wide[i]);
        assert_int_equal(half[i], wide[i]);
        assert_int_equal(byte[i], wide[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_right_move_passes_and_an_untouched_output_does_not),
        cmocka_unit_test(two_blocks_exchanged_show),
        cmocka_unit_test(an_untransposed_alltoall_shows),
        cmocka_unit_test(one_stale_element_shows_and_is_named),
        cmocka_unit_test(a_shifted_chunk_shows),
        cmocka_unit_test(sums_pass_and_a_rank_left_out_or_doubled_shows),
        cmocka_unit_test(another_ranks_block_of_a_reduce_scatter_shows),
        cmocka_unit_test(sizes),
        cmocka_unit_test(rewriting_writes_the_input_alone),
        cmocka_unit_test(fp16_of_exact_numbers),
        cmocka_unit_test(narrow_integers_are_the_wide_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
