/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan.c - from a machine and a request to what each rank gets. Pure: looks at its arguments only.
 *
 * place.c has decided on the cores; here they become CPUs, threads and memory nodes, and what a
 * person should know about the result is put into words.
 */
#include "base/error.h"
#include "bitmap.h"
#include "place.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct planner {
    const struct shmrt_machine *machine;
    const struct shmrt_placement_request *request;
    struct shmrt_row row;
    struct shmrt_places places;
    size_t cpu_bits, node_bits; /* one more than the largest number */
    struct shmrt_plan *plan;
};

static int warn(struct shmrt_plan *plan, const char *format, ...)
    SHMRT_PRINTF(2, 3) SHMRT_WARN_UNUSED;

static int warn(struct shmrt_plan *plan, const char *format, ...)
{
    char *text;
    va_list args;
    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    if (length < 0)
        return -ENOMEM;
    char **grown = reallocarray(plan->warnings, plan->warning_count + 1, sizeof *grown);
    if (!grown) {
        free(text);
        return -ENOMEM;
    }
    plan->warnings = grown;
    plan->warnings[plan->warning_count++] = text;
    return 0;
}

static int alloc_rank(const struct planner *p, struct shmrt_plan_rank *rank)
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
static size_t add_core(const struct planner *p, const struct shmrt_row_core *core,
                       struct shmrt_plan_rank *rank)
{
    size_t limit = p->request->threads_per_core ? p->request->threads_per_core : SIZE_MAX;
    size_t used = 0;
    for (size_t i = core->first_cpu; i < core->cpu_end && used < limit; i++)
        if (p->machine->cpus[i].allowed) {
            shmrt_bitmap_set(&rank->cpus, p->machine->cpus[i].number);
            used++;
        }
    shmrt_bitmap_set(&rank->cores, core->core);
    shmrt_bitmap_set(&rank->nodes, p->machine->nodes[core->node].number);
    shmrt_bitmap_set(&rank->packages, core->package);
    return used;
}

/* The node and the package with most of the slice's cores; the first among equals. */
static void find_home(const struct planner *p, struct shmrt_slice slice,
                      struct shmrt_plan_rank *rank)
{
    size_t most_of_node = 0, most_of_package = 0;
    size_t on_node = 0, on_package = 0;
    for (size_t i = slice.begin; i < slice.end; i++) {
        const struct shmrt_row_core *core = &p->row.cores[i];
        enum shmrt_border border = i > slice.begin ? p->row.borders[i] : SHMRT_BORDER_PACKAGE;
        on_node = border >= SHMRT_BORDER_NODE ? 1 : on_node + 1;
        on_package = border >= SHMRT_BORDER_PACKAGE ? 1 : on_package + 1;
        if (on_node > most_of_node) {
            most_of_node = on_node;
            rank->node = p->machine->nodes[core->node].number;
        }
        if (on_package > most_of_package) {
            most_of_package = on_package;
            rank->package = core->package;
        }
    }
}

static void plan_cores(const struct planner *p, struct shmrt_slice slice,
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
    rank->segment_node = rank->node;
}

/* How far a rank has to go for memory: its own nodes, its packages, anywhere. */
enum reach { REACH_NODES, REACH_PACKAGES, REACH_MACHINE, REACH_COUNT };

static bool is_in_reach(const struct shmrt_machine_node *node, const struct shmrt_plan_rank *rank,
                        enum reach reach)
{
    if (!node->allowed || node->memory_bytes == 0)
        return false;
    switch (reach) {
    case REACH_NODES:
        return shmrt_bitmap_has(&rank->nodes, node->number);
    case REACH_PACKAGES:
        return node->has_cpus && shmrt_bitmap_has(&rank->packages, node->package);
    default:
        return node->has_cpus;
    }
}

static enum reach plan_memory(const struct planner *p, struct shmrt_plan_rank *rank)
{
    rank->memory = p->request->memory;
    if (rank->memory == SHMRT_MEMORY_LOCAL)
        return REACH_NODES;
    bool found = false;
    enum reach reach = REACH_NODES;
    for (; reach < REACH_COUNT; reach++) {
        for (size_t i = 0; i < p->machine->node_count; i++)
            if (is_in_reach(&p->machine->nodes[i], rank, reach)) {
                shmrt_bitmap_set(&rank->memory_nodes, p->machine->nodes[i].number);
                found = true;
            }
        if (found)
            return reach;
    }
    rank->memory = SHMRT_MEMORY_LOCAL;
    return reach;
}

/* How many cores of @node, a position, can be used, and how many of them the slice has. */
static size_t cores_of_node(const struct planner *p, size_t node, struct shmrt_slice slice)
{
    size_t count = 0;
    for (size_t i = slice.begin; i < slice.end; i++)
        count += p->row.cores[i].node == node;
    return count;
}

static bool has_part_of_a_node(const struct planner *p, struct shmrt_slice slice)
{
    const struct shmrt_slice all = {.begin = 0, .end = p->row.count};
    size_t first = p->row.cores[slice.begin].node, last = p->row.cores[slice.end - 1].node;
    return cores_of_node(p, first, slice) < cores_of_node(p, first, all) ||
           cores_of_node(p, last, slice) < cores_of_node(p, last, all);
}

/* Ranks that one sentence is about. */
struct some_ranks {
    uint64_t word;
};

static void add_rank(struct some_ranks *some, size_t rank)
{
    some->word |= UINT64_C(1) << rank;
}

