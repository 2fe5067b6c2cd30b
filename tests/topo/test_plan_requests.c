/* SPDX-License-Identifier: Apache-2.0 */
/* test_plan_requests.c - what each word of a request does to a plan, and what the machine
 * withholds; the expected text is written down for each. */
#include "plan_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DUAL "pack:2 numa:1 core:4 pu:2"
#define SNC2 "pack:2 numa:2 core:3 pu:1"
/* Xeon with HBM in flat mode: nodes 1 and 3 have no CPUs of their own. */
#define HBM "pack:2 [numa(memory=64GB)] [numa(memory=16GB)] l3:2 core:4 pu:2"
/* One memory-only node next to all CPUs; and one for each socket of two nodes. */
#define CXL         "[numa(memory=512GB)] pack:2 [numa(memory=64GB)] core:4 pu:1"
#define PACKAGE_CXL "pack:2 [numa(memory=512GB)] group:2 [numa(memory=64GB)] core:2 pu:1"
#define HBM_AND_CXL TEST_DATA_DIR "/hbm-and-cxl.xml"
#define LAPTOP      TEST_DATA_DIR "/p-and-e-cores.xml"

/* clang-format off */
static const struct {
    const char *machine, *cpus, *nodes;
    struct shmrt_placement_request request;
    const char *plan;
} cases[] = {
    {DUAL, "0-3,8-11", NULL,
     {.ranks = 2},
     "0  package 0  node 0  cores 0-1  cpus 0-3  memory 0  threads 2  segment 0  groups 0/0\n"
     "1  package 1  node 1  cores 4-5  cpus 8-11  memory 1  threads 2  segment 1  groups 1/1\n"},
    {DUAL, "1,3,5-7", NULL,
     {.ranks = 2},
     "0  package 0  node 0  cores 0-1  cpus 1,3  memory 0  threads 2  segment 0  groups 0/0\n"
     "1  package 0  node 0  cores 2-3  cpus 5-7  memory 0  threads 2  segment 0  groups 0/0\n"},
    {DUAL, "12-19", NULL,
     {.ranks = 1},
     "0  package 1  node 1  cores 6-7  cpus 12-15  memory 1  threads 2  segment 1  groups 0/0\n"
     "note: of the CPUs asked for, 16-19 are not there, or not allowed here\n"},
    {DUAL, "40-43", NULL,
     {.ranks = 2},
     "refused: cpus 40-43: the machine has CPUs 0-15\n"},
    {SNC2, NULL, "1-2",
     {.ranks = 2},
     "0  package 0  node 1  cores 3-5  cpus 3-5  memory 1  threads 3  segment 1  groups 0/0\n"
     "1  package 1  node 2  cores 6-8  cpus 6-8  memory 2  threads 3  segment 2  groups 1/1\n"},
    {SNC2, NULL, "1,3,8",
     {.per = SHMRT_PLACE_NODE},
     "0  package 0  node 1  cores 3-5  cpus 3-5  memory 1  threads 3  segment 1  groups 0/0\n"
     "1  package 1  node 3  cores 9-11  cpus 9-11  memory 3  threads 3  segment 3  groups 1/1\n"
     "note: of the NUMA nodes asked for, 8 is not there\n"},
    {SNC2, NULL, "6,8",
     {.ranks = 2},
     "refused: nodes 6,8: the machine has NUMA nodes 0-3\n"},
    {SNC2, "0-4", "1",
     {.ranks = 2},
     "0  package 0  node 1  cores 3  cpus 3  memory 1  threads 1  segment 1  groups 0/0\n"
     "1  package 0  node 1  cores 4  cpus 4  memory 1  threads 1  segment 1  groups 0/0\n"},
    {SNC2, "0-2", "1,3",
     {.ranks = 2},
     "refused: cpus 0-2 and nodes 1,3 have no CPU in common: of these nodes, CPUs 3-5,9-11 can be used\n"},
    {HBM, NULL, "1,3",
     {.ranks = 2},
     "refused: nodes 1,3: they have memory only, and ranks need CPUs; ranks can run on NUMA nodes 0,2\n"},
    {HBM, NULL, NULL,
     {.ranks = 4, .tier = SHMRT_TIER_HBM},
     "0  package 0  node 0  cores 0-3  cpus 0-7  memory 1  threads 4  segment 1  groups 0/0\n"
     "1  package 0  node 0  cores 4-7  cpus 8-15  memory 1  threads 4  segment 1  groups 0/0\n"
     "2  package 1  node 2  cores 8-11  cpus 16-23  memory 3  threads 4  segment 3  groups 1/1\n"
     "3  package 1  node 2  cores 12-15  cpus 24-31  memory 3  threads 4  segment 3  groups 1/1\n"},
    {HBM, NULL, NULL,
     {.ranks = 3, .tier = SHMRT_TIER_HBM, .memory = SHMRT_MEMORY_PREFER},
     "0  package 0  node 0  cores 0-4  cpus 0-9  memory prefer 1  threads 5  segment 1  groups 0/0\n"
     "1  package 0 (of 0-1)  node 0 (of 0,2)  cores 5-10  cpus 10-21  memory prefer 1,3  threads 6  segment 1  groups 0/0\n"
     "2  package 1  node 2  cores 11-15  cpus 22-31  memory prefer 3  threads 5  segment 3  groups 1/1\n"
     "note: rank 1 has cores on more than one socket, and waits for the link between them"
     "; 4 cores a rank would keep each on one\n"},
    {HBM, NULL, NULL,
     {.ranks = 2, .tier = SHMRT_TIER_ANY, .memory = SHMRT_MEMORY_INTERLEAVE},
     "0  package 0  node 0  cores 0-7  cpus 0-15  memory interleave 0-1  threads 8  segment 0  groups 0/0\n"
     "1  package 1  node 2  cores 8-15  cpus 16-31  memory interleave 2-3  threads 8  segment 2  groups 1/1\n"},
    {HBM, NULL, "0-2",
     {.ranks = 4, .tier = SHMRT_TIER_HBM},
     "0  package 0  node 0  cores 0-3  cpus 0-7  memory 1  threads 4  segment 1  groups 0/0\n"
     "1  package 0  node 0  cores 4-7  cpus 8-15  memory 1  threads 4  segment 1  groups 0/0\n"
     "2  package 1  node 2  cores 8-11  cpus 16-23  memory 1  threads 4  segment 1  groups 1/1\n"
     "3  package 1  node 2  cores 12-15  cpus 24-31  memory 1  threads 4  segment 1  groups 1/1\n"
     "note: ranks 2-3 have no memory of that tier next to their NUMA nodes, and take it from the nearest ones\n"},
    {HBM, NULL, "0,2",
     {.ranks = 2, .tier = SHMRT_TIER_HBM},
     "refused: no HBM is left: it is on NUMA nodes 1,3, which the request (nodes 0,2) leaves out, so add them there; there is DRAM (nodes 0,2)\n"},
    {HBM, NULL, NULL,
     {.ranks = 2, .tier = SHMRT_TIER_CXL},
     "refused: the machine has no CXL memory: there is DRAM (nodes 0,2), HBM (nodes 1,3)\n"},
    {HBM, NULL, NULL,
     {.ranks = 2, .tier = SHMRT_TIER_HBM, .memory = SHMRT_MEMORY_LOCAL},
     "refused: local memory is where the thread is that touches it first, so it can't be of a tier: ask for bind, prefer or interleave instead\n"},
    {DUAL, NULL, NULL,
     {.ranks = 2, .tier = SHMRT_TIER_HBM},
     "refused: the machine has no HBM: there is DRAM (nodes 0-1)\n"},
    {CXL, NULL, NULL,
     {.ranks = 2, .tier = SHMRT_TIER_CXL},
     "0  package 0  node 0  cores 0-3  cpus 0-3  memory 2  threads 4  segment 2  groups 0/0\n"
     "1  package 1  node 1  cores 4-7  cpus 4-7  memory 2  threads 4  segment 2  groups 1/1\n"},
    {CXL, NULL, NULL,
     {.ranks = 2, .tier = SHMRT_TIER_ANY},
     "0  package 0  node 0  cores 0-3  cpus 0-3  memory 0,2  threads 4  segment 0  groups 0/0\n"
     "1  package 1  node 1  cores 4-7  cpus 4-7  memory 1-2  threads 4  segment 1  groups 1/1\n"},
    {PACKAGE_CXL, NULL, NULL,
     {.per = SHMRT_PLACE_NODE, .tier = SHMRT_TIER_CXL},
     "0  package 0  node 0  cores 0-1  cpus 0-1  memory 2  threads 2  segment 2  groups 0/0\n"
     "1  package 0  node 1  cores 2-3  cpus 2-3  memory 2  threads 2  segment 2  groups 1/0\n"
     "2  package 1  node 3  cores 4-5  cpus 4-5  memory 5  threads 2  segment 5  groups 2/1\n"
     "3  package 1  node 4  cores 6-7  cpus 6-7  memory 5  threads 2  segment 5  groups 3/1\n"},
    {HBM_AND_CXL, NULL, NULL,
     {.ranks = 2, .tier = SHMRT_TIER_HBM},
     "0  package 0  node 0  cores 0-1  cpus 0-1  memory 2  threads 2  segment 2  groups 0/0\n"
     "1  package 1  node 1  cores 2-3  cpus 2-3  memory 3  threads 2  segment 3  groups 1/1\n"},
    {HBM_AND_CXL, NULL, NULL,
     {.ranks = 2, .tier = SHMRT_TIER_CXL},
     "0  package 0  node 0  cores 0-1  cpus 0-1  memory 4  threads 2  segment 4  groups 0/0\n"
     "1  package 1  node 1  cores 2-3  cpus 2-3  memory 4  threads 2  segment 4  groups 1/1\n"
     "note: rank 1 has no memory of that tier next to its NUMA node, and takes it from the nearest one\n"},
    {HBM_AND_CXL, NULL, NULL,
     {.ranks = 2, .tier = SHMRT_TIER_ANY},
     "0  package 0  node 0  cores 0-1  cpus 0-1  memory 0,2,4  threads 2  segment 0  groups 0/0\n"
     "1  package 1  node 1  cores 2-3  cpus 2-3  memory 1,3  threads 2  segment 1  groups 1/1\n"},
    {DUAL, NULL, NULL,
     {.ranks = 2, .memory = SHMRT_MEMORY_PREFER},
     "0  package 0  node 0  cores 0-3  cpus 0-7  memory prefer 0  threads 4  segment 0  groups 0/0\n"
     "1  package 1  node 1  cores 4-7  cpus 8-15  memory prefer 1  threads 4  segment 1  groups 1/1\n"},
    {DUAL, NULL, NULL,
     {.ranks = 1, .memory = SHMRT_MEMORY_INTERLEAVE},
     "0  package 0 (of 0-1)  node 0 (of 0-1)  cores 0-7  cpus 0-15  memory interleave 0-1  threads 8  segment 0  groups 0/0\n"
     "note: rank 0 has cores on more than one socket, and waits for the link between them"
     "; 4 cores a rank would keep each on one\n"},
    {DUAL, NULL, NULL,
     {.ranks = 4, .order = SHMRT_ORDER_CYCLIC},
     "0  package 0  node 0  cores 0-1  cpus 0-3  memory 0  threads 2  segment 0  groups 0/0\n"
     "1  package 1  node 1  cores 4-5  cpus 8-11  memory 1  threads 2  segment 1  groups 1/1\n"
     "2  package 0  node 0  cores 2-3  cpus 4-7  memory 0  threads 2  segment 0  groups 0/0\n"
     "3  package 1  node 1  cores 6-7  cpus 12-15  memory 1  threads 2  segment 1  groups 1/1\n"},
    {DUAL, NULL, NULL,
     {.ranks = 5, .order = SHMRT_ORDER_CYCLIC},
     "0  package 0  node 0  cores 0-1  cpus 0-3  memory 0  threads 2  segment 0  groups 0/0\n"
     "1  package 1  node 1  cores 4  cpus 8-9  memory 1  threads 1  segment 1  groups 1/1\n"
     "2  package 0  node 0  cores 2-3  cpus 4-7  memory 0  threads 2  segment 0  groups 0/0\n"
     "3  package 1  node 1  cores 5  cpus 10-11  memory 1  threads 1  segment 1  groups 1/1\n"
     "4  package 1  node 1  cores 6-7  cpus 12-15  memory 1  threads 2  segment 1  groups 1/1\n"},
    {SNC2, NULL, NULL,
     {.per = SHMRT_PLACE_NODE, .order = SHMRT_ORDER_CYCLIC},
     "0  package 0  node 0  cores 0-2  cpus 0-2  memory 0  threads 3  segment 0  groups 0/0\n"
     "1  package 1  node 2  cores 6-8  cpus 6-8  memory 2  threads 3  segment 2  groups 1/1\n"
     "2  package 0  node 1  cores 3-5  cpus 3-5  memory 1  threads 3  segment 1  groups 2/0\n"
     "3  package 1  node 3  cores 9-11  cpus 9-11  memory 3  threads 3  segment 3  groups 3/1\n"},
    {"pack:2 core:1", NULL, NULL,
     {.ranks = 5, .order = SHMRT_ORDER_CYCLIC},
     "0  package 0  node 0  cores 0  cpus 0  memory 0  threads 1  segment 0  groups 0/0\n"
     "1  package 1  node 0  cores 1  cpus 1  memory 0  threads 1  segment 0  groups 0/1\n"
     "2  package 0  node 0  cores 0  cpus 0  memory 0  threads 1  segment 0  groups 0/0\n"
     "3  package 1  node 0  cores 1  cpus 1  memory 0  threads 1  segment 0  groups 0/1\n"
     "4  package 0  node 0  cores 0  cpus 0  memory 0  threads 1  segment 0  groups 0/0\n"
     "note: 5 ranks share 2 cores and take turns: at most 2 can run at a time\n"},
    {"pack:1 core:4", NULL, NULL,
     {.ranks = 2, .order = SHMRT_ORDER_CYCLIC},
     "0  package 0  node 0  cores 0-1  cpus 0-1  memory 0  threads 2  segment 0  groups 0/0\n"
     "1  package 0  node 0  cores 2-3  cpus 2-3  memory 0  threads 2  segment 0  groups 0/0\n"},
    {LAPTOP, NULL, NULL,
     {.ranks = 2},
     "0  package 0  node 0  cores 0  cpus 0-1  memory 0  threads 1  segment 0  groups 0/0\n"
     "1  package 0  node 0  cores 1  cpus 2-3  memory 0  threads 1  segment 0  groups 0/0\n"
     "note: slower cores stay idle, since all ranks would wait for them: CPUs 4-7; name them in cpus to use them\n"},
    {LAPTOP, "0-7", NULL,
     {.ranks = 3},
     "0  package 0  node 0  cores 0-1  cpus 0-3  memory 0  threads 2  segment 0  groups 0/0\n"
     "1  package 0  node 0  cores 2-3  cpus 4-5  memory 0  threads 2  segment 0  groups 0/0\n"
     "2  package 0  node 0  cores 4-5  cpus 6-7  memory 0  threads 2  segment 0  groups 0/0\n"
     "note: CPUs 4-7 belong to slower cores than the others: where ranks wait for each other, all are as slow\n"},
    {LAPTOP, "4-7", NULL,
     {.ranks = 2},
     "0  package 0  node 0  cores 2-3  cpus 4-5  memory 0  threads 2  segment 0  groups 0/0\n"
     "1  package 0  node 0  cores 4-5  cpus 6-7  memory 0  threads 2  segment 0  groups 0/0\n"},
    {LAPTOP, NULL, NULL,
     {.ranks = 2, .cores_per_rank = 3},
     "refused: 2 ranks of 3 cores need 6 cores, and 2 can be used here; ask for at most 1 core a rank (4 slower cores are not counted; name CPUs in cpus to use them)\n"},
    {LAPTOP, NULL, NULL,
     {.ranks = 2, .tier = SHMRT_TIER_HBM},
     "refused: the machine has no HBM: there is DRAM (node 0)\n"},
};
/* clang-format on */

