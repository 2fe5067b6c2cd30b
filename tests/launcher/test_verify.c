/* SPDX-License-Identifier: Apache-2.0 */
/* test_verify.c - what --verify reads and makes of it: texts of a machine with two nodes. */
#include "verify/verify_proc.h"
#include "verify/verify_segments.h"
#include "verify/verify_watch.h"
#include "verify/verify_words.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

enum { MANY = 256 };

/* The plan of one rank, from lists. */
static struct shmrt_plan_rank planned(const char *cpus, const char *nodes, const char *memory,
                                      enum shmrt_memory_policy policy, size_t segment_node)
{
    struct shmrt_plan_rank rank = {.memory = policy, .segment_node = segment_node};
    assert_int_equal(shmrt_bitmap_parse(cpus, &rank.cpus, NULL), 0);
    assert_int_equal(shmrt_bitmap_parse(nodes, &rank.nodes, NULL), 0);
    if (memory)
        assert_int_equal(shmrt_bitmap_parse(memory, &rank.memory_nodes, NULL), 0);
    return rank;
}

static void forget(struct shmrt_plan_rank *rank)
{
    shmrt_bitmap_free(&rank->cpus);
    shmrt_bitmap_free(&rank->nodes);
    shmrt_bitmap_free(&rank->memory_nodes);
}

static void a_status_names_the_thread_and_its_cpus(void **state)
{
    (void)state;
    struct launch_seen_thread thread;
    char list[32];
    assert_int_equal(launch_status_parse("Name:\tpt_main_thread\nPid:\t7\n"
                                         "Cpus_allowed:\tff00ff\n"
                                         "Cpus_allowed_list:\t0-7,16-23\nMems_allowed:\t3\n",
                                         &thread),
                     0);
    shmrt_bitmap_format(&thread.cpus, list, sizeof list);
    assert_string_equal(list, "0-7,16-23");
    assert_string_equal(thread.name, "pt_main_thread");
    shmrt_bitmap_free(&thread.cpus);
    assert_int_equal(launch_status_parse("Name:\tx\n", &thread), -EINVAL);
    assert_int_equal(launch_status_parse("Name:\tx\nCpus_allowed_list:\tmany\n", &thread), -EINVAL);
    assert_int_equal(launch_status_parse("", &thread), -EINVAL);
}

static void maps_show_segments_and_pools(void **state)
{
    (void)state;
    struct launch_seen_mapping mapping;
    const char *file;
    assert_true(launch_maps_parse("7f0000000000-7f0000800000 rw-s 00001000 00:01 54980"
                                  "                      /memfd:shmrt-segment-4711 (deleted)",
                                  &mapping, &file));
    assert_int_equal(mapping.begin, 0x7f0000000000);
    assert_int_equal(mapping.end, 0x7f0000800000);
    assert_int_equal(mapping.offset, 0x1000);
    assert_int_equal(mapping.inode, 54980);
    assert_int_equal(mapping.owner, 4711);
    assert_false(mapping.is_pool);
    assert_true(launch_maps_parse("7f0-7ff rw-s 0 00:01 9 /memfd:shmrt-pool-12 (deleted)", &mapping,
                                  &file));
    assert_true(mapping.is_pool);
    assert_false(
        launch_maps_parse("7f0-7ff r--p 00000000 08:01 77   /usr/lib/a b.so", &mapping, &file));
    assert_string_equal(file, "/usr/lib/a b.so");
    assert_false(launch_maps_parse("7f0-7ff rw-p 00000000 00:00 0 ", &mapping, &file));
    assert_false(
        launch_maps_parse("7f0-7ff rw-s 0 00:01 9 /memfd:other (deleted)", &mapping, &file));
    assert_false(launch_maps_parse("", &mapping, &file));
}

static const struct launch_seen_pages *pages_of(const struct launch_seen *seen, size_t node,
                                                const char *policy, pid_t owner)
{
    for (size_t i = 0; i < seen->page_count; i++)
        if (seen->pages[i].node == node && seen->pages[i].owner == owner &&
            strcmp(seen->pages[i].policy, policy) == 0)
            return &seen->pages[i];
    fail_msg("no pages on node %zu under %s of %d", node, policy, (int)owner);
    return NULL;
}

