/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_huge_pages.c - SHMRT_HUGE_PAGES: what is chosen and said, and that segments and pools are
 * the same memory whatever their pages are.
 */
#include "base/mempolicy.h"
#include "comm.h"
#include "ranks.h"
#include "shm/bind.h"
#include "shm/huge_pages.h"
#include "shm/proof.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

enum { MIB = 1 << 20 };

/* A folder like /sys. */
struct tree {
    char sys[64];
};

static void put(const struct tree *tree, const char *folder, const char *name, int value)
{
    char command[256], path[256];
    snprintf(command, sizeof command, "mkdir -p %s/%s", tree->sys, folder);
    assert_int_equal(system(command), 0);
    snprintf(path, sizeof path, "%s/%s/%s", tree->sys, folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "%d\n", value);
    fclose(file);
}

static int plant(void **state)
{
    struct tree *tree = calloc(1, sizeof *tree);
    assert_non_null(tree);
    snprintf(tree->sys, sizeof tree->sys, "/tmp/shmrt-huge-XXXXXX");
    assert_non_null(mkdtemp(tree->sys));
    *state = tree;
    return 0;
}

static int fell(void **state)
{
    struct tree *tree = *state;
    char command[96];
    snprintf(command, sizeof command, "rm -r %s", tree->sys);
    free(tree);
    return system(command);
}

static void the_usual_size_is_chosen_and_never_one_that_is_too_large(void **state)
{
    struct tree *tree = *state;
    assert_int_equal(shmrt_huge_pages_bytes(tree->sys, 1 << 30), 0);
    put(tree, "kernel/mm/hugepages/hugepages-1048576kB", "free_hugepages", 1);
    assert_int_equal(shmrt_huge_pages_bytes(tree->sys, 8 * MIB), 0);
    assert_int_equal(shmrt_huge_pages_bytes(tree->sys, 1 << 30), 1 << 30);
    put(tree, "kernel/mm/hugepages/hugepages-1024kB", "free_hugepages", 1);
    assert_int_equal(shmrt_huge_pages_bytes(tree->sys, 1 << 30), MIB);
    put(tree, "kernel/mm/hugepages/hugepages-2048kB", "free_hugepages", 1);
    put(tree, "kernel/mm/hugepages/hugepages-64kB", "free_hugepages", 1);
    assert_int_equal(shmrt_huge_pages_bytes(tree->sys, 8 * MIB), 2 * MIB);
    assert_int_equal(shmrt_huge_pages_bytes(tree->sys, 2 * MIB - 1), 64 << 10);
}

static void expect_shortage(const struct tree *tree, size_t needed, const char *nodes,
                            const char *words)
{
    struct shmrt_nodeset set = {0};
    char text[SHMRT_ERROR_TEXT_BYTES];
    for (const char *at = nodes; at && *at; at++)
        shmrt_nodeset_add(&set, (size_t)(*at - '0'));
    shmrt_huge_pages_shortage(tree->sys, 2 * MIB, needed, nodes ? &set : NULL, text, sizeof text);
    assert_string_equal(text, words);
}

static void a_shortage_says_how_many_and_what_to_raise(void **state)
{
    struct tree *tree = *state;
    put(tree, "kernel/mm/hugepages/hugepages-2048kB", "free_hugepages", 6);
    put(tree, "kernel/mm/hugepages/hugepages-2048kB", "resv_hugepages", 1);
    put(tree, "devices/system/node/node0/hugepages/hugepages-2048kB", "free_hugepages", 5);
    put(tree, "devices/system/node/node1/hugepages/hugepages-2048kB", "free_hugepages", 1);
    expect_shortage(tree, 4, "1",
                    "needs 4 huge pages of 2048 KiB on NUMA node 1, and 1 is free: 3 more are "
                    "needed; raise /sys/devices/system/node/node1/hugepages/hugepages-2048kB/"
                    "nr_hugepages");
    expect_shortage(tree, 6, NULL,
                    "needs 6 huge pages of 2048 KiB, and 5 are free: 1 more is needed; raise "
                    "vm.nr_hugepages (sysctl)");
    expect_shortage(tree, 1, "01",
                    "needs 1 huge page of 2048 KiB on NUMA node 0-1, and 5 are free, but they are "
                    "promised to others, or the cgroup's limit (hugetlb) is lower");
}

