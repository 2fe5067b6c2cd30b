/* SPDX-License-Identifier: Apache-2.0 */
/* test_machine.c - reading machines, this one among them, and binding to what was planned. */
#include "plan_text.h"

#include <errno.h>
#include <numaif.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void a_saved_topology_is_read_with_its_cpuset(void **state)
{
    (void)state;
    struct shmrt_machine *machine = NULL;
    struct shmrt_error error = {0};
    assert_int_equal(
        shmrt_machine_from_xml(TEST_DATA_DIR "/two-sockets-cpuset.xml", &machine, &error), 0);
    assert_false(machine->is_here);
    assert_int_equal(machine->cpu_count, 8);
    assert_int_equal(machine->core_count, 4);
    assert_int_equal(machine->l3_count, 2);
    assert_int_equal(machine->package_count, 2);
    assert_int_equal(machine->node_count, 2);
    assert_true(machine->nodes[0].allowed && !machine->nodes[1].allowed);
    assert_true(machine->nodes[0].has_cpus && machine->nodes[1].has_cpus);
    assert_true(machine->nodes[1].memory_bytes == UINT64_C(64) << 30);
    assert_int_equal(machine->cpus[1].number, 4);
    assert_int_equal(machine->cpus[1].core, 0);
    assert_true(machine->cpus[1].allowed && !machine->cpus[0].allowed);
    const struct shmrt_placement_request request = {.ranks = 2};
    char *text = plan_text(machine, &request);
    assert_string_equal(
        text,
        "0  package 0  node 0  cores 0-1  cpus 2,4,6  memory 0  threads 2  segment 0  groups 0/0\n"
        "1  package 1  node 1  cores 2-3  cpus 1,3,5,7  memory 0  threads 2  segment 0  groups "
        "1/1\n"
        "note: rank 1 cannot take memory on its NUMA node, and takes it from the nearest "
        "one\n");
    free(text);
    shmrt_machine_destroy(machine);
}

static void memory_without_cpus_is_told_apart(void **state)
{
    (void)state;
    struct shmrt_machine *machine = NULL;
    assert_int_equal(shmrt_machine_from_text(
                         "pack:2 [numa(memory=64GB)] [numa(memory=16GB)] core:2", &machine, NULL),
                     0);
    assert_int_equal(machine->node_count, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_true(machine->nodes[i].has_cpus == (machine->nodes[i].number % 2 == 0));
        assert_int_equal(machine->nodes[i].package, machine->nodes[i].number / 2);
    }
    for (size_t i = 0; i < machine->cpu_count; i++) /* no L3 is reported */
        assert_int_equal(machine->cpus[i].l3, machine->cpus[i].node);
    shmrt_machine_destroy(machine);
}

static void what_is_no_machine_is_refused_in_words(void **state)
{
    (void)state;
    struct shmrt_machine *machine = NULL;
    struct shmrt_error error = {0};
    assert_int_equal(shmrt_machine_from_text("pack:two", &machine, &error), -EINVAL);
    assert_non_null(strstr(error.text, "\"pack:two\" does not describe a machine"));
    assert_int_equal(shmrt_machine_from_xml("/nonexistent.xml", &machine, &error), -EINVAL);
    assert_non_null(strstr(error.text, "/nonexistent.xml is not a topology"));
    assert_null(machine);
}

static size_t count_allowed(const struct shmrt_machine *machine)
{
    size_t count = 0;
    for (size_t i = 0; i < machine->cpu_count; i++)
        count += machine->cpus[i].allowed;
    return count;
}

/* In a process of its own: affinity can be narrowed, but not always widened again. */
static void in_child(int (*check)(void))
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(check());
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static int read_with_narrow_affinity(void)
{
    struct shmrt_machine *machine = NULL;
    cpu_set_t set;
    int cpu = sched_getcpu();
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) || shmrt_machine_read(&machine, NULL))
        return 1;
    if (count_allowed(machine) != 1)
        return 2;
    for (size_t i = 0; i < machine->cpu_count; i++)
        if (machine->cpus[i].allowed && machine->cpus[i].number != (size_t)cpu)
            return 3;
    shmrt_machine_destroy(machine);
    return 0;
}