static void numa_maps_are_counted_by_node_policy_and_owner(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "5600 bind:0 heap anon=7 dirty=7 active=0 N0=5 N1=2 kernelpagesize_kB=4",
        "7ffe bind:0 stack anon=3 dirty=3 N0=3 kernelpagesize_kB=4",
        "7f10 bind:0 anon=4 dirty=4 N1=4 kernelpagesize_kB=2048",
        "7f20 bind:0 huge anon=1 dirty=1 N0=1 kernelpagesize_kB=1048576",
        "7f30 prefer (many):0-1 anon=6 dirty=6 N1=6 kernelpagesize_kB=4",
        "7f40 weighted interleave:0-1 anon=2 dirty=2 N0=1 N1=1 kernelpagesize_kB=4",
        "7f50 default file=/usr/lib/libtorch.so anon=9 dirty=9 N1=9 kernelpagesize_kB=4",
        "7f60 bind:1 file=/memfd:shmrt-segment-4711\\040(deleted) dirty=8 N1=8 kernelpagesize_kB=4",
        "7f70 default file=/memfd:weights\\040(deleted) dirty=8 N1=8 kernelpagesize_kB=4",
        "7f80 bind:0",
        "7f90 bind:0 anon=5 swapcache=5 N0=1 kernelpagesize_kB=4",
    };
    struct launch_seen seen = {0};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        assert_int_equal(launch_numa_maps_parse(lines[i], &seen), 0);
    assert_int_equal(pages_of(&seen, 0, "bind:0", 0)->pages, 5 + 1 + 1);
    assert_int_equal(pages_of(&seen, 0, "bind:0", 0)->bytes, (UINT64_C(1) << 30) + 6 * 4096);
    assert_int_equal(pages_of(&seen, 1, "bind:0", 0)->bytes, 2 * 4096 + 4 * (2 << 20));
    assert_int_equal(pages_of(&seen, 1, "prefer (many):0-1", 0)->pages, 6);
    assert_int_equal(pages_of(&seen, 1, "weighted interleave:0-1", 0)->pages, 1);
    assert_int_equal(pages_of(&seen, 1, "bind:1", 4711)->pages, 8);
    assert_int_equal(seen.page_count, 7);
    assert_int_equal(seen.pages[2].memory, LAUNCH_STACK);
    assert_int_equal(seen.pages[2].pages, 3);
    assert_int_equal(pages_of(&seen, 1, "bind:1", 4711)->memory, LAUNCH_SEGMENT);
    assert_int_equal(
        launch_numa_maps_parse("7f60 bind:1 file=/memfd:shmrt-pool-4711\\040(deleted) huge dirty=4 "
                               "N1=4 kernelpagesize_kB=2048",
                               &seen),
        0);
    assert_int_equal(seen.pages[7].memory, LAUNCH_POOL);
    assert_int_equal(seen.pages[7].bytes, 8 << 20);
    assert_int_equal(launch_numa_maps_parse("nothing", &seen), -EINVAL);
    launch_seen_free(&seen);
}

static void smaps_tell_huge_pages_of_own_memory_and_own_segments(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "7f0000000000-7f0000800000 rw-p 00000000 00:00 0 ",
        "KernelPageSize:        4 kB",
        "AnonHugePages:      4096 kB",
        "ShmemPmdMapped:        0 kB",
        "Private_Hugetlb:    2048 kB",
        "7f0001000000-7f0001800000 rw-s 00000000 00:01 9   /memfd:shmrt-segment-4711 (deleted)",
        "ShmemPmdMapped:     8192 kB",
        "VmFlags: rd wr sh mr mw me ms",
        "7f0002000000-7f0002800000 rw-s 00000000 00:01 8   /memfd:shmrt-segment-4712 (deleted)",
        "ShmemPmdMapped:     8192 kB",
        "7f0003000000-7f0003800000 rw-s 00000000 00:01 7   /memfd:shmrt-pool-4711 (deleted)",
        "Shared_Hugetlb:     6144 kB",
        "7f0004000000-7f0004800000 r-xp 00000000 08:01 77  /usr/lib/libtorch.so",
        "AnonHugePages:      2048 kB",
        "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0  [vsyscall]",
        "AnonHugePages:         0 kB",
        "55d000000000-55d000200000 rw-p 00000000 00:00 0  [heap]",
        "AnonHugePages:      1024 kB",
    };
    struct launch_seen seen = {.pid = 4711};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        assert_int_equal(launch_smaps_parse(lines[i], &seen), 0);
    assert_int_equal(seen.huge_own, (4096 + 2048 + 1024) << 10);
    assert_int_equal(seen.huge_shared, (8192 + 6144) << 10);
}

static void variables_that_bind_openmp_are_found(void **state)
{
    (void)state;
    char binding[LAUNCH_BINDING_BYTES];
    static const char both[] = "HOME=/\0OMP_PLACES=cores\0OMP_PROC_BIND=true\0";
    static const char off[] = "OMP_PLACES=cores\0OMP_PROC_BIND=FALSE\0";
    static const char others[] = "OMP_NUM_THREADS=4\0XOMP_PLACES=1\0OMP_PLACES=\0";
    launch_environ_parse(both, sizeof both - 1, binding);
    assert_string_equal(binding, "OMP_PROC_BIND=true OMP_PLACES=cores");
    launch_environ_parse(off, sizeof off - 1, binding);
    assert_string_equal(binding, "");
    launch_environ_parse(others, sizeof others - 1, binding);
    assert_string_equal(binding, "");
    launch_environ_parse("", 0, binding);
    assert_string_equal(binding, "");
}

