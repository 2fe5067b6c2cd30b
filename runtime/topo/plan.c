/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan.c - from a machine and a request to what each rank gets. Pure: looks at its arguments only.
 *
 * place.c has decided on the cores; here they become CPUs, threads and groups; plan_memory.c finds
 * memory nodes, and plan_warn.c puts into words what a person should know about the result.
 */
#include "base/error.h"
#include "bitmap.h"
#include "planner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int alloc_rank(const struct shmrt_planner *p, struct shmrt_plan_rank *rank)
{
    const struct {
        struct shmrt_bitmap *set;
        size_t bits;
    } sets[] = {
        {&rank->cpus, p->cpu_bits},
        {&rank->cores, p->machine->core_count},
        {&rank->reserved, p->machine->core_count},
        {&rank->nodes, p->node_bits},
        {&rank->packages, p->machine->package_count},
        {&rank->memory_nodes, p->node_bits},
    };
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++)
        if (shmrt_bitmap_alloc(sets[i].bits, sets[i].set))
            return -ENOMEM;
    return 0;
}

/* Returns how many CPUs of the core the rank uses. */
static size_t add_core(const struct shmrt_planner *p, const struct shmrt_row_core *core,
                       struct shmrt_plan_rank *rank)
{
    size_t limit = p->request->threads_per_core ? p->request->threads_per_core : SIZE_MAX;
    size_t used = 0;
    for (size_t i = core->first_cpu; i < core->cpu_end && used < limit; i++)
        if (p->row.usable[i]) {
            shmrt_bitmap_set(&rank->cpus, p->machine->cpus[i].number);
            used++;
        }
    shmrt_bitmap_set(&rank->cores, core->core);
    shmrt_bitmap_set(&rank->nodes, p->machine->nodes[core->node].number);
    shmrt_bitmap_set(&rank->packages, core->package);
    return used;
}

/* The node and the package with most of the slice's cores; the first among equals. */
static void find_home(const struct shmrt_planner *p, struct shmrt_slice slice,
                      struct shmrt_plan_rank *rank)
{
    const struct shmrt_row_core *cores = p->row.cores;
    size_t node = cores[shmrt_row_home(&p->row, slice, SHMRT_BORDER_NODE)].node;
    rank->node = p->machine->nodes[node].number;
    rank->package = cores[shmrt_row_home(&p->row, slice, SHMRT_BORDER_PACKAGE)].package;
}

static void plan_cores(const struct shmrt_planner *p, struct shmrt_slice slice,
                       struct shmrt_plan_rank *rank)
{
    for (size_t i = slice.begin; i < slice.end; i++) {
        const struct shmrt_row_core *core = &p->row.cores[i];
        size_t used = add_core(p, core, rank);
        if (i + p->request->reserve >= slice.end)
            shmrt_bitmap_set(&rank->reserved, core->core);
        else
            rank->threads += p->request->threads_per_core ? used : 1;
    }
    find_home(p, slice, rank);
}

/* The threads of all ranks, when none has more than @most. */
static size_t count_threads(const struct shmrt_plan *plan, size_t most)
{
    size_t count = 0;
    for (size_t i = 0; i < plan->rank_count; i++)
        count += plan->ranks[i].threads < most ? plan->ranks[i].threads : most;
    return count;
}

/* All ranks lose threads until the quota is kept: one that kept more would wait for the others. */
static void keep_quota(struct shmrt_planner *p)
{
    size_t quota = p->machine->quota_milli / 1000, most = 0;
    for (size_t i = 0; i < p->plan->rank_count; i++)
        most = p->plan->ranks[i].threads > most ? p->plan->ranks[i].threads : most;
    p->threads_wanted = count_threads(p->plan, most);
    if (p->machine->quota_milli == 0)
        return;
    while (most > 1 && count_threads(p->plan, most) > quota)
        most--;
    for (size_t i = 0; i < p->plan->rank_count; i++)
        if (p->plan->ranks[i].threads > most)
            p->plan->ranks[i].threads = most;
}