static struct shmrt_machine *machine_from(const char *text)
{
    struct shmrt_machine *machine = NULL;
    struct shmrt_error error = {0};
    int rc = text[0] == '/' ? shmrt_machine_from_xml(text, &machine, &error)
                            : shmrt_machine_from_text(text, &machine, &error);
    assert_int_equal(rc, 0);
    return machine;
}

static void assert_plan(const struct shmrt_machine *machine,
                        const struct shmrt_placement_request *request, const char *expected)
{
    char *text = plan_text(machine, request);
    assert_non_null(text);
    assert_string_equal(text, expected);
    free(text);
}

static void requests_are_met_as_written(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct shmrt_machine *machine = machine_from(cases[i].machine);
        struct shmrt_placement_request request = cases[i].request;
        struct shmrt_bitmap cpus = {0}, nodes = {0};
        if (cases[i].cpus)
            assert_int_equal(shmrt_bitmap_parse(cases[i].cpus, &cpus, NULL), 0);
        if (cases[i].nodes)
            assert_int_equal(shmrt_bitmap_parse(cases[i].nodes, &nodes, NULL), 0);
        request.cpus = cases[i].cpus ? &cpus : NULL;
        request.nodes = cases[i].nodes ? &nodes : NULL;
        assert_plan(machine, &request, cases[i].plan);
        shmrt_bitmap_free(&cpus);
        shmrt_bitmap_free(&nodes);
        shmrt_machine_destroy(machine);
    }
}

