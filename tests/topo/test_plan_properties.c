/* SPDX-License-Identifier: Apache-2.0 */
/* test_plan_properties.c - what holds for every plan, on many machines with random CPUs forbidden:
 * either a refusal in words, or a plan without faults. */
#include "shmrt_placement.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const machines[] = {
    "core:2 pu:1",
    "pack:1 core:6 pu:2",
    "pack:1 l3:4 core:3 pu:2",
    "pack:2 numa:1 core:4 pu:2",
    "pack:2 numa:1 l3:1 core:7 pu:1",
    "pack:2 numa:2 l3:2 core:4 pu:2",
    "pack:2 numa:3 core:5 pu:2",
    "pack:2 numa:4 l3:2 core:2 pu:1",
    "pack:4 numa:2 l3:1 core:3 pu:4",
    "pack:2 l3:3 numa:1 core:4 pu:2",
    "pack:2 [numa(memory=64GB)] [numa(memory=16GB)] l3:2 core:4 pu:2",
    "pack:2 [numa] group:2 [numa(memory=8GB)] core:4 pu:2",
    "pack:1 numa:1 core:128 pu:2",
};

/* What a failure has to name to be repeated. */
struct trial {
    const char *text;
    unsigned seed;
    const struct shmrt_machine *machine;
    struct shmrt_placement_request request;
    const struct shmrt_plan *plan;
};

static void check(const struct trial *t, bool holds, const char *what)
{
    if (holds)
        return;
    fail_msg("%s: \"%s\" with seed %u, %zu ranks, per %d, %zu cores a rank, %zu threads a core, "
             "%zu reserved",
             what, t->text, t->seed, t->request.ranks, (int)t->request.per,
             t->request.cores_per_rank, t->request.threads_per_core, t->request.reserve);
}

static size_t usable_cores(const struct shmrt_machine *machine)
{
    size_t cores = 0, last = SIZE_MAX;
    for (size_t i = 0; i < machine->cpu_count; i++)
        if (machine->cpus[i].allowed) {
            cores += machine->cpus[i].core != last;
            last = machine->cpus[i].core;
        }
    return cores;
}

/* CPUs: allowed ones, whole cores, and the sets of cores, nodes and packages that go with them. */
static void check_cpus(const struct trial *t, const struct shmrt_plan_rank *rank)
{
    size_t cpus = 0;
    for (size_t i = 0; i < t->machine->cpu_count; i++) {
        const struct shmrt_machine_cpu *cpu = &t->machine->cpus[i];
        bool has_cpu = shmrt_bitmap_has(&rank->cpus, cpu->number);
        bool has_core = shmrt_bitmap_has(&rank->cores, cpu->core);
        cpus += has_cpu;
        check(t, !has_cpu || cpu->allowed, "a forbidden CPU");
        check(t, !has_cpu || has_core, "a CPU of somebody else's core");
        if (has_core && cpu->allowed && !t->request.threads_per_core)
            check(t, has_cpu, "siblings apart");
        if (has_cpu) {
            check(t, shmrt_bitmap_has(&rank->nodes, t->machine->nodes[cpu->node].number),
                  "a node not named");
            check(t, shmrt_bitmap_has(&rank->packages, cpu->package), "a package not named");
        }
    }
    check(t, cpus > 0, "no CPU");
    check(t, cpus == shmrt_bitmap_count(&rank->cpus), "a CPU that does not exist");
}

/* Memory of exactly the nodes that the rank's CPUs are on: all of these machines have some. */
static void check_memory(const struct trial *t, const struct shmrt_plan_rank *rank)
{
    check(t, rank->memory == SHMRT_MEMORY_BIND, "no memory");
    for (size_t i = 0; i < t->machine->node_count; i++) {
        const struct shmrt_machine_node *node = &t->machine->nodes[i];
        bool has = shmrt_bitmap_has(&rank->memory_nodes, node->number);
        check(t, has == shmrt_bitmap_has(&rank->nodes, node->number), "memory of other nodes");
        check(t, !has || node->has_cpus, "memory of a node without CPUs");
    }
}