/* A process with one thread on @cpus, whose own memory has 10 pages on @node. */
static struct launch_seen process(pid_t pid, const char *cpus, size_t node, const char *policy,
                                  struct launch_seen_thread *thread,
                                  struct launch_seen_pages *pages)
{
    *thread = (struct launch_seen_thread){.tid = pid, .name = "python"};
    assert_int_equal(shmrt_bitmap_parse(cpus, &thread->cpus, NULL), 0);
    *pages = (struct launch_seen_pages){.node = node, .pages = 10, .bytes = 40960};
    snprintf(pages->policy, sizeof pages->policy, "%s", policy);
    return (struct launch_seen){
        .pid = pid, .threads = thread, .thread_count = 1, .pages = pages, .page_count = 1};
}

/* Judge one such process and expect one finding of that kind, or none when @words is NULL. */
static void expect(const struct shmrt_plan_rank *rank, const char *cpus, size_t node,
                   const char *policy, size_t segment_on, enum launch_finding_kind kind,
                   bool is_breach, const char *words)
{
    struct launch_seen_thread thread;
    struct launch_seen_pages pages;
    struct launch_judgement judgement;
    const struct launch_segment_pages segment = {.node = segment_on, .pages = 2, .bytes = 8192};
    const struct launch_seen seen = process(4711, cpus, node, policy, &thread, &pages);
    launch_judge(rank, 3, &seen, 1, &segment, 1, &judgement);
    shmrt_bitmap_free(&thread.cpus);
    assert_int_equal(judgement.finding_count, words != NULL);
    assert_int_equal(judgement.bytes[LAUNCH_HEAP], 40960);
    assert_int_equal(judgement.bytes[LAUNCH_SEGMENT], 8192);
    assert_int_equal(judgement.elsewhere, (kind == LAUNCH_FOUND_OWN       ? 40960
                                           : kind == LAUNCH_FOUND_SEGMENT ? 8192
                                                                          : 0));
    assert_string_equal(judgement.cpus, cpus);
    if (!words)
        return;
    assert_int_equal(judgement.findings[0].kind, kind);
    assert_int_equal(judgement.findings[0].is_breach, is_breach);
    if (!strstr(judgement.findings[0].text, words))
        fail_msg("\"%s\" is not in \"%s\"", words, judgement.findings[0].text);
}

static void threads_are_held_against_the_plan(void **state)
{
    (void)state;
    struct shmrt_plan_rank rank = planned("4-7", "1", "1", SHMRT_MEMORY_BIND, 1);
    expect(&rank, "4-7", 1, "bind:1", 1, 0, false, NULL);
    expect(&rank, "5", 1, "bind:1", 1, LAUNCH_FOUND_NARROW, true,
           "rank 3: 1 thread may run only on a part of the planned CPUs 4-7: python 4711 on 5; ");
    expect(&rank, "0-7", 1, "bind:1", 1, LAUNCH_FOUND_OUTSIDE, true,
           "rank 3: 1 thread may run on CPUs outside of the planned 4-7: python 4711 on 0-7; ");
    expect(&rank, "3-6", 1, "bind:1", 1, LAUNCH_FOUND_OUTSIDE, true, "on 3-6");
    forget(&rank);
}

static void pages_are_held_against_the_plan(void **state)
{
    (void)state;
    struct shmrt_plan_rank bound = planned("4-7", "1", "1", SHMRT_MEMORY_BIND, 1);
    expect(&bound, "4-7", 0, "default", 1, LAUNCH_FOUND_OWN, true,
           "10 pages (40 KiB) on node 0 (policy default), planned 1: no memory policy is in force");
    expect(&bound, "4-7", 0, "interleave:0-1", 1, LAUNCH_FOUND_OWN, true,
           "the program set that policy itself");
    expect(&bound, "4-7", 1, "bind:1", 0, LAUNCH_FOUND_SEGMENT, true,
           "2 pages (8 KiB) on node 0, planned 1");
    forget(&bound);

    struct shmrt_plan_rank preferred = planned("4-7", "1", "1", SHMRT_MEMORY_PREFER, 1);
    expect(&preferred, "4-7", 0, "prefer:1", 1, LAUNCH_FOUND_OWN, false, "had no room");
    forget(&preferred);

    struct shmrt_plan_rank local = planned("4-7", "1", NULL, SHMRT_MEMORY_LOCAL, 1);
    expect(&local, "4-7", 1, "default", 1, 0, false, NULL);
    expect(&local, "4-7", 0, "default", 1, LAUNCH_FOUND_OWN, false, "planned 1: ");
    forget(&local);
    struct shmrt_plan_rank borrowed = planned("4-7", "1", NULL, SHMRT_MEMORY_LOCAL, 0);
    expect(&borrowed, "4-7", 1, "default", 0, 0, false, NULL);
    forget(&borrowed);

    struct shmrt_plan_rank spread = planned("0-7", "0-1", "0-1", SHMRT_MEMORY_INTERLEAVE, 0);
    expect(&spread, "0-7", 1, "interleave:0-1", 1, 0, false, NULL);
    expect(&spread, "0-7", 2, "interleave:0-1", 0, LAUNCH_FOUND_OWN, true, "planned 0-1");
    forget(&spread);

    struct shmrt_plan_rank fast = planned("0-3", "0", "2", SHMRT_MEMORY_BIND, 2);
    expect(&fast, "0-3", 2, "bind:2", 2, 0, false, NULL);
    expect(&fast, "0-3", 2, "bind:2", 0, LAUNCH_FOUND_SEGMENT, true, "on node 0, planned 2");
    forget(&fast);
}

