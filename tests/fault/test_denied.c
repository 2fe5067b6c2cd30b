/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_denied.c - system calls that a container's seccomp profile refuses: right all the same, and
 * one line says what is missing.
 */
#include "ranks.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* From now on @number fails with @code in this process. */
static bool deny(int number, int code)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)code),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof filter / sizeof filter[0], .filter = filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

struct denial {
    int number;
    int code;
    const char *line; /* what the log has to say, or NULL for silence */
};

static int work_without(struct rank *rank)
{
    const struct denial *denial = rank->arg;
    struct ranks_heard heard = {0};
    static const char *const settings[] = {"spin=0", "yield=0", NULL};
    rank->settings = settings;
    rank->heard = &heard;
    CHECK(deny(denial->number, denial->code));
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm);
    CHECK(heard.lines == (denial->line && rank->rank == 0 ? 1 : 0)); /* one for all ranks */
    CHECK(heard.lines == 0 || strstr(heard.last, denial->line));
    for (int i = 0; i < 50; i++) {
        int64_t x = rank->rank + 1;
        CHECK(shmrt_allreduce(comm, &x, &x, 1, SHMRT_INT64, SHMRT_PROD) == 0 && x == 6);
    }
    struct shmrt_placement_proof proof;
    int rc = shmrt_comm_verify(comm, &proof);
    if (denial->number == SYS_mbind)
        CHECK(!proof.segment.bound);
    if (denial->number == SYS_move_pages)
        CHECK(rc == -denial->code && proof.segment.pages_unknown == proof.segment.pages);
    shmrt_comm_destroy(comm);
    return 0;
}

static void works_without(struct denial denial)
{
    struct ranks_run run = {
        .kind = RANKS_PROCESSES, .size = 3, .body = work_without, .arg = &denial};
    ranks_run_well(&run);
}

static void without_mbind(void **state)
{
    (void)state;
    works_without((struct denial){SYS_mbind, EPERM, "CAP_SYS_NICE"});
    works_without((struct denial){SYS_mbind, ENOSYS, "all 3 ranks: mbind"});
}

/* A cpuset that the process may not ask for: it is bound all the same. */
static void without_get_mempolicy(void **state)
{
    (void)state;
    works_without((struct denial){SYS_get_mempolicy, EPERM, NULL});
}

/* Docker's default profile, and an older one that answers EPERM to calls it has not heard of. */
static int work_in_a_container(struct rank *rank)
{
    static const int numbers[] = {SYS_mbind,      SYS_set_mempolicy, SYS_get_mempolicy,
                                  SYS_move_pages, SYS_membarrier,    SYS_pidfd_open};
    struct ranks_heard heard = {0};
    struct shmrt_comm *half;
    rank->heard = &heard;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        CHECK(deny(numbers[i], EPERM));
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm);
    CHECK(shmrt_comm_split(comm, rank->rank % 2, 0, &half) == 0);
    float x = 1;
    CHECK(shmrt_allreduce(comm, &x, &x, 1, SHMRT_FLOAT32, SHMRT_SUM) == 0 && x == 4);
    CHECK(shmrt_allreduce(half, &x, &x, 1, SHMRT_FLOAT32, SHMRT_SUM) == 0 && x == 8);
    shmrt_comm_destroy(half);
    shmrt_comm_destroy(comm);
    CHECK(heard.lines == (rank->rank == 0 ? 1 : 0));
    return 0;
}

static void in_a_container(void **state)
{
    (void)state;
    struct ranks_run run = {.kind = RANKS_PROCESSES, .size = 4, .body = work_in_a_container};
    ranks_run_well(&run);
}

static int work_where_some_are_refused(struct rank *rank)
{
    struct ranks_heard heard = {0};
    rank->heard = &heard;
    if (rank->rank > 0)
        CHECK(deny(SYS_mbind, EPERM));
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm);
    shmrt_comm_destroy(comm);
    CHECK(heard.lines == (rank->rank == 1 ? 1 : 0));
    CHECK(heard.lines == 0 || strstr(heard.last, "rank 1 and 1 more of 3: mbind"));
    return 0;
}

static void some_are_refused(void **state)
{
    (void)state;
    struct ranks_run run = {
        .kind = RANKS_PROCESSES, .size = 3, .body = work_where_some_are_refused};
    ranks_run_well(&run);
}

static void without_move_pages(void **state)
{
    (void)state;
    works_without((struct denial){SYS_move_pages, EPERM, NULL});
}

static void without_membarrier(void **state)
{
    (void)state;
    works_without((struct denial){SYS_membarrier, ENOSYS, NULL});
}

static void without_pidfd(void **state)
{
    (void)state;
    works_without((struct denial){SYS_pidfd_open, ENOSYS, NULL});
}

static int work_on_nodes_that_are_not_there(struct rank *rank)
{
    struct ranks_heard heard = {0};
    static const char *const settings[] = {"nodes=1023", NULL};
    rank->settings = settings;
    rank->heard = &heard;
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    int64_t x = 1;
    struct shmrt_placement_proof proof;
    CHECK(comm);
    CHECK(heard.lines == (rank->rank == 0 ? 1 : 0));
    CHECK(heard.lines == 0 || strstr(heard.last, "SHMRT_NODES"));
    CHECK(shmrt_allreduce(comm, &x, &x, 1, SHMRT_INT64, SHMRT_SUM) == 0 && x == rank->size);
    CHECK(shmrt_comm_verify(comm, &proof) == 0 && !proof.segment.bound &&
          proof.segment.pages_on_node == 0);
    shmrt_comm_destroy(comm);
    return 0;
}