static void what_suffices_is_asked_of_the_nodes(void **state)
{
    struct tree *tree = *state;
    struct shmrt_nodeset second = {0};
    shmrt_nodeset_add(&second, 1);
    put(tree, "kernel/mm/hugepages/hugepages-2048kB", "free_hugepages", 9);
    put(tree, "kernel/mm/hugepages/hugepages-2048kB", "resv_hugepages", 2);
    put(tree, "devices/system/node/node1/hugepages/hugepages-2048kB", "free_hugepages", 3);
    assert_true(shmrt_huge_pages_suffice(tree->sys, 2 * MIB, 7, NULL));
    assert_false(shmrt_huge_pages_suffice(tree->sys, 2 * MIB, 8, NULL));
    assert_true(shmrt_huge_pages_suffice(tree->sys, 2 * MIB, 3, &second));
    assert_false(shmrt_huge_pages_suffice(tree->sys, 2 * MIB, 4, &second));
    put(tree, "kernel/mm/hugepages/hugepages-2048kB", "nr_overcommit_hugepages", 1);
    assert_true(shmrt_huge_pages_suffice(tree->sys, 2 * MIB, 4, &second));
}

/* Whether this kernel has NUMA, and a container lets us ask it where a page is and put one there.
 */
static bool kernel_tells_nodes(void)
{
    size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
    struct shmrt_nodeset nodes;
    int node = -1;
    void *page = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return false;
    memset(page, 1, bytes);
    bool is_told = shmrt_sys_page_nodes(0, 1, &page, &node) == 0 && node >= 0 &&
                   shmrt_bind_own_nodes(&nodes) == 0 && shmrt_bind_memory(page, bytes, &nodes) == 0;
    munmap(page, bytes);
    if (!is_told)
        fprintf(stderr,
                "not tested: on which nodes pages are, as the kernel may not be asked here\n");
    return is_told;
}

/* Collectives through a segment and a pool of odd sizes, each rank with pages of its own kind. */
static int use_pages(struct rank *rank)
{
    static const char *const kinds[] = {"huge_pages=off", "huge_pages=transparent",
                                        "huge_pages=hugetlb"};
    const char *settings[] = {kinds[rank->rank % 3], "segment=5001K", "pool=7M", NULL};
    struct ranks_heard heard = {0};
    rank->settings = settings;
    rank->heard = &heard;
    struct shmrt_error error;
    struct shmrt_comm *comm = rank_comm(rank, &error);
    CHECK(comm);
    enum { COUNT = 3 * MIB / 4 + 5 };
    void *memory, *more;
    CHECK(shmrt_alloc(comm, COUNT * sizeof(int32_t), &memory) == 0);
    int32_t *block = memory, *plain = malloc(COUNT * sizeof *plain);
    CHECK(plain);
    for (int i = 0; i < COUNT; i++)
        block[i] = plain[i] = i + rank->rank;
    CHECK(shmrt_allreduce(comm, block, block, COUNT, SHMRT_INT32, SHMRT_SUM) == 0);
    CHECK(shmrt_allreduce(comm, plain, plain, COUNT, SHMRT_INT32, SHMRT_MAX) == 0);
    for (int i = 0; i < COUNT; i++)
        CHECK(block[i] == 3 * i + 3 && plain[i] == i + 2);
    /* The last block takes what the pool has left: pages beyond its limit are nobody's. */
    CHECK(shmrt_alloc(comm, 3 * MIB + 900 * 1024, &more) == 0);
    memset(more, 1, 3 * MIB + 900 * 1024);
    CHECK(shmrt_alloc(comm, 2 * MIB, &memory) == -ENOMEM);
    struct shmrt_placement_proof proof;
    const bool tells = kernel_tells_nodes();
    CHECK(shmrt_comm_verify(comm, &proof) == 0 || !tells);
    CHECK(proof.segment.pages * proof.segment.page_bytes >= 5001 << 10);
    CHECK(proof.pool.pages * proof.pool.page_bytes >= 7 * MIB);
    CHECK(!tells || proof.segment.pages_on_node == proof.segment.pages);
    CHECK(!tells || proof.pool.pages_on_node == proof.pool.pages);
    shmrt_free(more);
    shmrt_free(block);
    free(plain);
    shmrt_comm_destroy(comm);
    return 0;
}

static void ranks_with_other_pages_work_together(void **state)
{
    (void)state;
    struct ranks_run run = {.size = 3, .body = use_pages};
    for (run.kind = RANKS_THREADS; run.kind <= RANKS_PROCESSES; run.kind++)
        ranks_run_well(&run);
}

