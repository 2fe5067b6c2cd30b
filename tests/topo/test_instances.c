/* SPDX-License-Identifier: Apache-2.0 */
/* test_instances.c - other jobs and their CPUs, read from trees made here. */
#include "fake_tree.h"
#include "plan/instances.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void put_process(const struct fake_tree *tree, int pid, int parent, const char *name,
                        const char *mask)
{
    char path[64], text[128];
    snprintf(path, sizeof path, "%d/comm", pid);
    snprintf(text, sizeof text, "%s\n", name);
    fake_tree_put(tree, path, text);
    snprintf(path, sizeof path, "%d/stat", pid);
    snprintf(text, sizeof text, "%d (%s) S %d 1 1 0 -1\n", pid, name, parent);
    fake_tree_put(tree, path, text);
    snprintf(path, sizeof path, "%d/status", pid);
    snprintf(text, sizeof text,
             "Name:\t%s\nCpus_allowed:\tff\nCpus_allowed_list:\t%s\nSeccomp:\t0\n", name, mask);
    fake_tree_put(tree, path, text);
}

/* The CPUs that are taken, seen by the process @self of the tree. */
static void assert_taken(const struct fake_tree *tree, int self, const char *expected)
{
    struct shmrt_machine *machine = NULL;
    uint64_t word = 0;
    char text[64];
    assert_int_equal(shmrt_machine_from_text("pack:2 core:4", &machine, NULL), 0);
    launch_instances_mark(tree->root, self, machine);
    for (size_t i = 0; i < machine->cpu_count; i++)
        word |= (uint64_t)machine->cpus[i].taken << machine->cpus[i].number;
    const struct shmrt_bitmap set = {.bits = 64, .words = &word};
    shmrt_bitmap_format(&set, text, sizeof text);
    assert_string_equal(text, expected);
    shmrt_machine_destroy(machine);
}

static void the_children_of_keepers_take_their_cpus(void **state)
{
    (void)state;
    struct fake_tree tree;
    fake_tree_make(&tree);
    assert_taken(&tree, 100, "");
    put_process(&tree, 1, 0, "init", "0-7");
    put_process(&tree, 100, 1, "shm-launch", "0-7");
    put_process(&tree, 40, 1, "bash", "5"); /* bound, but no rank */
    assert_taken(&tree, 100, "");
    put_process(&tree, 50, 1, "shm-launch", "0-7");
    put_process(&tree, 51, 50, "shm-keeper", "6");
    put_process(&tree, 52, 51, "python", "0-1");
    put_process(&tree, 53, 51, "odd) S 1 (name", "3");
    put_process(&tree, 54, 52, "worker", "7"); /* on its rank's account */
    put_process(&tree, 60, 1, "shm-keeper-2", "0-7");
    put_process(&tree, 61, 60, "python", "4");
    fake_tree_put(&tree, "version", "no process\n");
    assert_taken(&tree, 100, "0-1,3");
    fake_tree_remove(&tree);
}

static void who_is_not_bound_takes_nothing(void **state)
{
    (void)state;
    struct fake_tree tree;
    fake_tree_make(&tree);
    put_process(&tree, 1, 0, "init", "0-7");
    put_process(&tree, 51, 1, "shm-keeper", "0-7");
    put_process(&tree, 52, 51, "python", "0-15"); /* and some that are not there */
    put_process(&tree, 53, 51, "python", "0-7");
    fake_tree_put(&tree, "54/comm", "vanished\n");
    fake_tree_put(&tree, "54/stat", "54 (vanished) S 51 1\n");
    assert_taken(&tree, 100, "");
    put_process(&tree, 55, 51, "python", "0-6");
    assert_taken(&tree, 100, "0-6");
    fake_tree_put(&tree, "55/stat", "55 (python) Z 51 1\n");
    assert_taken(&tree, 100, "");
    fake_tree_remove(&tree);
}

/* A job inside a rank of another one is on that rank's CPUs, and that is as it should be. */
static void the_job_that_we_run_in_is_not_another(void **state)
{
    (void)state;
    struct fake_tree tree;
    fake_tree_make(&tree);
    put_process(&tree, 1, 0, "init", "0-7");
    put_process(&tree, 51, 1, "shm-keeper", "0-7");
    put_process(&tree, 52, 51, "python", "0-3");
    put_process(&tree, 60, 52, "bash", "0-3");
    put_process(&tree, 61, 60, "shm-launch", "0-3");
    put_process(&tree, 70, 60, "shm-keeper", "0-3");
    put_process(&tree, 71, 70, "python", "2");
    assert_taken(&tree, 61, "2");
    assert_taken(&tree, 99, "0-3");
    fake_tree_remove(&tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_children_of_keepers_take_their_cpus),
        cmocka_unit_test(who_is_not_bound_takes_nothing),
        cmocka_unit_test(the_job_that_we_run_in_is_not_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