/* Whether a thread on another rank's CPU is blamed on these variables. */
static bool is_blamed(const struct shmrt_plan_rank *rank, const char *binding)
{
    struct launch_seen_thread thread;
    struct launch_seen_pages pages;
    struct launch_judgement judgement;
    struct launch_seen seen = process(4711, "0", 1, "bind:1", &thread, &pages);
    snprintf(seen.binding, sizeof seen.binding, "%s", binding);
    launch_judge(rank, 1, &seen, 1, NULL, 0, &judgement);
    shmrt_bitmap_free(&thread.cpus);
    assert_int_equal(judgement.finding_count, 1);
    assert_int_equal(judgement.findings[0].kind, LAUNCH_FOUND_OUTSIDE);
    const char *text = judgement.findings[0].text;
    bool is_named = strstr(text, binding) && strstr(text, "unset");
    assert_int_equal(is_named, !strstr(text, "the program moved it"));
    return is_named;
}

static void lists_of_cpus_lead_outside(void **state)
{
    (void)state;
    struct shmrt_plan_rank rank = planned("4-7", "1", "1", SHMRT_MEMORY_BIND, 1);
    assert_true(is_blamed(&rank, "GOMP_CPU_AFFINITY=0-7"));
    assert_true(is_blamed(&rank, "KMP_AFFINITY=norespect,compact"));
    assert_false(is_blamed(&rank, "OMP_PLACES=cores GOMP_CPU_AFFINITY=0-7"));
    assert_false(is_blamed(&rank, "OMP_PROC_BIND=true OMP_PLACES=cores"));
    forget(&rank);
}

static void many_threads_make_one_line(void **state)
{
    (void)state;
    struct shmrt_plan_rank rank = planned("0-63", "0", "0", SHMRT_MEMORY_BIND, 0);
    struct launch_seen_thread threads[64] = {0};
    struct launch_seen seen = {.pid = 1, .threads = threads, .thread_count = 64};
    struct launch_judgement judgement;
    snprintf(seen.binding, sizeof seen.binding, "GOMP_CPU_AFFINITY=0-63");
    for (size_t i = 0; i < 64; i++) {
        char cpu[8];
        threads[i].tid = (pid_t)(1000 + i);
        snprintf(threads[i].name, sizeof threads[i].name, "0123456789abcde");
        snprintf(cpu, sizeof cpu, "%zu", i);
        assert_int_equal(shmrt_bitmap_parse(cpu, &threads[i].cpus, NULL), 0);
    }
    launch_judge(&rank, 63, &seen, 1, NULL, 0, &judgement);
    assert_int_equal(judgement.threads_off, 64);
    assert_int_equal(judgement.finding_count, 1);
    assert_non_null(strstr(judgement.findings[0].text, "0123456789abcde 1003 on 3 and 60 more; "
                                                       "GOMP_CPU_AFFINITY=0-63 is set"));
    assert_non_null(strstr(judgement.findings[0].text, "unset"));
    for (size_t i = 0; i < 64; i++)
        shmrt_bitmap_free(&threads[i].cpus);
    forget(&rank);
}

static void long_lists_end_at_a_whole_number(void **state)
{
    (void)state;
    static const struct {
        size_t room;
        const char *text;
    } cases[] = {{12, "100,200,300"}, {11, "100,..."}, {12 - 4, "100,..."}, {7, "..."}};
    struct shmrt_bitmap set;
    assert_int_equal(shmrt_bitmap_parse("100,200,300", &set, NULL), 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[16];
        launch_words_set(&set, text, cases[i].room);
        assert_string_equal(text, cases[i].text);
    }
    shmrt_bitmap_free(&set);
}

