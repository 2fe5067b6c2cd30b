/* SPDX-License-Identifier: Apache-2.0 */
/* test_machine.c - reading machines, this one among them, and binding to what was planned. */
#include "base/mempolicy.h"
#include "plan_text.h"

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
        assert_int_equal(machine->cpus[i].l3, machine->cpus[i].package);
    assert_int_equal(machine->l3_count, 2);
    shmrt_machine_destroy(machine);
}

static struct shmrt_machine *load(const char *name)
{
    struct shmrt_machine *machine = NULL;
    struct shmrt_error error = {0};
    char path[512];
    snprintf(path, sizeof path, "%s/%s", TEST_DATA_DIR, name);
    int rc = shmrt_machine_from_xml(path, &machine, &error);
    if (rc)
        print_error("%s\n", error.text);
    assert_int_equal(rc, 0);
    return machine;
}

/* The node of that number, by its position. */
static size_t position(const struct shmrt_machine *machine, size_t number)
{
    size_t i = 0;
    while (i < machine->node_count && machine->nodes[i].number != number)
        i++;
    assert_true(i < machine->node_count);
    return i;
}

static void assert_node(const struct shmrt_machine *machine, size_t number, enum shmrt_tier tier,
                        size_t host, enum shmrt_scope scope, size_t package)
{
    const struct shmrt_machine_node *node = &machine->nodes[position(machine, number)];
    assert_int_equal(node->tier, tier);
    assert_int_equal(machine->nodes[node->host].number, host);
    assert_int_equal(node->scope, scope);
    assert_int_equal(node->package, package);
}

static unsigned distance(const struct shmrt_machine *machine, size_t from, size_t to)
{
    assert_non_null(machine->distances);
    return machine
        ->distances[position(machine, from) * machine->node_count + position(machine, to)];
}

static void tiers_come_from_subtypes_and_hosts_from_distances(void **state)
{
    (void)state;
    struct shmrt_machine *machine = load("hbm-and-cxl.xml");
    for (size_t node = 0; node < 2; node++) {
        assert_node(machine, node, SHMRT_TIER_DRAM, node, SHMRT_SCOPE_NODE, node);
        assert_node(machine, node + 2, SHMRT_TIER_HBM, node, SHMRT_SCOPE_NODE, node);
    }
    assert_node(machine, 4, SHMRT_TIER_CXL, 0, SHMRT_SCOPE_NODE, 0);
    assert_int_equal(distance(machine, 0, 0), 10);
    assert_int_equal(distance(machine, 0, 1), 21);
    assert_int_equal(distance(machine, 1, 3), 13);
    assert_int_equal(distance(machine, 1, 4), 24);
    assert_int_equal(distance(machine, 4, 0), 14);
    assert_int_equal(machine->quota_milli, 0); /* of this machine here, not of that one */
    shmrt_machine_destroy(machine);
}

static void tiers_come_from_figures_of_the_firmware(void **state)
{
    (void)state;
    struct shmrt_machine *machine = load("firmware-figures.xml");
    assert_node(machine, 0, SHMRT_TIER_DRAM, 0, SHMRT_SCOPE_NODE, 0);
    assert_node(machine, 1, SHMRT_TIER_HBM, 0, SHMRT_SCOPE_NODE, 0);
    assert_node(machine, 2, SHMRT_TIER_CXL, 0, SHMRT_SCOPE_NODE, 0);
    assert_node(machine, 3, SHMRT_TIER_DRAM, 0, SHMRT_SCOPE_NODE, 0);
    for (size_t node = 0; node < 5; node++)
        assert_true(machine->nodes[position(machine, node)].allowed == (node != 4));
    assert_null(machine->distances);
    shmrt_machine_destroy(machine);
}

