/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_large.c - vectors from 64 MiB to beyond 2 GiB, 2 to 8 ranks; each element is checked.
 */
#include "ranks.h"
#include "values.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { STEP = 1 << 16 };

struct vector {
    size_t count;
    enum shmrt_dtype dtype;
    enum shmrt_op op;
};

static int reduce_vector(struct rank *rank)
{
    const struct vector *v = rank->arg;
    size_t element = shmrt_dtype_bytes(v->dtype);
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm);
    char *data = malloc(v->count * element);
    char *expected = malloc(STEP * element);
    CHECK(data && expected);
    for (size_t at = 0; at < v->count; at += STEP)
        values_fill(data + at * element, at, v->count - at < STEP ? v->count - at : STEP, v->dtype,
                    rank->rank, 1);
    CHECK(shmrt_allreduce(comm, data, data, v->count, v->dtype, v->op) == 0);
    for (size_t at = 0; at < v->count; at += STEP) {
        size_t n = v->count - at < STEP ? v->count - at : STEP;
        values_reduce(expected, at, n, v->dtype, v->op, rank->size, 1);
        CHECK(memcmp(data + at * element, expected, n * element) == 0);
    }
    free(data);
    free(expected);
    shmrt_comm_destroy(comm);
    return 0;
}

static void run(int size, struct vector vector)
{
    struct ranks_run run = {.kind = RANKS_PROCESSES,
                            .size = size,
                            .body = reduce_vector,
                            .arg = &vector,
                            .timeout_s = 900};
    ranks_run_well(&run);
}

/* Every type and operation with 2 and 3 ranks; from 4 on they take turns, each with some size. */
static void sixty_four_mebibytes(void **state)
{
    (void)state;
    for (int size = 2; size <= 8; size++)
        for (int dtype = 0; dtype < SHMRT_DTYPE_COUNT; dtype++)
            for (int op = 0; op < SHMRT_OP_COUNT; op++) {
                bool undefined = op == SHMRT_AVG && dtype > SHMRT_FLOAT16;
                if (undefined || (size > 3 && (dtype * SHMRT_OP_COUNT + op) % 5 != size - 4))
                    continue;
                run(size, (struct vector){(64 << 20) / shmrt_dtype_bytes((enum shmrt_dtype)dtype),
                                          (enum shmrt_dtype)dtype, (enum shmrt_op)op});
            }
}

static void beyond_two_gibibytes(void **state)
{
    (void)state;
    run(2, (struct vector){(size_t)5 << 27, SHMRT_FLOAT32, SHMRT_SUM}); /* 2.5 GiB */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sixty_four_mebibytes),
        cmocka_unit_test(beyond_two_gibibytes),
    };
    return cmocka_run_group_tests_name("large", tests, NULL, NULL);
}