static void amounts_are_short(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {
        {0, "0"},
        {4096, "4 KiB"},
        {UINT64_C(1536) << 10, "1.5 MiB"},
        {UINT64_C(300) << 20, "300 MiB"},
        {UINT64_C(2) << 40, "2.0 TiB"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[32];
        launch_words_bytes(cases[i].bytes, text, sizeof text);
        assert_string_equal(text, cases[i].text);
    }
}

/* A folder like /proc, and what is heard while it is watched. */
struct tree {
    char proc[64];
    struct shmrt_plan_rank ranks[2];
    struct shmrt_plan plan;
    struct launch_watch *watch;
    char *lines[MANY];
    size_t line_count, breaches, missed;
};

static void hear(void *context, const char *line)
{
    struct tree *tree = context;
    assert_true(tree->line_count < MANY);
    tree->lines[tree->line_count++] = strdup(line);
}

static void hear_breach(void *context, int rank)
{
    struct tree *tree = context;
    assert_in_range(rank, 0, 1);
    tree->breaches++;
}

static void hear_missed(void *context, int count)
{
    struct tree *tree = context;
    tree->missed += (size_t)count;
}

static void put(const struct tree *tree, int pid, const char *name, const char *text)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%d/%s", tree->proc, pid, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void put_thread(const struct tree *tree, int pid, int tid, const char *cpus)
{
    char path[160], name[64], text[160];
    snprintf(path, sizeof path, "%s/%d/task/%d", tree->proc, pid, tid);
    (void)mkdir(path, 0700);
    snprintf(name, sizeof name, "task/%d/status", tid);
    snprintf(text, sizeof text, "Name:\tpython\nCpus_allowed_list:\t%s\n", cpus);
    put(tree, pid, name, text);
}

/* No process has such numbers: what asks the kernel itself for these gets no answer. */
enum { FIRST = 2000000001, SECOND = 2000000002, CHILD = 2000000003 };

static void put_stat(const struct tree *tree, int pid, int parent, int session)
{
    char text[160];
    snprintf(text, sizeof text, "%d (py) thon) S %d %d %d 0", pid, parent, pid, session);
    put(tree, pid, "stat", text);
}

static void put_process(const struct tree *tree, int pid, int parent, const char *cpus,
                        const char *numa_maps)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%d", tree->proc, pid);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/%d/task", tree->proc, pid);
    assert_int_equal(mkdir(path, 0700), 0);
    put_stat(tree, pid, parent, pid);
    put(tree, pid, "maps", "7f0-7ff r--p 00000000 08:01 77 /usr/lib/libc.so\n");
    put(tree, pid, "environ", "");
    if (numa_maps)
        put(tree, pid, "numa_maps", numa_maps);
    put_thread(tree, pid, pid, cpus);
}

static int plant(void **state)
{
    struct tree *tree = calloc(1, sizeof *tree);
    assert_non_null(tree);
    snprintf(tree->proc, sizeof tree->proc, "/tmp/shmrt-verify-XXXXXX");
    assert_non_null(mkdtemp(tree->proc));
    tree->ranks[0] = planned("0-3", "0", "0", SHMRT_MEMORY_BIND, 0);
    tree->ranks[1] = planned("4-7", "1", "1", SHMRT_MEMORY_BIND, 1);
    tree->plan = (struct shmrt_plan){.rank_count = 2, .ranks = tree->ranks};
    const struct launch_watch_listener listener = {hear, hear_breach, hear_missed, tree};
    tree->watch = launch_watch_create(&tree->plan, 0, tree->proc, &listener);
    assert_non_null(tree->watch);
    *state = tree;
    return 0;
}

static int fell(void **state)
{
    struct tree *tree = *state;
    char command[96];
    snprintf(command, sizeof command, "rm -r %s", tree->proc);
    launch_watch_destroy(tree->watch);
    for (size_t i = 0; i < tree->line_count; i++)
        free(tree->lines[i]);
    forget(&tree->ranks[0]);
    forget(&tree->ranks[1]);
    free(tree);
    return system(command);
}

static void start_both(struct tree *tree)
{
    put_process(tree, FIRST, 1, "0-3", "5600 bind:0 heap anon=2 N0=2 kernelpagesize_kB=4\n");
    put_process(tree, SECOND, 1, "4-7", "5600 bind:1 heap anon=2 N1=2 kernelpagesize_kB=4\n");
    launch_watch_rank_started(tree->watch, 0, FIRST, 1);
    launch_watch_rank_started(tree->watch, 1, SECOND, 1);
}

/* Step as often as the watch wants, to @until_ms. */
static void step_until(struct tree *tree, int64_t *now_ns, int64_t until_ms)
{
    while (*now_ns < until_ms * 1000000)
        *now_ns = launch_watch_step(tree->watch, *now_ns);
}

static bool was_told(const struct tree *tree, const char *words)
{
    size_t count = 0;
    for (size_t i = 0; i < tree->line_count; i++)
        count += strstr(tree->lines[i], words) != NULL;
    assert_true(count <= 1);
    return count == 1;
}