/* Nothing is known of these but where they are, and how large. */
static void tiers_come_from_places_at_last(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t number;
        enum shmrt_tier tier;
        size_t host;
        enum shmrt_scope scope;
        size_t package;
    } cases[] = {
        {"pack:2 [numa(memory=64GB)] [numa(memory=64GB)] core:2", 3, SHMRT_TIER_HBM, 2,
         SHMRT_SCOPE_NODE, 1},
        {"pack:2 [numa(memory=64GB)] [numa(memory=65GB)] core:2", 3, SHMRT_TIER_CXL, 2,
         SHMRT_SCOPE_NODE, 1},
        {"[numa(memory=8GB)] pack:2 [numa(memory=64GB)] core:2", 2, SHMRT_TIER_CXL, 0,
         SHMRT_SCOPE_MACHINE, 0},
        {"pack:2 [numa(memory=8GB)] group:2 [numa(memory=64GB)] core:2", 5, SHMRT_TIER_CXL, 3,
         SHMRT_SCOPE_PACKAGE, 1},
        {"numa:2 core:2", 1, SHMRT_TIER_DRAM, 1, SHMRT_SCOPE_NODE, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct shmrt_machine *machine = NULL;
        assert_int_equal(shmrt_machine_from_text(cases[i].text, &machine, NULL), 0);
        assert_node(machine, cases[i].number, cases[i].tier, cases[i].host, cases[i].scope,
                    cases[i].package);
        shmrt_machine_destroy(machine);
    }
}

/* Four cores of one socket, and what @kinds says of them. */
static void assert_kinds(const char *kinds, size_t count, const char *expected)
{
    char path[] = "/tmp/shmrt-kinds-XXXXXX", text[8] = "";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *file = fdopen(fd, "w");
    assert_non_null(file);
    fputs("<?xml version=\"1.0\"?><!DOCTYPE topology SYSTEM \"hwloc2.dtd\">"
          "<topology version=\"2.0\"><object type=\"Machine\" os_index=\"0\" cpuset=\"0xf\" "
          "complete_cpuset=\"0xf\" allowed_cpuset=\"0xf\" nodeset=\"1\" complete_nodeset=\"1\" "
          "allowed_nodeset=\"1\" gp_index=\"1\"><object type=\"NUMANode\" os_index=\"0\" "
          "cpuset=\"0xf\" complete_cpuset=\"0xf\" nodeset=\"1\" complete_nodeset=\"1\" "
          "gp_index=\"2\" local_memory=\"1000000\"/>",
          file);
    for (int cpu = 0; cpu < 4; cpu++)
        fprintf(file,
                "<object type=\"PU\" os_index=\"%d\" cpuset=\"0x%x\" complete_cpuset=\"0x%x\" "
                "nodeset=\"1\" complete_nodeset=\"1\" gp_index=\"%d\"/>",
                cpu, 1 << cpu, 1 << cpu, 10 + cpu);
    fprintf(file, "</object>%s</topology>", kinds);
    fclose(file);
    struct shmrt_machine *machine = NULL;
    int rc = shmrt_machine_from_xml(path, &machine, NULL);
    unlink(path);
    assert_int_equal(rc, 0);
    for (size_t i = 0; i < machine->cpu_count; i++)
        text[i] = (char)('0' + machine->cpus[i].kind);
    assert_string_equal(text, expected);
    assert_int_equal(machine->kind_count, count);
    shmrt_machine_destroy(machine);
}

#define KIND(cpus, name, value)                                                                    \
    "<cpukind cpuset=\"" cpus "\"><info name=\"" name "\" value=\"" value "\"/></cpukind>"