static void take(struct shmrt_machine *machine, size_t first, size_t last)
{
    for (size_t i = 0; i < machine->cpu_count; i++)
        if (machine->cpus[i].number >= first && machine->cpus[i].number <= last)
            machine->cpus[i].taken = true;
}

/* Told, not avoided: a plan does not change with what others do. */
static void cpus_of_another_job_are_named(void **state)
{
    (void)state;
    const struct shmrt_placement_request four = {.ranks = 4}, one = {.ranks = 1};
    struct shmrt_machine *machine = machine_from("pack:2 numa:1 core:2 pu:1");
    take(machine, 1, 1);
    assert_plan(
        machine, &four,
        "0  package 0  node 0  cores 0  cpus 0  memory 0  threads 1  segment 0  groups 0/0\n"
        "1  package 0  node 0  cores 1  cpus 1  memory 0  threads 1  segment 0  groups 0/0\n"
        "2  package 1  node 1  cores 2  cpus 2  memory 1  threads 1  segment 1  groups 1/1\n"
        "3  package 1  node 1  cores 3  cpus 3  memory 1  threads 1  segment 1  groups 1/1\n"
        "note: rank 1 is on CPU 1, where another job runs already, and each slows the other down: "
        "CPUs 0,2-3 are free\n");
    take(machine, 0, 3);
    assert_plan(
        machine, &one,
        "0  package 0 (of 0-1)  node 0 (of 0-1)  cores 0-3  cpus 0-3  memory 0-1  threads 4  "
        "segment 0  groups 0/0\n"
        "note: rank 0 has cores on more than one socket, and waits for the link between them"
        "; 2 cores a rank would keep each on one\n"
        "note: rank 0 is on CPUs 0-3, where another job runs already, and each slows the other "
        "down: no CPU is free\n");
    const struct shmrt_placement_request per = {.ranks = 1, .per = SHMRT_PLACE_PACKAGE};
    machine->cpus[0].taken = machine->cpus[2].taken = false;
    assert_plan(
        machine, &per,
        "0  package 0  node 0  cores 0-1  cpus 0-1  memory 0  threads 2  segment 0  groups "
        "0/0\n"
        "note: NUMA node 1: no rank runs there\n"
        "note: rank 0 is on CPU 1, where another job runs already, and each slows the other "
        "down: CPUs 0,2 are free\n");
    take(machine, 0, 0);
    assert_plan(
        machine, &per,
        "0  package 0  node 0  cores 0-1  cpus 0-1  memory 0  threads 2  segment 0  groups "
        "0/0\n"
        "note: NUMA node 1: no rank runs there\n"
        "note: rank 0 is on CPUs 0-1, where another job runs already, and each slows the other "
        "down: CPU 2 is free\n");
    shmrt_machine_destroy(machine);
}

