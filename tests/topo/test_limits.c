/* SPDX-License-Identifier: Apache-2.0 */
/* test_limits.c - CPU quotas of cgroups, read from trees made here, and refused memory policies. */
#include "base/mempolicy.h"
#include "fake_tree.h"
#include "topo/limits.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cmocka.h>

/* Of a process of @groups, /proc/self/cgroup's text, in the tree so far. */
static size_t quota_milli(const struct fake_tree *tree, const char *groups)
{
    char proc[96], cgroup[96];
    fake_tree_put(tree, "proc/self/cgroup", groups);
    snprintf(proc, sizeof proc, "%s/proc", tree->root);
    snprintf(cgroup, sizeof cgroup, "%s/cgroup", tree->root);
    return shmrt_cpu_quota_milli(proc, cgroup);
}

static void the_tightest_group_on_the_way_up_counts(void **state)
{
    (void)state;
    struct fake_tree tree;
    fake_tree_make(&tree);
    assert_int_equal(quota_milli(&tree, "0::/outer/inner\n"), 0);
    fake_tree_put(&tree, "cgroup/outer/inner/cpu.max", "max 100000\n");
    assert_int_equal(quota_milli(&tree, "0::/outer/inner\n"), 0);
    fake_tree_put(&tree, "cgroup/outer/cpu.max", "350000 100000\n");
    assert_int_equal(quota_milli(&tree, "0::/outer/inner\n"), 3500);
    fake_tree_put(&tree, "cgroup/outer/inner/cpu.max", "50000 20000\n");
    assert_int_equal(quota_milli(&tree, "0::/outer/inner\n"), 2500);
    fake_tree_put(&tree, "cgroup/outer/beside/cpu.max", "1000 100000\n");
    assert_int_equal(quota_milli(&tree, "0::/outer/inner\n"), 2500);
    assert_int_equal(quota_milli(&tree, "0::/outer\n"), 3500);
    assert_int_equal(quota_milli(&tree, "0::/\n"), 0);
    fake_tree_put(&tree, "cgroup/cpu.max", "1999 1000\n"); /* as a container sees its own */
    assert_int_equal(quota_milli(&tree, "0::/\n"), 1999);
    assert_int_equal(quota_milli(&tree, "0::/outer\n"), 1999);
    fake_tree_remove(&tree);
}

static void version_1_quotas_count_too(void **state)
{
    (void)state;
    static const char groups[] = "9:memory:/job\n5:cpu,cpuacct:/job\n4:cpuset:/tight\n0::/\n";
    struct fake_tree tree;
    fake_tree_make(&tree);
    fake_tree_put(&tree, "cgroup/cpu/tight/cpu.cfs_quota_us", "1000\n"); /* of another hierarchy */
    fake_tree_put(&tree, "cgroup/cpu/tight/cpu.cfs_period_us", "100000\n");
    fake_tree_put(&tree, "cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "-1\n");
    fake_tree_put(&tree, "cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000\n");
    assert_int_equal(quota_milli(&tree, groups), 0);
    fake_tree_put(&tree, "cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "225000\n");
    assert_int_equal(quota_milli(&tree, groups), 2250);
    fake_tree_put(&tree, "cgroup/cpu/cpu.cfs_quota_us", "200000\n");
    fake_tree_put(&tree, "cgroup/cpu/cpu.cfs_period_us", "100000\n");
    assert_int_equal(quota_milli(&tree, groups), 2000);
    fake_tree_remove(&tree);
}

static void what_is_no_quota_limits_nothing(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",           "\n",         "x 100000\n",  "100000\n",
        "100000 0\n", "0 100000\n", "-5 100000\n", "9223372036854775807 1\n"};
    struct fake_tree tree;
    fake_tree_make(&tree);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        fake_tree_put(&tree, "cgroup/cpu.max", texts[i]);
        assert_int_equal(quota_milli(&tree, "0::/\n"), 0);
    }
    fake_tree_put(&tree, "cgroup/cpu.max", "1 100000\n"); /* next to none is not none */
    assert_int_equal(quota_milli(&tree, "0::/\n"), 1);
    fake_tree_remove(&tree);
}

/* Asking changes nothing, and the answer is what the kernel would give to a plan. */
static void asking_for_memory_policies_leaves_them_alone(void **state)
{
    (void)state;
    unsigned long before[64] = {0}, after[64] = {0}, node_0 = 1;
    int mode_before = -1, mode_after = -1;
    int rc = shmrt_sys_set_mempolicy(MPOL_BIND, &node_0, sizeof node_0 * 8);
    bool is_denied = rc == -EPERM || rc == -ENOSYS;
    assert_true(shmrt_is_memory_denied() == is_denied);
    if (rc)
        skip();
    assert_int_equal(shmrt_sys_get_mempolicy(&mode_before, before, sizeof before * 8, NULL, 0), 0);
    assert_false(shmrt_is_memory_denied());
    assert_int_equal(shmrt_sys_get_mempolicy(&mode_after, after, sizeof after * 8, NULL, 0), 0);
    assert_int_equal(mode_after, MPOL_BIND);
    assert_memory_equal(before, after, sizeof before);
    assert_int_equal(shmrt_sys_set_mempolicy(MPOL_DEFAULT, NULL, 0), 0);
    assert_false(shmrt_is_memory_denied());
    assert_int_equal(shmrt_sys_get_mempolicy(&mode_after, after, sizeof after * 8, NULL, 0), 0);
    assert_int_equal(mode_after, MPOL_DEFAULT);
}

/* As in a container: this and what comes from it gets EPERM for @number. */
static int forbid(unsigned number)
{
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog filter = {.len = sizeof program / sizeof program[0], .filter = program};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
}

static void a_filter_that_forbids_either_call_is_noticed(void **state)
{
    (void)state;
    enum { NO_FILTERS = 77 };
    static const unsigned calls[] = {SYS_set_mempolicy, SYS_get_mempolicy};
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        int status = 0;
        pid_t pid = fork();
        if (pid == 0)
            _exit(forbid(calls[i]) ? NO_FILTERS : !shmrt_is_memory_denied());
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (WIFEXITED(status) && WEXITSTATUS(status) == NO_FILTERS)
            skip();
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tightest_group_on_the_way_up_counts),
        cmocka_unit_test(version_1_quotas_count_too),
        cmocka_unit_test(what_is_no_quota_limits_nothing),
        cmocka_unit_test(a_filter_that_forbids_either_call_is_noticed),
        cmocka_unit_test(asking_for_memory_policies_leaves_them_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
