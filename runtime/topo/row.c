/* SPDX-License-Identifier: Apache-2.0 */
/*
 * row.c - chooses the CPUs that a request may use, and refuses one that leaves none with what there
 * is instead.
 */
#include "row.h"

#include "base/error.h"
#include "bitmap.h"

#include <errno.h>
#include <stdlib.h>

static bool is_listed(const struct shmrt_bitmap *list, size_t number)
{
    return !list || shmrt_bitmap_has(list, number);
}

bool shmrt_row_wants(const struct shmrt_machine *machine,
                     const struct shmrt_placement_request *request,
                     const struct shmrt_machine_cpu *cpu)
{
    return cpu->allowed && is_listed(request->cpus, cpu->number) &&
           is_listed(request->nodes, machine->nodes[cpu->node].number);
}

/* Cores with a CPU that the request wants, of @kind and the faster ones. */
static size_t count_cores(const struct shmrt_machine *machine,
                          const struct shmrt_placement_request *request, size_t kind)
{
    size_t count = 0, last = SIZE_MAX;
    for (size_t i = 0; i < machine->cpu_count; i++) {
        const struct shmrt_machine_cpu *cpu = &machine->cpus[i];
        if (cpu->core == last || cpu->kind > kind || !shmrt_row_wants(machine, request, cpu))
            continue;
        last = cpu->core;
        count++;
    }
    return count;
}

/* Slower kinds are taken only when they are named, or when ranks would have to share faster cores:
 * half of a fast core is slower than a whole one of these. */
static void choose_cpus(const struct shmrt_machine *machine,
                        const struct shmrt_placement_request *request, struct shmrt_row *row)
{
    size_t slowest = request->cpus && machine->kind_count ? machine->kind_count - 1 : 0;
    size_t wanted = request->ranks ? request->ranks : 1;
    while (slowest + 1 < machine->kind_count && count_cores(machine, request, slowest) < wanted)
        slowest++;
    for (size_t i = 0; i < machine->cpu_count; i++) {
        const struct shmrt_machine_cpu *cpu = &machine->cpus[i];
        row->usable[i] = cpu->kind <= slowest && shmrt_row_wants(machine, request, cpu);
        if (row->usable[i] && cpu->kind > row->kind)
            row->kind = cpu->kind;
    }
}

static enum shmrt_border border_between(const struct shmrt_row_core *a,
                                        const struct shmrt_row_core *b)
{
    if (a->package != b->package)
        return SHMRT_BORDER_PACKAGE;
    if (a->node != b->node)
        return SHMRT_BORDER_NODE;
    return a->l3 != b->l3 ? SHMRT_BORDER_L3 : SHMRT_BORDER_NONE;
}

static void fill(const struct shmrt_machine *machine, struct shmrt_row *row)
{
    for (size_t i = 0; i < machine->cpu_count;) {
        const struct shmrt_machine_cpu *cpu = &machine->cpus[i];
        struct shmrt_row_core core = {.core = cpu->core,
                                      .l3 = cpu->l3,
                                      .node = cpu->node,
                                      .package = cpu->package,
                                      .first_cpu = i};
        for (; i < machine->cpu_count && machine->cpus[i].core == core.core; i++)
            core.cpu_count += row->usable[i];
        core.cpu_end = i;
        if (core.cpu_count)
            row->cores[row->count++] = core;
    }
    for (size_t i = 1; i < row->count; i++)
        row->borders[i] = border_between(&row->cores[i - 1], &row->cores[i]);
}

/* Which CPUs or nodes a sentence is about: all, or those that some words of the request leave. */
enum those { ALL, ALLOWED, LISTED_AND_ALLOWED, LISTED };

/* The CPUs among @those as far as the list of CPUs, or that of nodes, says; for a person. */
static size_t list_cpus(const struct shmrt_machine *machine,
                        const struct shmrt_placement_request *request, enum those those,
                        struct shmrt_bitmap_text *text_out)
{
    struct shmrt_bitmap set;
    *text_out = (struct shmrt_bitmap_text){0};
    if (shmrt_bitmap_alloc(shmrt_machine_cpu_bits(machine), &set))
        return 0;
    for (size_t i = 0; i < machine->cpu_count; i++) {
        const struct shmrt_machine_cpu *cpu = &machine->cpus[i];
        bool listed = is_listed(request->cpus, cpu->number) &&
                      is_listed(request->nodes, machine->nodes[cpu->node].number);
        if ((listed || those < LISTED_AND_ALLOWED) &&
            (cpu->allowed || those == ALL || those == LISTED))
            shmrt_bitmap_set(&set, cpu->number);
    }
    size_t count = shmrt_bitmap_count(&set);
    *text_out = shmrt_bitmap_text(&set);
    shmrt_bitmap_free(&set);
    return count;
}