static void kinds_are_designs_of_cores_not_their_clocks(void **state)
{
    (void)state;
    assert_kinds("", 1, "0000");
    assert_kinds(KIND("0x3", "CoreType", "IntelAtom") KIND("0xc", "CoreType", "IntelCore"), 2,
                 "1100");
    assert_kinds(KIND("0x3", "FrequencyMaxMHz", "3000") KIND("0xc", "FrequencyMaxMHz", "5500"), 1,
                 "0000");
    assert_kinds(KIND("0x1", "LinuxCapacity", "250") KIND("0x6", "LinuxCapacity", "700")
                     KIND("0x8", "LinuxCapacity", "1024"),
                 3, "2110");
    assert_kinds(KIND("0x3", "LinuxCapacity", "1024") KIND("0xc", "LinuxCapacity", "900"), 1,
                 "0000");
    assert_kinds(KIND("0x3", "LinuxCapacity", "1024") KIND("0x4", "LinuxCapacity", "400"), 1,
                 "0000"); /* of the last nothing is known */
    struct shmrt_machine *machine = load("p-and-e-cores.xml");
    assert_int_equal(machine->kind_count, 2);
    for (size_t i = 0; i < machine->cpu_count; i++)
        assert_int_equal(machine->cpus[i].kind, machine->cpus[i].number >= 4);
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

/* What the kernel has of @rank's memory policy. 0: as planned. */
static int look_at_policy(const struct shmrt_plan_rank *rank)
{
    enum { PREFERRED_MANY = 5 };
    static const int modes[] = {
        [SHMRT_MEMORY_BIND] = MPOL_BIND,
        [SHMRT_MEMORY_LOCAL] = MPOL_DEFAULT,
        [SHMRT_MEMORY_PREFER] = PREFERRED_MANY,
        [SHMRT_MEMORY_INTERLEAVE] = MPOL_INTERLEAVE,
    };
    unsigned long nodes[16] = {0};
    int mode = -1;
    if (shmrt_sys_get_mempolicy(&mode, nodes, sizeof nodes * 8, NULL, 0))
        return 0;
    bool is_older = rank->memory == SHMRT_MEMORY_PREFER && mode == MPOL_PREFERRED;
    if (mode != modes[rank->memory] && !is_older)
        return 5;
    for (size_t node = 0; node < sizeof nodes * 8; node++)
        if ((nodes[node / 64] >> (node % 64) & 1) !=
            (is_older ? node == rank->segment_node : shmrt_bitmap_has(&rank->memory_nodes, node)))
            return 6;
    return 0;
}

static int bind_and_look(enum shmrt_memory_policy policy)
{
    struct shmrt_machine *machine = NULL;
    struct shmrt_plan *plan = NULL;
    struct shmrt_plan_applied applied;
    const struct shmrt_placement_request request = {
        .per = SHMRT_PLACE_CORE, .ranks = 1, .memory = policy};
    if (shmrt_machine_read(&machine, NULL) || shmrt_plan_create(machine, &request, &plan, NULL))
        return 1;
    const struct shmrt_plan_rank *rank = &plan->ranks[0];
    int rc = shmrt_plan_apply(rank, &applied);
    if (rc != (applied.cpus ? applied.cpus : applied.memory) || applied.cpus)
        return 2;
    if ((applied.memory != 0) != machine->is_memory_denied ||
        (applied.memory && applied.memory != -EPERM && applied.memory != -ENOSYS))
        return 7;
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set))
        return 3;
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (!CPU_ISSET(cpu, &set) != !shmrt_bitmap_has(&rank->cpus, cpu))
            return 4;
    int wrong = applied.memory == 0 ? look_at_policy(rank) : 0;
    shmrt_plan_destroy(plan);
    shmrt_machine_destroy(machine);
    return wrong;
}

static int bind_each(void)
{
    for (enum shmrt_memory_policy policy = 0; policy <= SHMRT_MEMORY_INTERLEAVE; policy++) {
        int wrong = bind_and_look(policy);
        if (wrong)
            return 10 * (int)policy + wrong;
    }
    return 0;
}

static void a_plan_is_applied_as_it_says(void **state)
{
    (void)state;
    in_child(bind_each);
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
        cmocka_unit_test(tiers_come_from_subtypes_and_hosts_from_distances),
        cmocka_unit_test(tiers_come_from_figures_of_the_firmware),
        cmocka_unit_test(tiers_come_from_places_at_last),
        cmocka_unit_test(kinds_are_designs_of_cores_not_their_clocks),
        cmocka_unit_test(what_is_no_machine_is_refused_in_words),
        cmocka_unit_test(this_machine_is_read_within_the_affinity),
        cmocka_unit_test(a_plan_is_applied_as_it_says),
        cmocka_unit_test(sets_are_written_as_the_kernel_writes_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
