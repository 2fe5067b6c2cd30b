/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_reused.c - a rank that gave up has its tensor back, and writes to it, while another one
 * still reads it where it lies: what that one has read is no result.
 */
#include "kernels/kernels.h"
#include "ranks.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

enum { COUNT = 100000, PATIENCE_MS = 60000 };

static bool is_slow; /* this process reads only when the other's tensor is overwritten */
static _Atomic int *overwritten;

void __real_shmrt_kernels_reduce_to(const struct shmrt_kernels *kernels, enum shmrt_dtype dtype,
                                    enum shmrt_op op, void *const *outs, int outs_n,
                                    const void *const *in, const struct shmrt_grouping *grouping,
                                    int n, size_t count);
void __wrap_shmrt_kernels_reduce_to(const struct shmrt_kernels *kernels, enum shmrt_dtype dtype,
                                    enum shmrt_op op, void *const *outs, int outs_n,
                                    const void *const *in, const struct shmrt_grouping *grouping,
                                    int n, size_t count);

void __wrap_shmrt_kernels_reduce_to(const struct shmrt_kernels *kernels, enum shmrt_dtype dtype,
                                    enum shmrt_op op, void *const *outs, int outs_n,
                                    const void *const *in, const struct shmrt_grouping *grouping,
                                    int n, size_t count)
{
    for (int ms = 0; is_slow && !atomic_load(overwritten) && ms < PATIENCE_MS; ms += 5)
        ranks_nap_ms(5);
    __real_shmrt_kernels_reduce_to(kernels, dtype, op, outs, outs_n, in, grouping, n, count);
}

/* Rank 0 gives up at its deadline, rank 1 has all the time. */
static int use_again(struct rank *rank)
{
    bool in_place = rank->arg != NULL;
    struct shmrt_error error = {0};
    struct shmrt_comm *comm = rank_comm(rank, &error);
    CHECK(comm);
    void *in, *out;
    CHECK(shmrt_alloc(comm, COUNT * sizeof(float), &in) == 0);
    CHECK(shmrt_alloc(comm, COUNT * sizeof(float), &out) == 0);
    for (int i = 0; i < COUNT; i++)
        ((float *)in)[i] = 1;
    CHECK(shmrt_barrier(comm) == 0);
    CHECK(shmrt_comm_set_timeout(comm, rank->rank == 0 ? 1 : PATIENCE_MS / 1e3) == 0);
    is_slow = rank->rank == 1;
    int rc = shmrt_allreduce(comm, in, in_place ? in : out, COUNT, SHMRT_FLOAT32, SHMRT_SUM);
    if (rank->rank == 0) {
        CHECK(rc == -ETIMEDOUT);
        memset(in, 0, COUNT * sizeof(float));
        atomic_store(overwritten, 1);
    } else {
        CHECK(rc == -ECONNABORTED);
        CHECK(strstr(shmrt_comm_error(comm)->text, "aborted by rank 0"));
    }
    shmrt_comm_destroy(comm);
    return 0;
}

static void run(const char *const *settings, bool in_place)
{
    struct ranks_run run = {.kind = RANKS_PROCESSES,
                            .size = 2,
                            .settings = settings,
                            .body = use_again,
                            .arg = in_place ? &run : NULL};
    atomic_store(overwritten, 0);
    ranks_run_well(&run);
}

static void tensors_that_are_all_shared(void **state)
{
    static const char *const settings[] = {"lanes=1", NULL};
    (void)state;
    run(settings, false);
    run(settings, true);
}

int main(void)
{
    overwritten =
        mmap(NULL, sizeof *overwritten, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const struct CMUnitTest tests[] = {cmocka_unit_test(tensors_that_are_all_shared)};
    return overwritten == MAP_FAILED || cmocka_run_group_tests(tests, NULL, NULL);
}