static size_t free_pages(void)
{
    size_t pages = 0;
    FILE *file = fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "re");
    if (file && fscanf(file, "%zu", &pages) != 1)
        pages = 0;
    if (file)
        fclose(file);
    return pages;
}

static bool has_line(struct shmrt_comm *comm, const char *words)
{
    char text[4096];
    size_t bytes = shmrt_comm_report(comm, text, sizeof text);
    bool is_there = bytes < sizeof text && strlen(text) == bytes && strstr(text, words);
    if (!is_there)
        fprintf(stderr, "\"%s\" is not in:\n%s", words, text);
    return is_there;
}

/* 4 pages for the segment and 4 for the pool, where the machine has set that many aside; else the
 * line that says how many are missing. */
static int ask_for_hugetlb(struct rank *rank)
{
    const bool tells = kernel_tells_nodes();
    const char *settings[] = {"huge_pages=hugetlb", "pool=8M", tells ? NULL : "bind=0", NULL};
    struct ranks_heard heard = {0};
    struct shmrt_placement_proof proof;
    void *block;
    rank->settings = settings;
    rank->heard = &heard;
    size_t left = free_pages();
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm && shmrt_alloc(comm, MIB, &block) == 0);
    memset(block, 1, MIB);
    CHECK(shmrt_comm_verify(comm, &proof) == 0 || !tells);
    if (left >= 8) {
        CHECK(heard.lines == 0 && left - free_pages() == 5);
        CHECK(proof.segment.page_bytes == 2 * MIB && proof.pool.page_bytes == 2 * MIB);
        CHECK(proof.segment.pages == 4 && proof.pool.pages == 1);
        CHECK(!tells || (proof.segment.pages_on_node == 4 && proof.pool.pages_on_node == 1));
        CHECK(proof.segment.huge_bytes == 8 * MIB && proof.pool.huge_bytes == 2 * MIB);
        CHECK(!tells || has_line(comm, "segment   4 of 4 pages of 2 MiB on NUMA node"));
        CHECK(!tells || has_line(comm, "pool      1 of 1 page of 2 MiB on NUMA node"));
    } else if (left == 0) {
        CHECK(heard.lines == 2 && strstr(heard.last, "ordinary pages serve"));
        CHECK(strstr(heard.last, "needs 4 huge pages of 2048 KiB"));
        CHECK(strstr(heard.last, "4 more are needed") && strstr(heard.last, "nr_hugepages"));
        CHECK(proof.segment.page_bytes < 2 * MIB && proof.segment.huge_bytes == 0);
    }
    shmrt_free(block);
    shmrt_comm_destroy(comm);
    CHECK(free_pages() == left);
    return 0;
}

static void hugetlb_serves_or_says_what_is_missing(void **state)
{
    (void)state;
    if (access("/sys/kernel/mm/hugepages/hugepages-2048kB", F_OK) != 0)
        skip();
    struct ranks_run run = {.kind = RANKS_PROCESSES, .size = 1, .body = ask_for_hugetlb};
    ranks_run_well(&run);
}

/* Whether this kernel makes huge pages of a file's ordinary ones: shared memory of the test's own,
 * so that it is not left to the library to say what could be had. */
static bool kernel_makes_huge_ones(void)
{
    size_t bytes = 8 * MIB, room = bytes + 2 * MIB;
    struct shmrt_file file = {.mapped_bytes = bytes, .page_bytes = 4096};
    int fd = memfd_create("test", 0);
    char *place = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (fd < 0 || place == MAP_FAILED || ftruncate(fd, (off_t)bytes) != 0)
        return false;
    file.base = (char *)(((uintptr_t)place + 2 * MIB - 1) / (2 * MIB) * (2 * MIB));
    int flags = MAP_SHARED | MAP_FIXED;
    bool is_mapped =
        mmap(file.base, bytes, PROT_READ | PROT_WRITE, flags, fd, 0) == (void *)file.base;
    if (is_mapped) {
        memset(file.base, 1, bytes);
        (void)madvise(file.base, bytes, MADV_COLLAPSE);
    }
    bool is_huge = is_mapped && shmrt_proof_huge_bytes(&file) == bytes;
    munmap(place, room);
    close(fd);
    return is_huge;
}