static void a_quota_takes_threads_from_all_ranks(void **state)
{
    (void)state;
    const struct shmrt_placement_request two = {.ranks = 2}, three = {.ranks = 3};
    const struct shmrt_placement_request full = {.ranks = 2, .threads_per_core = 2, .reserve = 1};
    struct shmrt_machine *machine = machine_from(DUAL);
    machine->quota_milli = 8000;
    assert_plan(
        machine, &two,
        "0  package 0  node 0  cores 0-3  cpus 0-7  memory 0  threads 4  segment 0  groups 0/0\n"
        "1  package 1  node 1  cores 4-7  cpus 8-15  memory 1  threads 4  segment 1  groups 1/1\n");
    machine->quota_milli = 7999;
    assert_plan(
        machine, &two,
        "0  package 0  node 0  cores 0-3  cpus 0-7  memory 0  threads 3  segment 0  groups 0/0\n"
        "1  package 1  node 1  cores 4-7  cpus 8-15  memory 1  threads 3  segment 1  groups 1/1\n"
        "note: the cgroup's quota (cpu.max) is 7.999 CPUs: 6 OpenMP threads in all instead of 8, "
        "since the kernel stops who uses more\n");
    assert_plan(
        machine, &three,
        "0  package 0  node 0  cores 0-2  cpus 0-5  memory 0  threads 2  segment 0  groups 0/0\n"
        "1  package 0 (of 0-1)  node 0 (of 0-1)  cores 3-4  cpus 6-9  memory 0-1  threads 2  "
        "segment 0  groups 0/0\n"
        "2  package 1  node 1  cores 5-7  cpus 10-15  memory 1  threads 2  segment 1  groups 1/1\n"
        "note: the cgroup's quota (cpu.max) is 7.999 CPUs: 6 OpenMP threads in all instead of 8, "
        "since the kernel stops who uses more\n"
        "note: rank 1 has cores on more than one socket, and waits for the link between them"
        "; 2 cores a rank would keep each on one\n");
    assert_plan(machine, &full,
                "0  package 0  node 0  cores 0-3  cpus 0-7  memory 0  threads 3 reserved 3  "
                "segment 0  groups 0/0\n"
                "1  package 1  node 1  cores 4-7  cpus 8-15  memory 1  threads 3 reserved 7  "
                "segment 1  groups 1/1\n"
                "note: the cgroup's quota (cpu.max) is 7.999 CPUs: 6 OpenMP threads in all instead "
                "of 12, since the kernel stops who uses more\n");
    machine->quota_milli = 1500;
    assert_plan(
        machine, &two,
        "0  package 0  node 0  cores 0-3  cpus 0-7  memory 0  threads 1  segment 0  groups 0/0\n"
        "1  package 1  node 1  cores 4-7  cpus 8-15  memory 1  threads 1  segment 1  groups 1/1\n"
        "note: the cgroup's quota (cpu.max) is 1.5 CPUs, less than one for each of 2 ranks: the "
        "kernel stops them now and then; raise the quota, or ask for one rank\n");
    machine->quota_milli = 200;
    const struct shmrt_placement_request one = {.ranks = 1};
    assert_plan(
        machine, &one,
        "0  package 0 (of 0-1)  node 0 (of 0-1)  cores 0-7  cpus 0-15  memory 0-1  threads 1  "
        "segment 0  groups 0/0\n"
        "note: the cgroup's quota (cpu.max) is 0.2 CPUs, less than one thread uses: the kernel "
        "stops it now and then; raise the quota\n"
        "note: rank 0 has cores on more than one socket, and waits for the link between them"
        "; 4 cores a rank would keep each on one\n");
    shmrt_machine_destroy(machine);
}