static void check_threads(const struct trial *t, const struct shmrt_plan_rank *rank)
{
    size_t cores = shmrt_bitmap_count(&rank->cores), reserved = shmrt_bitmap_count(&rank->reserved);
    check(t, reserved == t->request.reserve, "reserved cores");
    check(t, rank->threads > 0, "no thread");
    check(t, rank->threads <= shmrt_bitmap_count(&rank->cpus), "more threads than CPUs");
    if (!t->request.threads_per_core)
        check(t, rank->threads == cores - reserved, "not a thread a core");
    if (t->request.cores_per_rank)
        check(t, cores == t->request.cores_per_rank, "not the cores asked for");
}

/* Cores of ranks in order, disjoint, evenly wide; or shared, evenly too. */
static void check_together(const struct trial *t)
{
    size_t narrowest = SIZE_MAX, widest = 0, next = 0;
    bool shared = t->plan->rank_count > usable_cores(t->machine);
    for (size_t i = 0; i < t->plan->rank_count; i++) {
        const struct shmrt_bitmap *cores = &t->plan->ranks[i].cores;
        size_t count = shmrt_bitmap_count(cores), first = shmrt_bitmap_next(cores, 0);
        narrowest = count < narrowest ? count : narrowest;
        widest = count > widest ? count : widest;
        check(t, shared || first >= next, "cores used twice or out of order");
        for (next = first; shmrt_bitmap_next(cores, next) < cores->bits;)
            next = shmrt_bitmap_next(cores, next) + 1;
    }
    check(t, widest <= narrowest + 1, "shares that differ by more than a core");
    check(t, !shared || t->plan->warning_count > 0, "shared in silence");
}

static void check_plan(struct trial *t)
{
    struct shmrt_plan *plan = NULL;
    struct shmrt_error error = {0};
    if (shmrt_plan_create(t->machine, &t->request, &plan, &error)) {
        check(t, strlen(error.text) > 20, "refused without words");
        check(t,
              t->request.per || t->request.cores_per_rank || t->request.threads_per_core > 1 ||
                  t->request.reserve,
              "a plain number of ranks refused");
        return;
    }
    t->plan = plan;
    check(t, plan->rank_count == t->request.ranks || t->request.ranks == 0, "other ranks");
    for (size_t i = 0; i < plan->rank_count; i++) {
        check_cpus(t, &plan->ranks[i]);
        check_memory(t, &plan->ranks[i]);
        check_threads(t, &plan->ranks[i]);
    }
    check_together(t);
    shmrt_plan_destroy(plan);
}

/* Forbids each CPU with a chance of @percent, but never all of them. */
static void forbid_some(struct shmrt_machine *machine, unsigned *seed, int percent)
{
    for (size_t i = 0; i < machine->cpu_count; i++)
        machine->cpus[i].allowed = rand_r(seed) % 100 >= percent;
    machine->cpus[rand_r(seed) % (int)machine->cpu_count].allowed = true;
}

static void try_ranks(struct trial *t, unsigned *seed)
{
    for (size_t ranks = 1; ranks <= 20; ranks++) {
        t->request = (struct shmrt_placement_request){.ranks = ranks};
        check_plan(t);
        t->request.per = (enum shmrt_place)(rand_r(seed) % 5);
        t->request.ranks = rand_r(seed) % 3 || !t->request.per ? ranks : 0;
        t->request.cores_per_rank = (size_t)(rand_r(seed) % 5);
        t->request.threads_per_core = (size_t)(rand_r(seed) % 3);
        t->request.reserve = (size_t)(rand_r(seed) % 4 == 0);
        check_plan(t);
    }
}

static void every_plan_is_without_faults(void **state)
{
    (void)state;
    for (size_t m = 0; m < sizeof machines / sizeof machines[0]; m++)
        for (unsigned seed = 0; seed < 12; seed++) {
            struct shmrt_machine *machine = NULL;
            unsigned random = seed;
            assert_int_equal(shmrt_machine_from_text(machines[m], &machine, NULL), 0);
            if (seed)
                forbid_some(machine, &random, (int)seed * 7);
            struct trial t = {.text = machines[m], .seed = seed, .machine = machine};
            try_ranks(&t, &random);
            shmrt_machine_destroy(machine);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_plan_is_without_faults)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