/* Numbers the homes in the order of the ranks that have them. */
static void number_groups(struct shmrt_plan *plan)
{
    size_t nodes = 0, packages = 0;
    for (size_t i = 0; i < plan->rank_count; i++) {
        struct shmrt_plan_rank *rank = &plan->ranks[i];
        rank->node_group = rank->package_group = SIZE_MAX;
        for (size_t j = 0; j < i; j++) {
            if (plan->ranks[j].node == rank->node)
                rank->node_group = plan->ranks[j].node_group;
            if (plan->ranks[j].package == rank->package)
                rank->package_group = plan->ranks[j].package_group;
        }
        if (rank->node_group == SIZE_MAX)
            rank->node_group = nodes++;
        if (rank->package_group == SIZE_MAX)
            rank->package_group = packages++;
    }
}

static int build(struct shmrt_planner *p)
{
    p->plan->ranks = calloc(p->places.ranks, sizeof *p->plan->ranks);
    if (!p->plan->ranks)
        return -ENOMEM;
    p->plan->rank_count = p->places.ranks;
    for (size_t i = 0; i < p->places.ranks; i++) {
        if (alloc_rank(p, &p->plan->ranks[i]))
            return -ENOMEM;
        plan_cores(p, p->places.slices[i], &p->plan->ranks[i]);
        shmrt_planner_memory(p, i);
    }
    keep_quota(p);
    number_groups(p->plan);
    return shmrt_planner_warn(p);
}

/* A refusal for want of cores has to say that there are more of them. */
static void mention_slower(const struct shmrt_planner *p, struct shmrt_error *error_out)
{
    size_t slower = 0, last = SIZE_MAX;
    for (size_t i = 0; i < p->machine->cpu_count; i++) {
        const struct shmrt_machine_cpu *cpu = &p->machine->cpus[i];
        if (p->row.usable[i] || !shmrt_row_wants(p->machine, p->request, cpu))
            continue;
        slower += cpu->core != last;
        last = cpu->core;
    }
    if (!error_out || slower == 0)
        return;
    size_t length = strlen(error_out->text);
    snprintf(error_out->text + length, sizeof error_out->text - length,
             " (%zu slower core%s not counted; name CPUs in cpus to use %s)", slower,
             slower == 1 ? " is" : "s are", slower == 1 ? "it" : "them");
}

int shmrt_plan_create(const struct shmrt_machine *machine,
                      const struct shmrt_placement_request *request, struct shmrt_plan **plan_out,
                      struct shmrt_error *error_out)
{
    struct shmrt_planner p = {
        .machine = machine,
        .request = request,
        .cpu_bits = shmrt_machine_cpu_bits(machine),
        .node_bits = shmrt_machine_node_bits(machine),
    };
    int rc = shmrt_row_create(machine, request, &p.row, error_out);
    if (rc)
        return rc;
    rc = shmrt_planner_check_tier(&p, error_out);
    if (rc == 0) {
        rc = shmrt_place_ranks(&p.row, request, &p.places, error_out);
        if (rc == -EINVAL)
            mention_slower(&p, error_out);
    }
    if (rc)
        goto err_row;
    p.plan = calloc(1, sizeof *p.plan);
    rc = p.plan ? build(&p) : -ENOMEM;
    if (rc) {
        shmrt_error_set(error_out, rc, "no memory for the plan of %zu ranks", p.places.ranks);
        shmrt_plan_destroy(p.plan);
        goto err_row;
    }
    *plan_out = p.plan;
err_row:
    shmrt_row_free(&p.row);
    return rc;
}

void shmrt_plan_destroy(struct shmrt_plan *plan)
{
    if (!plan)
        return;
    for (size_t i = 0; i < plan->rank_count; i++) {
        struct shmrt_plan_rank *rank = &plan->ranks[i];
        shmrt_bitmap_free(&rank->cpus);
        shmrt_bitmap_free(&rank->cores);
        shmrt_bitmap_free(&rank->reserved);
        shmrt_bitmap_free(&rank->nodes);
        shmrt_bitmap_free(&rank->packages);
        shmrt_bitmap_free(&rank->memory_nodes);
    }
    for (size_t i = 0; i < plan->warning_count; i++)
        free(plan->warnings[i]);
    free(plan->warnings);
    free(plan->ranks);
    free(plan);
}