/* "rank 3" or "ranks 0-2,5", and then @one or @many. */
static int warn_ranks(struct shmrt_plan *plan, struct some_ranks some, const char *one,
                      const char *many)
{
    const struct shmrt_bitmap set = {.bits = SHMRT_MAX_RANKS, .words = &some.word};
    char list[256];
    shmrt_bitmap_format(&set, list, sizeof list);
    switch (shmrt_bitmap_count(&set)) {
    case 0:
        return 0;
    case 1:
        return warn(plan, "rank %s %s", list, one);
    default:
        return warn(plan, "ranks %s %s", list, many);
    }
}

static int warn_spans(const struct planner *p)
{
    struct some_ranks over_packages = {0}, over_nodes = {0};
    for (size_t i = 0; i < p->plan->rank_count; i++) {
        const struct shmrt_plan_rank *rank = &p->plan->ranks[i];
        if (shmrt_bitmap_count(&rank->packages) > 1)
            add_rank(&over_packages, i);
        else if (shmrt_bitmap_count(&rank->nodes) > 1 && has_part_of_a_node(p, p->places.slices[i]))
            add_rank(&over_nodes, i);
    }
    int rc = warn_ranks(p->plan, over_packages,
                        "has cores on more than one socket, and waits for the link between them",
                        "have cores on more than one socket, and wait for the link between them");
    return rc ? rc
              : warn_ranks(p->plan, over_nodes,
                           "has cores on more than one NUMA node, and only a part of one",
                           "have cores on more than one NUMA node, and only a part of one");
}

static int warn_memory(const struct planner *p, const struct some_ranks ranks_of[REACH_COUNT + 1])
{
    const struct some_ranks far = {ranks_of[REACH_PACKAGES].word | ranks_of[REACH_MACHINE].word};
    int rc = warn_ranks(
        p->plan, far, "cannot take memory on its NUMA node, and takes it from the nearest one",
        "cannot take memory on their NUMA nodes, and take it from the nearest ones");
    return rc ? rc
              : warn_ranks(p->plan, ranks_of[REACH_COUNT],
                           "finds no NUMA node with memory and CPUs that it may use: first touch "
                           "decides where its pages are",
                           "find no NUMA node with memory and CPUs that they may use: first touch "
                           "decides where their pages are");
}

static int warn_idle(const struct planner *p)
{
    struct shmrt_bitmap idle;
    if (shmrt_bitmap_alloc(p->node_bits, &idle))
        return -ENOMEM;
    for (size_t i = 0; i < p->row.count; i++) {
        size_t number = p->machine->nodes[p->row.cores[i].node].number;
        bool used = false;
        for (size_t rank = 0; rank < p->plan->rank_count && !used; rank++)
            used = shmrt_bitmap_has(&p->plan->ranks[rank].nodes, number);
        if (!used)
            shmrt_bitmap_set(&idle, number);
    }
    char list[256];
    int rc = 0;
    if (shmrt_bitmap_format(&idle, list, sizeof list) > 0)
        rc = warn(p->plan, "NUMA node%s %s: no rank runs there",
                  shmrt_bitmap_count(&idle) > 1 ? "s" : "", list);
    if (rc == 0 && p->places.trimmed_cores)
        rc = warn(p->plan,
                  "%zu core%s idle: no rank gets more than one core more than another, since it "
                  "would only wait",
                  p->places.trimmed_cores, p->places.trimmed_cores == 1 ? " stays" : "s stay");
    shmrt_bitmap_free(&idle);
    return rc;
}

static int warn_shared(const struct planner *p)
{
    if (!p->places.shared)
        return 0;
    return warn(p->plan, "%zu ranks share %zu core%s and take turns: at most %zu can run at a time",
                p->places.ranks, p->row.count, p->row.count == 1 ? "" : "s", p->row.count);
}

static int build(struct planner *p)
{
    struct some_ranks ranks_of[REACH_COUNT + 1] = {0};
    p->plan->ranks = calloc(p->places.ranks, sizeof *p->plan->ranks);
    if (!p->plan->ranks)
        return -ENOMEM;
    p->plan->rank_count = p->places.ranks;
    int rc = 0;
    for (size_t i = 0; i < p->places.ranks && rc == 0; i++) {
        rc = alloc_rank(p, &p->plan->ranks[i]);
        if (rc == 0) {
            plan_cores(p, p->places.slices[i], &p->plan->ranks[i]);
            add_rank(&ranks_of[plan_memory(p, &p->plan->ranks[i])], i);
        }
    }
    if (rc == 0)
        rc = warn_shared(p);
    if (rc == 0)
        rc = warn_memory(p, ranks_of);
    if (rc == 0)
        rc = warn_spans(p);
    return rc ? rc : warn_idle(p);
}

static void measure(struct planner *p)
{
    for (size_t i = 0; i < p->machine->cpu_count; i++)
        if (p->machine->cpus[i].number >= p->cpu_bits)
            p->cpu_bits = p->machine->cpus[i].number + 1;
    for (size_t i = 0; i < p->machine->node_count; i++)
        if (p->machine->nodes[i].number >= p->node_bits)
            p->node_bits = p->machine->nodes[i].number + 1;
}

int shmrt_plan_create(const struct shmrt_machine *machine,
                      const struct shmrt_placement_request *request, struct shmrt_plan **plan_out,
                      struct shmrt_error *error_out)
{
    struct planner p = {.machine = machine, .request = request};
    int rc = shmrt_row_create(machine, &p.row, error_out);
    if (rc)
        return rc;
    measure(&p);
    rc = shmrt_place_ranks(&p.row, request, &p.places, error_out);
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