static void nodes_that_are_not_there(void **state)
{
    (void)state;
    struct ranks_run run = {
        .kind = RANKS_PROCESSES, .size = 2, .body = work_on_nodes_that_are_not_there};
    ranks_run_well(&run);
}

static int fail_without(struct rank *rank)
{
    const struct denial *denial = rank->arg;
    struct shmrt_error error;
    CHECK(deny(denial->number, denial->code));
    CHECK(!rank_comm(rank, &error) && error.code == -denial->code);
    CHECK(strstr(error.text, denial->line));
    return 0;
}

/* What can't be done without is an error that names the step, here by one rank alone. */
static void needed_calls_are_named(void **state)
{
    (void)state;
    struct denial denials[] = {
        {SYS_memfd_create, ENFILE, "memfd_create"},
        {SYS_fallocate, ENOSPC, "8388608 bytes"},
        {SYS_ftruncate, EPERM, "ftruncate"},
    };
    for (size_t i = 0; i < sizeof denials / sizeof denials[0]; i++) {
        struct ranks_run run = {
            .kind = RANKS_PROCESSES, .size = 1, .body = fail_without, .arg = &denials[i]};
        ranks_run_well(&run);
    }
}

enum { POOR = 1, LATE = 2 };

/* One rank gets no memory. All hear of it, also who comes later. */
static int hear_of_trouble(struct rank *rank)
{
    const struct denial *denial = rank->arg;
    struct ranks_heard heard = {0};
    struct shmrt_error error;
    rank->heard = &heard;
    if (rank->rank == POOR)
        CHECK(deny(denial->number, denial->code));
    if (rank->rank == LATE)
        ranks_nap_ms(1000); /* the other says what it waits for */
    CHECK(!rank_comm(rank, &error));
    CHECK(strstr(error.text, denial->line));
    if (rank->rank == POOR) {
        CHECK(error.code == -denial->code && strncmp(error.text, "rank 1 gave up", 14) != 0);
        CHECK(heard.lines == 1 && strstr(heard.last, "rank 1 can't take part"));
    } else {
        CHECK(error.code == -ECONNABORTED && strncmp(error.text, "rank 1 gave up: ", 16) == 0);
    }
    return 0;
}

static void trouble_of_one_is_told_to_all(void **state)
{
    (void)state;
    struct denial denials[] = {
        {SYS_memfd_create, ENFILE, "memfd_create"},
        {SYS_fallocate, ENOSPC, "8388608 bytes"},
    };
    for (size_t i = 0; i < sizeof denials / sizeof denials[0]; i++) {
        struct ranks_run run = {
            .kind = RANKS_PROCESSES, .size = 4, .body = hear_of_trouble, .arg = &denials[i]};
        ranks_run_well(&run);
    }
}

/* The pool takes its pages later: what it has still serves, and so does the communicator. */
static int alloc_without(struct rank *rank)
{
    const struct denial *denial = rank->arg;
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    void *block, *more;
    CHECK(comm && shmrt_alloc(comm, 1 << 20, &block) == 0);
    CHECK(deny(denial->number, denial->code));
    CHECK(shmrt_alloc(comm, 2 << 20, &more) == -ENOMEM);
    CHECK(strstr(shmrt_comm_error(comm)->text, denial->line));
    CHECK(shmrt_alloc(comm, 500 << 10, &more) == 0);
    memset(more, 1, 500 << 10);
    float x = 1;
    CHECK(shmrt_allreduce(comm, &x, &x, 1, SHMRT_FLOAT32, SHMRT_SUM) == 0 && x == 3);
    shmrt_free(more);
    shmrt_free(block);
    struct shmrt_pool_stats stats;
    shmrt_comm_pool_stats(comm, &stats);
    CHECK(stats.used_bytes == 0 && stats.taken_bytes == 2 << 20 && stats.refused == 1);
    shmrt_comm_destroy(comm);
    return 0;
}

static void without_more_pages(void **state)
{
    (void)state;
    struct denial denial = {SYS_fallocate, ENOSPC, "for the pool"};
    struct ranks_run run = {
        .kind = RANKS_PROCESSES, .size = 3, .body = alloc_without, .arg = &denial};
    ranks_run_well(&run);
}

/* Somebody stands at the door and can't be let in: no reason to look without a pause. */
static int wait_without_accept(struct rank *rank)
{
    struct shmrt_error error;
    CHECK(rank->rank > 0 || deny(SYS_accept4, ENOBUFS));
    CHECK(!rank_comm(rank, &error));
    CHECK(rank->rank > 0 || error.code == -ETIMEDOUT);
    CHECK((double)clock() / CLOCKS_PER_SEC < 0.5);
    return 0;
}

static void without_accept(void **state)
{
    (void)state;
    static const char *const settings[] = {"rendezvous_timeout=2", NULL};
    struct ranks_run run = {
        .kind = RANKS_PROCESSES, .size = 2, .body = wait_without_accept, .settings = settings};
    ranks_run_well(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_that_are_not_there),
        cmocka_unit_test(without_mbind),
        cmocka_unit_test(without_get_mempolicy),
        cmocka_unit_test(in_a_container),
        cmocka_unit_test(some_are_refused),
        cmocka_unit_test(without_move_pages),
        cmocka_unit_test(without_membarrier),
        cmocka_unit_test(without_pidfd),
        cmocka_unit_test(needed_calls_are_named),
        cmocka_unit_test(without_more_pages),
        cmocka_unit_test(trouble_of_one_is_told_to_all),
        cmocka_unit_test(without_accept),
    };
    return cmocka_run_group_tests_name("denied", tests, NULL, NULL);
}