/* The nodes, or those with CPUs, or with allowed ones; LISTED: those of the request. */
static size_t list_nodes(const struct shmrt_machine *machine,
                         const struct shmrt_placement_request *request, enum those those,
                         struct shmrt_bitmap_text *text_out)
{
    struct shmrt_bitmap set;
    *text_out = (struct shmrt_bitmap_text){0};
    if (shmrt_bitmap_alloc(shmrt_machine_node_bits(machine), &set))
        return 0;
    for (size_t i = 0; i < machine->node_count; i++) {
        size_t number = machine->nodes[i].number;
        bool has_allowed = false;
        for (size_t cpu = 0; cpu < machine->cpu_count; cpu++)
            has_allowed |= machine->cpus[cpu].allowed && machine->cpus[cpu].node == i;
        if (those == ALL || (those == ALLOWED && has_allowed) ||
            (those == LISTED && is_listed(request->nodes, number)))
            shmrt_bitmap_set(&set, number);
    }
    size_t count = shmrt_bitmap_count(&set);
    *text_out = shmrt_bitmap_text(&set);
    shmrt_bitmap_free(&set);
    return count;
}

static int refuse_cpus(const struct shmrt_machine *machine,
                       const struct shmrt_placement_request *request, struct shmrt_error *error_out)
{
    const struct shmrt_placement_request cpus = {.cpus = request->cpus};
    struct shmrt_bitmap_text asked = shmrt_bitmap_text(request->cpus), there;
    if (list_cpus(machine, &cpus, LISTED, &there) == 0) {
        list_cpus(machine, request, ALL, &there);
        return shmrt_error_set(error_out, -EINVAL, "cpus %s: the machine has CPUs %s", asked.text,
                               there.text);
    }
    if (list_cpus(machine, &cpus, LISTED_AND_ALLOWED, &there) == 0) {
        list_cpus(machine, request, ALLOWED, &there);
        return shmrt_error_set(error_out, -EINVAL, "cpus %s: this process may use CPUs %s only",
                               asked.text, there.text);
    }
    return 0;
}

static int refuse_nodes(const struct shmrt_machine *machine,
                        const struct shmrt_placement_request *request,
                        struct shmrt_error *error_out)
{
    const struct shmrt_placement_request nodes = {.nodes = request->nodes};
    struct shmrt_bitmap_text asked = shmrt_bitmap_text(request->nodes), there;
    if (list_nodes(machine, request, LISTED, &there) == 0) {
        list_nodes(machine, request, ALL, &there);
        return shmrt_error_set(error_out, -EINVAL, "nodes %s: the machine has NUMA nodes %s",
                               asked.text, there.text);
    }
    if (list_cpus(machine, &nodes, LISTED_AND_ALLOWED, &there) == 0) {
        bool has_cpus = list_cpus(machine, &nodes, LISTED, &there) > 0;
        list_nodes(machine, request, ALLOWED, &there);
        return shmrt_error_set(error_out, -EINVAL, "nodes %s: %s; ranks can run on NUMA nodes %s",
                               asked.text,
                               has_cpus ? "this process may use none of their CPUs"
                                        : "they have memory only, and ranks need CPUs",
                               there.text);
    }
    return 0;
}

/* Nothing is left: what was it that took it away? */
static int refuse(const struct shmrt_machine *machine,
                  const struct shmrt_placement_request *request, struct shmrt_error *error_out)
{
    struct shmrt_bitmap_text there;
    if (list_cpus(machine, request, ALLOWED, &there) == 0)
        return shmrt_error_set(error_out, -EINVAL,
                               "none of the machine's %zu CPUs is allowed to this process",
                               machine->cpu_count);
    int rc = request->cpus ? refuse_cpus(machine, request, error_out) : 0;
    if (rc == 0 && request->nodes)
        rc = refuse_nodes(machine, request, error_out);
    if (rc)
        return rc;
    const struct shmrt_placement_request nodes = {.nodes = request->nodes};
    list_cpus(machine, &nodes, LISTED_AND_ALLOWED, &there);
    return shmrt_error_set(error_out, -EINVAL,
                           "cpus %s and nodes %s have no CPU in common: of these nodes, CPUs %s "
                           "can be used",
                           shmrt_bitmap_text(request->cpus).text,
                           shmrt_bitmap_text(request->nodes).text, there.text);
}

int shmrt_row_create(const struct shmrt_machine *machine,
                     const struct shmrt_placement_request *request, struct shmrt_row *row_out,
                     struct shmrt_error *error_out)
{
    struct shmrt_row row = {0};
    row.cores = calloc(machine->cpu_count + 1, sizeof *row.cores);
    row.borders = calloc(machine->cpu_count + 1, sizeof *row.borders);
    row.usable = calloc(machine->cpu_count + 1, sizeof *row.usable);
    if (!row.cores || !row.borders || !row.usable) {
        shmrt_row_free(&row);
        return shmrt_error_set(error_out, -ENOMEM, "no memory for a list of %zu CPUs",
                               machine->cpu_count);
    }
    choose_cpus(machine, request, &row);
    fill(machine, &row);
    if (row.count == 0) {
        shmrt_row_free(&row);
        return refuse(machine, request, error_out);
    }
    *row_out = row;
    return 0;
}

void shmrt_row_free(struct shmrt_row *row)
{
    free(row->usable);
    free(row->borders);
    free(row->cores);
    *row = (struct shmrt_row){0};
}

size_t shmrt_row_home(const struct shmrt_row *row, struct shmrt_slice slice,
                      enum shmrt_border border)
{
    size_t home = slice.begin, most = 0, here = 0;
    for (size_t i = slice.begin; i < slice.end; i++) {
        here = i > slice.begin && row->borders[i] < border ? here + 1 : 1;
        if (here > most) {
            most = here;
            home = i;
        }
    }
    return home;
}
