/* SPDX-License-Identifier: Apache-2.0 */
/* test_memory_limit.c - the tightest of machine and cgroups, read from trees made here. */
#include "shm/memory_limit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static char root[] = "/tmp/shmrt-limit-XXXXXX";
static char proc[128], cgroup[128];

static void put(const char *directory, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void make(const char *directory)
{
    assert_int_equal(mkdir(directory, 0700), 0);
}

static int set_up(void **state)
{
    (void)state;
    char path[160];
    assert_non_null(mkdtemp(root));
    snprintf(proc, sizeof proc, "%s/proc", root);
    snprintf(cgroup, sizeof cgroup, "%s/cgroup", root);
    make(proc);
    snprintf(path, sizeof path, "%s/self", proc);
    make(path);
    make(cgroup);
    snprintf(path, sizeof path, "%s/outer", cgroup);
    make(path);
    snprintf(path, sizeof path, "%s/outer/inner", cgroup);
    make(path);
    put(proc, "meminfo", "MemTotal: 999 kB\nMemAvailable:   1000000 kB\n");
    put(proc, "self/cgroup", "0::/outer/inner\n");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", root);
    return system(command);
}

static void machine_limits_without_groups(void **state)
{
    (void)state;
    const char *limit;
    assert_int_equal(shmrt_memory_headroom(proc, "/nonexistent", &limit), UINT64_C(1000000) * 1024);
    assert_non_null(strstr(limit, "machine"));
    assert_true(shmrt_memory_headroom("/nonexistent", "/nonexistent", NULL) == UINT64_MAX);
}

static void parent_group_limits(void **state)
{
    (void)state;
    const char *limit;
    put(cgroup, "outer/inner/memory.max", "max\n");
    put(cgroup, "outer/inner/memory.current", "500\n");
    put(cgroup, "outer/memory.max", "5000000\n");
    put(cgroup, "outer/memory.current", "4000000\n");
    put(cgroup, "outer/memory.stat", "anon 1\nfile 9\ninactive_file 250000\n");
    assert_int_equal(shmrt_memory_headroom(proc, cgroup, &limit), 1250000);
    assert_non_null(strstr(limit, "cgroup"));
}

static void own_group_limits_and_may_be_full(void **state)
{
    (void)state;
    put(cgroup, "outer/inner/memory.max", "400\n");
    assert_int_equal(shmrt_memory_headroom(proc, cgroup, NULL), 0);
    put(proc, "self/cgroup", "0::/\n");
    put(cgroup, "memory.max", "2048\n");
    put(cgroup, "memory.current", "48\n");
    assert_int_equal(shmrt_memory_headroom(proc, cgroup, NULL), 2000);
}

static void version_1_groups_limit_too(void **state)
{
    (void)state;
    char path[160];
    put(proc, "self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/jobs/j1\n0::/\n");
    put(cgroup, "memory.max", "max\n");
    for (const char *const *d =
             (const char *const[]){"memory", "memory/jobs", "memory/jobs/j1", NULL};
         *d; d++) {
        snprintf(path, sizeof path, "%s/%s", cgroup, *d);
        make(path);
    }
    put(cgroup, "memory/jobs/j1/memory.limit_in_bytes", "9223372036854771712\n");
    put(cgroup, "memory/jobs/j1/memory.usage_in_bytes", "10\n");
    put(cgroup, "memory/jobs/memory.limit_in_bytes", "3000\n");
    put(cgroup, "memory/jobs/memory.usage_in_bytes", "2000\n");
    put(cgroup, "memory/jobs/memory.stat", "inactive_file 1\ntotal_inactive_file 500\n");
    assert_int_equal(shmrt_memory_headroom(proc, cgroup, NULL), 1500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(machine_limits_without_groups),
        cmocka_unit_test(parent_group_limits),
        cmocka_unit_test(own_group_limits_and_may_be_full),
        cmocka_unit_test(version_1_groups_limit_too),
    };
    return cmocka_run_group_tests_name("memory_limit", tests, set_up, tear_down);
}