static void a_kernel_that_refuses_policies_is_told_once(void **state)
{
    (void)state;
    const struct shmrt_placement_request two = {.ranks = 2};
    const struct shmrt_placement_request local = {.ranks = 2, .memory = SHMRT_MEMORY_LOCAL};
    struct shmrt_machine *machine = machine_from("pack:2 numa:1 core:1");
    machine->is_memory_denied = true;
    assert_plan(
        machine, &two,
        "0  package 0  node 0  cores 0  cpus 0  memory 0  threads 1  segment 0  groups 0/0\n"
        "1  package 1  node 1  cores 1  cpus 1  memory 1  threads 1  segment 1  groups 1/1\n"
        "note: the kernel refuses memory policies to this process (CAP_SYS_NICE is missing or a "
        "seccomp profile forbids them: docker run --cap-add SYS_NICE): first touch decides where "
        "pages are\n");
    assert_plan(
        machine, &local,
        "0  package 0  node 0  cores 0  cpus 0  memory local  threads 1  segment 0  groups 0/0\n"
        "1  package 1  node 1  cores 1  cpus 1  memory local  threads 1  segment 1  groups 1/1\n");
    machine->nodes[1].memory_bytes = 0; /* one node: nothing to choose */
    const struct shmrt_placement_request one = {.ranks = 1, .per = SHMRT_PLACE_NODE};
    assert_plan(
        machine, &one,
        "0  package 0  node 0  cores 0  cpus 0  memory 0  threads 1  segment 0  groups 0/0\n"
        "note: NUMA node 1: no rank runs there\n");
    shmrt_machine_destroy(machine);
}