static void a_settled_job_is_told_of_once(void **state)
{
    struct tree *tree = *state;
    int64_t now_ns = 1;
    start_both(tree);
    step_until(tree, &now_ns, 900);
    assert_int_equal(tree->line_count, 0);
    put(tree, SECOND, "maps", "7f0-7ff r--p 00000000 08:01 78 /usr/lib/libtorch.so\n");
    step_until(tree, &now_ns, 1800);
    assert_int_equal(tree->line_count, 0); /* rank 1 is not settled */
    step_until(tree, &now_ns, 3000);
    assert_true(was_told(tree, "--verify: 2 ranks"));
    assert_true(was_told(tree, "all threads and pages are where the plan says"));
    assert_string_equal(
        tree->lines[1],
        "rank  CPUs  nodes  processes  threads  off  stack   heap  (huge)  segment  "
        "pool  (huge)  elsewhere");
    assert_string_equal(
        tree->lines[3],
        "   1   4-7      1          1        1    0      0  8 KiB       0        0  "
        "   0       0          0");
    assert_true(was_told(tree, "counted: pages in memory"));
    step_until(tree, &now_ns, 100000);
    assert_int_equal(tree->line_count, 6);
    assert_int_equal(tree->breaches, 0);
}

static void what_changes_later_is_told(void **state)
{
    struct tree *tree = *state;
    int64_t now_ns = 1;
    start_both(tree);
    step_until(tree, &now_ns, 3000);
    assert_int_equal(tree->line_count, 6);
    put_thread(tree, SECOND, SECOND + 1000, "4");
    put(tree, SECOND, "environ", "OMP_PROC_BIND=true");
    put(tree, FIRST, "numa_maps", "5600 bind:0 heap anon=2 N0=1 N1=1 kernelpagesize_kB=4\n");
    step_until(tree, &now_ns, 30000);
    assert_true(was_told(tree, "rank 1: 1 thread may run only on a part of the planned CPUs 4-7"));
    assert_true(was_told(tree, "on node 1 (policy bind:0), planned 0"));
    assert_int_equal(tree->breaches, 2);
    assert_int_equal(tree->line_count, 8);
}

static void what_is_mapped_later_gives_the_table_again(void **state)
{
    struct tree *tree = *state;
    int64_t now_ns = 1;
    start_both(tree);
    step_until(tree, &now_ns, 3000);
    assert_int_equal(tree->line_count, 6);
    put(tree, FIRST, "maps", "7f0-7ff r--p 00000000 08:01 78 /srv/weights.safetensors\n");
    put_thread(tree, FIRST, FIRST + 1000, "0-4");
    step_until(tree, &now_ns, 9000);
    assert_int_equal(tree->line_count, 11);
    assert_string_equal(
        tree->lines[8],
        "   0   0-4      0          1        2    1      0  8 KiB       0        0  "
        "   0       0          0");
    assert_true(was_told(tree, "rank 0: 1 thread may run on CPUs outside of the planned 0-3"));
    put(tree, FIRST, "maps", "7f0-7ff r--p 00000000 08:01 79 /usr/lib/liblate.so\n");
    step_until(tree, &now_ns, 9500);
    assert_int_equal(tree->line_count, 11);
}

/* It gets a tenth of a CPU, so a second of its own takes ten of ours. */
static void a_rank_that_waits_for_a_cpu_is_not_settled(void **state)
{
    struct tree *tree = *state;
    int64_t now_ns = 1;
    start_both(tree);
    while (now_ns < INT64_C(15000000000)) {
        char text[64];
        snprintf(text, sizeof text, "%lld %lld 9\n", (long long)(now_ns / 10),
                 (long long)(now_ns / 10 * 9));
        put(tree, SECOND, "schedstat", text);
        now_ns = launch_watch_step(tree->watch, now_ns);
        if (now_ns < INT64_C(9000000000))
            assert_int_equal(tree->line_count, 0);
    }
    assert_int_equal(tree->line_count, 6);
}

static void a_rank_that_waits_for_a_disk_is_not_settled(void **state)
{
    struct tree *tree = *state;
    int64_t now_ns = 1;
    start_both(tree);
    put(tree, SECOND, "task/2000000002/status",
        "Name:\tpython\nState:\tD (disk sleep)\nCpus_allowed_list:\t4-7\n");
    step_until(tree, &now_ns, 5000);
    assert_int_equal(tree->line_count, 0);
    put_thread(tree, SECOND, SECOND, "4-7");
    step_until(tree, &now_ns, 7000);
    assert_int_equal(tree->line_count, 6);
}