static int ask_for_transparent(struct rank *rank)
{
    const bool tells = kernel_tells_nodes();
    const char *settings[] = {"huge_pages=transparent", tells ? NULL : "bind=0", NULL};
    struct ranks_heard heard = {0};
    struct shmrt_placement_proof proof;
    void *block;
    rank->settings = settings;
    rank->heard = &heard;
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm && shmrt_alloc(comm, MIB, &block) == 0);
    CHECK((uintptr_t)comm->segments[0].file.base % (2 * MIB) == 0);
    CHECK(shmrt_comm_verify(comm, &proof) == 0 || !tells);
    CHECK(proof.segment.huge_bytes <= 8 * MIB);
    CHECK(heard.lines == (proof.segment.huge_bytes < 8 * MIB));
    CHECK(heard.lines == 0 || !kernel_makes_huge_ones());
    CHECK(heard.lines == 0 || strstr(heard.last, "SHMRT_HUGE_PAGES=transparent"));
    if (heard.lines == 0) {
        CHECK(has_line(comm, tells ? "bound, all of it in huge pages\n  pool "
                                   : "by first touch, all of it in huge pages"));
        CHECK(proof.pool.huge_bytes == 2 * MIB);
    }
    shmrt_free(block);
    shmrt_comm_destroy(comm);
    return 0;
}

static void transparent_ones_come_or_a_line_says_so(void **state)
{
    (void)state;
    struct ranks_run run = {.kind = RANKS_PROCESSES, .size = 1, .body = ask_for_transparent};
    ranks_run_well(&run);
}

/* As if the rank had taken its memory on node 1, and been moved here since. */
static int pretend_to_have_moved(struct rank *rank)
{
    struct shmrt_placement_proof proof;
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    const bool tells = kernel_tells_nodes();
    CHECK(comm && (shmrt_comm_verify(comm, &proof) == 0 || !tells) && !proof.moved);
    struct shmrt_segment *own = &comm->segments[0];
    if (!tells) {
        shmrt_comm_destroy(comm);
        return 0;
    }
    CHECK(has_line(comm, " pages of 4 KiB on NUMA node ") || sysconf(_SC_PAGESIZE) != 4096);
    own->cpu_nodes = own->nodes = (struct shmrt_nodeset){0};
    shmrt_nodeset_add(&own->cpu_nodes, 1001);
    shmrt_nodeset_add(&own->nodes, 1001);
    CHECK(shmrt_comm_verify(comm, &proof) == 0 && proof.moved && proof.cpu_nodes != proof.nodes);
    CHECK(proof.segment.pages_on_node == 0 && proof.segment.pages_unknown == 0);
    CHECK(has_line(comm, "  moved     since it took its shared memory: from NUMA node 1001 to "));
    CHECK(has_line(comm, "  segment   0 of 2048 pages of 4 KiB on NUMA node 1001, 2048 on node ") ||
          sysconf(_SC_PAGESIZE) != 4096);
    shmrt_comm_destroy(comm);
    return 0;
}

static void a_rank_that_has_moved_is_told(void **state)
{
    (void)state;
    struct ranks_run run = {.kind = RANKS_PROCESSES, .size = 1, .body = pretend_to_have_moved};
    ranks_run_well(&run);
}

static void a_report_is_cut_as_snprintf_cuts(void **state)
{
    (void)state;
    struct shmrt_params params = {.size = 1, .job = "huge-pages-report"};
    struct shmrt_comm *comm;
    char whole[4096], part[40];
    assert_int_equal(shmrt_comm_create(&params, &comm, NULL), 0);
    size_t bytes = shmrt_comm_report(comm, NULL, 0);
    assert_int_equal(shmrt_comm_report(comm, whole, sizeof whole), bytes);
    assert_int_equal(strlen(whole), bytes);
    assert_int_equal(shmrt_comm_report(comm, part, sizeof part), bytes);
    assert_int_equal(strlen(part), sizeof part - 1);
    assert_memory_equal(part, whole, sizeof part - 1);
    shmrt_comm_destroy(comm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_usual_size_is_chosen_and_never_one_that_is_too_large,
                                        plant, fell),
        cmocka_unit_test_setup_teardown(a_shortage_says_how_many_and_what_to_raise, plant, fell),
        cmocka_unit_test_setup_teardown(what_suffices_is_asked_of_the_nodes, plant, fell),
        cmocka_unit_test(ranks_with_other_pages_work_together),
        cmocka_unit_test(hugetlb_serves_or_says_what_is_missing),
        cmocka_unit_test(transparent_ones_come_or_a_line_says_so),
        cmocka_unit_test(a_rank_that_has_moved_is_told),
        cmocka_unit_test(a_report_is_cut_as_snprintf_cuts),
    };
    return cmocka_run_group_tests_name("huge pages", tests, NULL, NULL);
}