/* cpuset.mems without the HBM nodes, and one of two only. */
static void a_tier_has_to_be_allowed(void **state)
{
    (void)state;
    const struct shmrt_placement_request two = {.ranks = 2, .tier = SHMRT_TIER_HBM};
    struct shmrt_machine *machine = machine_from(HBM);
    machine->nodes[3].allowed = false;
    assert_plan(
        machine, &two,
        "0  package 0  node 0  cores 0-7  cpus 0-15  memory 1  threads 8  segment 1  groups 0/0\n"
        "1  package 1  node 2  cores 8-15  cpus 16-31  memory 1  threads 8  segment 1  groups 1/1\n"
        "note: rank 1 has no memory of that tier next to its NUMA node, and takes it from the "
        "nearest one\n");
    machine->nodes[1].allowed = false;
    assert_plan(machine, &two,
                "refused: no HBM is left: it is on NUMA nodes 1,3, forbidden by the cgroup, or a "
                "GPU's own; there is DRAM (nodes 0,2)\n");
    shmrt_machine_destroy(machine);
}

/* Far memory comes from the nearest node only, where distances are known. */
static void far_memory_is_the_nearest_of_it(void **state)
{
    (void)state;
    const struct shmrt_placement_request one = {.ranks = 1, .per = SHMRT_PLACE_NODE};
    unsigned distances[] = {10, 31, 21, 31, 10, 31, 21, 31, 10};
    struct shmrt_machine *machine = machine_from("pack:3 numa:1 core:1");
    machine->nodes[0].memory_bytes = 0;
    assert_plan(
        machine, &one,
        "0  package 0  node 0  cores 0  cpus 0  memory 1-2  threads 1  segment 1  groups 0/0\n"
        "note: rank 0 cannot take memory on its NUMA node, and takes it from the nearest one\n"
        "note: NUMA nodes 1-2: no rank runs there\n");
    machine->distances = distances;
    assert_plan(
        machine, &one,
        "0  package 0  node 0  cores 0  cpus 0  memory 2  threads 1  segment 2  groups 0/0\n"
        "note: rank 0 cannot take memory on its NUMA node, and takes it from the nearest one\n"
        "note: NUMA nodes 1-2: no rank runs there\n");
    machine->distances = NULL;
    shmrt_machine_destroy(machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_met_as_written),
        cmocka_unit_test(cpus_of_another_job_are_named),
        cmocka_unit_test(a_quota_takes_threads_from_all_ranks),
        cmocka_unit_test(a_kernel_that_refuses_policies_is_told_once),
        cmocka_unit_test(a_tier_has_to_be_allowed),
        cmocka_unit_test(far_memory_is_the_nearest_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