static void children_and_segments_count_with_their_rank(void **state)
{
    struct tree *tree = *state;
    int64_t now_ns = 1;
    start_both(tree);
    put_process(tree, CHILD, SECOND, "0-7", "5600 bind:1 heap anon=2 N1=2 kernelpagesize_kB=4\n");
    put(tree, FIRST, "maps",
        "7f0000000000-7f0000004000 rw-s 0 00:01 9 /memfd:shmrt-segment-2000000001 (deleted)\n"
        "7f0000010000-7f0000014000 rw-s 0 00:01 8 /memfd:shmrt-segment-2000000002 (deleted)\n");
    put(tree, FIRST, "numa_maps",
        "7f0000000000 bind:0 file=/memfd:shmrt-segment-2000000001\\040(deleted) N0=1 N1=3\n"
        "7f0000010000 bind:1 file=/memfd:shmrt-segment-2000000002\\040(deleted) N1=4\n");
    put(tree, FIRST, "smaps",
        "7f0000000000-7f0000004000 rw-s 0 00:01 9 /memfd:shmrt-segment-2000000001 (deleted)\n"
        "ShmemPmdMapped:       12 kB\n"
        "7f0000010000-7f0000014000 rw-s 0 00:01 8 /memfd:shmrt-segment-2000000002 (deleted)\n"
        "ShmemPmdMapped:       16 kB\n");
    put(tree, CHILD, "smaps", "5600-5700 rw-p 0 00:00 0 [heap]\nAnonHugePages: 2048 kB\n");
    step_until(tree, &now_ns, 3000);
    assert_true(was_told(tree, "python 2000000003 on 0-7"));
    assert_true(
        was_told(tree, "rank 0: its shared segment or pool has 3 pages (12 KiB) on node 1"));
    assert_string_equal(tree->lines[2],
                        "   0   0-3    0-1          1        1    0      0       0        0   16 "
                        "KiB     0  12 KiB     12 KiB");
    assert_string_equal(tree->lines[3],
                        "   1   0-7      1          2        2    1      0  16 KiB  2.0 MiB       "
                        " 0     0       0          0");
}

/* Its parent has ended, so it is the keeper's child now, but it is in its rank's session still. */
static void what_lost_its_parent_counts_by_its_session(void **state)
{
    struct tree *tree = *state;
    int64_t now_ns = 1;
    start_both(tree);
    put_process(tree, CHILD, 1, "0-7", "5600 bind:1 heap anon=2 N1=2 kernelpagesize_kB=4\n");
    put_stat(tree, CHILD, 1, SECOND);
    step_until(tree, &now_ns, 3000);
    assert_true(was_told(tree,
                         "rank 1: 1 thread may run on CPUs outside of the planned 4-7: python "
                         "2000000003 on 0-7"));
}

static void say_that_pages_are_balanced(struct tree *tree)
{
    char path[160];
    snprintf(path, sizeof path, "%s/sys", tree->proc);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/sys/kernel", tree->proc);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/sys/kernel/numa_balancing", tree->proc);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("1\n", file);
    fclose(file);
}

static void balancing_is_told_where_no_policy_holds_pages(void **state)
{
    struct tree *tree = *state;
    int64_t now_ns = 1;
    say_that_pages_are_balanced(tree);
    tree->ranks[1].memory = SHMRT_MEMORY_LOCAL;
    start_both(tree);
    step_until(tree, &now_ns, 3000);
    assert_true(was_told(tree, "kernel.numa_balancing is on"));
    assert_true(was_told(tree, "all threads and pages are where the plan says"));
}

static void balancing_is_no_matter_where_all_is_bound(void **state)
{
    struct tree *tree = *state;
    int64_t now_ns = 1;
    say_that_pages_are_balanced(tree);
    start_both(tree);
    step_until(tree, &now_ns, 3000);
    assert_int_equal(tree->line_count, 6);
    assert_false(was_told(tree, "kernel.numa_balancing is on"));
}

static void a_kernel_without_numa_is_told_once(void **state)
{
    struct tree *tree = *state;
    int64_t now_ns = 1;
    put_process(tree, FIRST, 1, "0-3", NULL);
    put_process(tree, SECOND, 1, "4-7", NULL);
    launch_watch_rank_started(tree->watch, 0, FIRST, 1);
    launch_watch_rank_started(tree->watch, 1, SECOND, 1);
    step_until(tree, &now_ns, 30000);
    assert_true(was_told(tree, "no numa_maps"));
    assert_false(was_told(tree, "where the plan says"));
    assert_string_equal(tree->lines[2],
                        "   0   0-3      -          1        1    0      -     -       -        -  "
                        "   -       -          -");
    assert_int_equal(tree->breaches, 0);
}

static void ranks_that_were_too_quick_are_named(void **state)
{
    struct tree *tree = *state;
    int64_t now_ns = 1;
    start_both(tree);
    step_until(tree, &now_ns, 500);
    launch_watch_rank_ended(tree->watch, 0);
    step_until(tree, &now_ns, 3000);
    assert_true(was_told(tree, "--verify: 1 rank,"));
    assert_true(was_told(tree, "--verify: rank 0 ended before the look"));
    assert_false(was_told(tree, "all threads and pages"));
    launch_watch_end(tree->watch);
    assert_true(was_told(tree, "rank 0 ended before the look")); /* still once */
    assert_int_equal(tree->missed, 1);
}