static void this_machine_is_read_within_the_affinity(void **state)
{
    (void)state;
    struct shmrt_machine *machine = NULL;
    cpu_set_t set;
    assert_int_equal(shmrt_machine_read(&machine, NULL), 0);
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    assert_true(machine->is_here);
    assert_int_equal(count_allowed(machine), CPU_COUNT(&set));
    shmrt_machine_destroy(machine);
    in_child(read_with_narrow_affinity);
}

static int bind_and_look(void)
{
    struct shmrt_machine *machine = NULL;
    struct shmrt_plan *plan = NULL;
    struct shmrt_plan_applied applied;
    const struct shmrt_placement_request request = {.per = SHMRT_PLACE_CORE, .ranks = 1};
    if (shmrt_machine_read(&machine, NULL) || shmrt_plan_create(machine, &request, &plan, NULL))
        return 1;
    const struct shmrt_plan_rank *rank = &plan->ranks[0];
    int rc = shmrt_plan_apply(rank, &applied);
    if (rc != (applied.cpus ? applied.cpus : applied.memory) || applied.cpus)
        return 2;
    if (applied.memory && applied.memory != -EPERM && applied.memory != -ENOSYS)
        return 7;
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set))
        return 3;
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (!CPU_ISSET(cpu, &set) != !shmrt_bitmap_has(&rank->cpus, cpu))
            return 4;
    unsigned long nodes[16] = {0};
    int mode = -1;
    if (applied.memory == 0 && get_mempolicy(&mode, nodes, sizeof nodes * 8, NULL, 0) == 0) {
        if (mode != (rank->memory == SHMRT_MEMORY_BIND ? MPOL_BIND : MPOL_DEFAULT))
            return 5;
        for (size_t node = 0; node < sizeof nodes * 8; node++)
            if ((nodes[node / 64] >> (node % 64) & 1) !=
                shmrt_bitmap_has(&rank->memory_nodes, node))
                return 6;
    }
    shmrt_plan_destroy(plan);
    shmrt_machine_destroy(machine);
    return 0;
}

static void a_plan_is_applied_as_it_says(void **state)
{
    (void)state;
    in_child(bind_and_look);
}

static void sets_are_written_as_the_kernel_writes_them(void **state)
{
    (void)state;
    uint64_t words[3] = {0xf, 0, 0x3};
    const struct shmrt_bitmap set = {.bits = 130, .words = words};
    char text[32];
    assert_int_equal(shmrt_bitmap_format(&set, text, sizeof text), 11);
    assert_string_equal(text, "0-3,128-129");
    assert_int_equal(shmrt_bitmap_format(&set, text, 5), 11);
    assert_string_equal(text, "0-3,");
    assert_int_equal(shmrt_bitmap_count(&set), 6);
    assert_int_equal(shmrt_bitmap_next(&set, 4), 128);
    assert_int_equal(shmrt_bitmap_next(&set, 130), 130);
    assert_false(shmrt_bitmap_has(&set, 5000));
    const struct shmrt_bitmap none = {0};
    assert_int_equal(shmrt_bitmap_format(&none, text, sizeof text), 0);
    assert_string_equal(text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_saved_topology_is_read_with_its_cpuset),
        cmocka_unit_test(memory_without_cpus_is_told_apart),
        cmocka_unit_test(what_is_no_machine_is_refused_in_words),
        cmocka_unit_test(this_machine_is_read_within_the_affinity),
        cmocka_unit_test(a_plan_is_applied_as_it_says),
        cmocka_unit_test(sets_are_written_as_the_kernel_writes_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