static void a_job_that_was_too_quick_is_named(void **state)
{
    struct tree *tree = *state;
    int64_t now_ns = 1;
    start_both(tree);
    step_until(tree, &now_ns, 500);
    launch_watch_rank_ended(tree->watch, 0);
    launch_watch_rank_ended(tree->watch, 1);
    step_until(tree, &now_ns, 3000);
    assert_int_equal(tree->line_count, 0);
    launch_watch_end(tree->watch);
    assert_true(was_told(tree, "--verify: ranks 0-1 ended before the look"));
    assert_int_equal(tree->missed, 2);
}

static void ranks_of_the_second_machine_have_their_own_numbers(void **state)
{
    struct tree *tree = *state;
    const struct launch_watch_listener listener = {hear, hear_breach, hear_missed, tree};
    int64_t now_ns = 1;
    launch_watch_destroy(tree->watch);
    tree->watch = launch_watch_create(&tree->plan, 126, tree->proc, &listener);
    assert_non_null(tree->watch);
    start_both(tree);
    put_thread(tree, SECOND, SECOND, "0");
    step_until(tree, &now_ns, 500);
    launch_watch_rank_ended(tree->watch, 0);
    step_until(tree, &now_ns, 3000);
    assert_string_equal(
        tree->lines[2],
        " 126     -      -          -        -    -      -      -       -        -  "
        "   -       -          -");
    assert_true(was_told(tree, "--verify: rank 126 ended before the look"));
    assert_true(was_told(tree, "rank 127: 1 thread may run on CPUs outside of the planned 4-7"));
    assert_int_equal(tree->breaches, 1);
}

static void a_job_that_never_settles_is_looked_at_all_the_same(void **state)
{
    struct tree *tree = *state;
    int64_t now_ns = 1;
    start_both(tree);
    for (int i = 0; i < 80; i++) {
        char maps[80];
        snprintf(maps, sizeof maps, "7f0-7ff r--p 00000000 08:01 78 /usr/lib/lib%d.so\n", i);
        put(tree, SECOND, "maps", maps);
        step_until(tree, &now_ns, 800 * (i + 1));
        if (i == 70)
            assert_int_equal(tree->line_count, 0);
    }
    assert_true(was_told(tree, "--verify: 2 ranks, 60"));
}

static void a_rank_that_starts_again_is_looked_at_again(void **state)
{
    struct tree *tree = *state;
    int64_t now_ns = 1;
    start_both(tree);
    step_until(tree, &now_ns, 3000);
    assert_int_equal(tree->line_count, 6);
    launch_watch_rank_ended(tree->watch, 0);
    launch_watch_rank_ended(tree->watch, 1);
    put_process(tree, CHILD, 1, "0-7", "5600 bind:0 heap N0=2\n");
    launch_watch_rank_started(tree->watch, 0, CHILD, now_ns);
    launch_watch_rank_started(tree->watch, 1, SECOND, now_ns);
    step_until(tree, &now_ns, 9000);
    assert_true(was_told(tree, "rank 0: 1 thread may run on CPUs outside of the planned 0-3"));
    assert_int_equal(tree->breaches, 1);
    assert_int_equal(tree->line_count, 11); /* a table of its own */
}

#define TREE_TEST(test) cmocka_unit_test_setup_teardown(test, plant, fell)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_status_names_the_thread_and_its_cpus),
        cmocka_unit_test(maps_show_segments_and_pools),
        cmocka_unit_test(numa_maps_are_counted_by_node_policy_and_owner),
        cmocka_unit_test(smaps_tell_huge_pages_of_own_memory_and_own_segments),
        cmocka_unit_test(variables_that_bind_openmp_are_found),
        cmocka_unit_test(threads_are_held_against_the_plan),
        cmocka_unit_test(pages_are_held_against_the_plan),
        cmocka_unit_test(lists_of_cpus_lead_outside),
        cmocka_unit_test(many_threads_make_one_line),
        cmocka_unit_test(long_lists_end_at_a_whole_number),
        cmocka_unit_test(amounts_are_short),
        TREE_TEST(a_settled_job_is_told_of_once),
        TREE_TEST(what_changes_later_is_told),
        TREE_TEST(what_is_mapped_later_gives_the_table_again),
        TREE_TEST(a_rank_that_waits_for_a_cpu_is_not_settled),
        TREE_TEST(a_rank_that_waits_for_a_disk_is_not_settled),
        TREE_TEST(children_and_segments_count_with_their_rank),
        TREE_TEST(what_lost_its_parent_counts_by_its_session),
        TREE_TEST(balancing_is_told_where_no_policy_holds_pages),
        TREE_TEST(balancing_is_no_matter_where_all_is_bound),
        TREE_TEST(a_kernel_without_numa_is_told_once),
        TREE_TEST(ranks_that_were_too_quick_are_named),
        TREE_TEST(a_job_that_was_too_quick_is_named),
        TREE_TEST(ranks_of_the_second_machine_have_their_own_numbers),
        TREE_TEST(a_job_that_never_settles_is_looked_at_all_the_same),
        TREE_TEST(a_rank_that_starts_again_is_looked_at_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
