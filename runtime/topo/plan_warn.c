/* SPDX-License-Identifier: Apache-2.0 */
/* plan_warn.c - what a person should know about a plan before starting it, one sentence each. */
#include "planner.h"

#include "base/attributes.h"
#include "bitmap.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

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

/* How many cores of @node, a position, can be used, and how many of them the slice has. */
static size_t cores_of_node(const struct shmrt_planner *p, size_t node, struct shmrt_slice slice)
{
    size_t count = 0;
    for (size_t i = slice.begin; i < slice.end; i++)
        count += p->row.cores[i].node == node;
    return count;
}

static bool has_part_of_a_node(const struct shmrt_planner *p, struct shmrt_slice slice)
{
    const struct shmrt_slice all = {.begin = 0, .end = p->row.count};
    size_t first = p->row.cores[slice.begin].node, last = p->row.cores[slice.end - 1].node;
    return cores_of_node(p, first, slice) < cores_of_node(p, first, all) ||
           cores_of_node(p, last, slice) < cores_of_node(p, last, all);
}

/* "rank 3" or "ranks 0-2,5", and then @one or @many. */
static int warn_ranks(struct shmrt_plan *plan, struct shmrt_some_ranks some, const char *one,
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

/* The most cores a rank with which all ranks of the request have room within packages; 0: none. */
static size_t widest_within_packages(const struct shmrt_planner *p)
{
    size_t ranks = p->plan->rank_count;
    for (size_t width = p->row.count / ranks; width > 0; width--) {
        size_t room = 0, here = 0;
        for (size_t i = 0; i < p->row.count; i++) {
            here = i && p->row.borders[i] < SHMRT_BORDER_PACKAGE ? here + 1 : 1;
            room += here % width == 0;
        }
        if (room >= ranks)
            return width;
    }
    return 0;
}

static int warn_packages(const struct shmrt_planner *p, struct shmrt_some_ranks some)
{
    char instead[64] = "", one[192], many[192];
    size_t width = widest_within_packages(p);
    if (width && p->request->per == SHMRT_PLACE_SPREAD)
        snprintf(instead, sizeof instead, "; %zu core%s a rank would keep each on one", width,
                 width == 1 ? "" : "s");
    snprintf(one, sizeof one,
             "has cores on more than one socket, and waits for the link between them%s", instead);
    snprintf(many, sizeof many,
             "have cores on more than one socket, and wait for the link between them%s", instead);
    return warn_ranks(p->plan, some, one, many);
}

static int warn_spans(const struct shmrt_planner *p)
{
    struct shmrt_some_ranks over_packages = {0}, over_nodes = {0};
    for (size_t i = 0; i < p->plan->rank_count; i++) {
        const struct shmrt_plan_rank *rank = &p->plan->ranks[i];
        if (shmrt_bitmap_count(&rank->packages) > 1)
            shmrt_some_ranks_add(&over_packages, i);
        else if (shmrt_bitmap_count(&rank->nodes) > 1 && has_part_of_a_node(p, p->places.slices[i]))
            shmrt_some_ranks_add(&over_nodes, i);
    }
    int rc = warn_packages(p, over_packages);
    return rc ? rc
              : warn_ranks(p->plan, over_nodes,
                           "has cores on more than one NUMA node, and only a part of one",
                           "have cores on more than one NUMA node, and only a part of one");
}

/* Then of no rank anything is known, and one line is enough. */
static int warn_hidden(const struct shmrt_planner *p)
{
    return warn(
        p->plan,
        "/sys is not mounted here, so this machine's sockets, caches and NUMA nodes are not "
        "known: the ranks get equal shares of its CPUs, and first touch decides where "
        "their pages are (docker run -v /sys:/sys:ro)");
}

static int warn_memory(const struct shmrt_planner *p)
{
    if (p->machine->is_hidden)
        return warn_hidden(p);
    int rc = p->request->tier == SHMRT_TIER_DRAM
                 ? warn_ranks(p->plan, p->far_memory,
                              "cannot take memory on its NUMA node, and takes it from the nearest "
                              "one",
                              "cannot take memory on their NUMA nodes, and take it from the "
                              "nearest ones")
                 : warn_ranks(p->plan, p->far_memory,
                              "has no memory of that tier next to its NUMA node, and takes it from "
                              "the nearest one",
                              "have no memory of that tier next to their NUMA nodes, and take it "
                              "from the nearest ones");
    return rc ? rc
              : warn_ranks(p->plan, p->no_memory,
                           "finds no NUMA node with memory and CPUs that it may use: first touch "
                           "decides where its pages are",
                           "find no NUMA node with memory and CPUs that they may use: first touch "
                           "decides where their pages are");
}

/* With one node there is no choice, and nothing is lost. */
static int warn_denied(const struct shmrt_planner *p)
{
    size_t nodes = 0;
    for (size_t i = 0; i < p->machine->node_count; i++)
        nodes += p->machine->nodes[i].memory_bytes > 0;
    if (!p->machine->is_memory_denied || nodes < 2 || p->request->memory == SHMRT_MEMORY_LOCAL)
        return 0;
    return warn(p->plan,
                "the kernel refuses memory policies to this process (CAP_SYS_NICE is missing "
                "or a seccomp profile forbids them: docker run --cap-add SYS_NICE): first "
                "touch decides where pages are");
}

/* CPUs that one sentence is about. */
struct some_cpus {
    size_t count;
    struct shmrt_bitmap_text text;
};

/* Return: 0 or -ENOMEM. */
static int some_cpus(const struct shmrt_planner *p,
                     bool (*is_one)(const struct shmrt_planner *, size_t cpu),
                     struct some_cpus *out)
{
    struct shmrt_bitmap set;
    if (shmrt_bitmap_alloc(p->cpu_bits, &set))
        return -ENOMEM;
    for (size_t i = 0; i < p->machine->cpu_count; i++)
        if (is_one(p, i))
            shmrt_bitmap_set(&set, p->machine->cpus[i].number);
    *out = (struct some_cpus){.count = shmrt_bitmap_count(&set), .text = shmrt_bitmap_text(&set)};
    shmrt_bitmap_free(&set);
    return 0;
}

static bool is_too_slow(const struct shmrt_planner *p, size_t cpu)
{
    return shmrt_row_wants(p->machine, p->request, &p->machine->cpus[cpu]) && !p->row.usable[cpu];
}

static bool is_in_a_rank(const struct shmrt_planner *p, size_t cpu)
{
    bool used = false;
    for (size_t i = 0; i < p->plan->rank_count && !used; i++)
        used = shmrt_bitmap_has(&p->plan->ranks[i].cpus, p->machine->cpus[cpu].number);
    return used;
}

static bool is_fast(const struct shmrt_planner *p, size_t cpu)
{
    return p->machine->cpus[cpu].kind < p->row.kind && is_in_a_rank(p, cpu);
}

static bool is_slow(const struct shmrt_planner *p, size_t cpu)
{
    return p->machine->cpus[cpu].kind == p->row.kind && is_in_a_rank(p, cpu);
}

static int warn_kinds(const struct shmrt_planner *p)
{
    struct some_cpus out, slow, fast;
    if (some_cpus(p, is_too_slow, &out) || some_cpus(p, is_slow, &slow) ||
        some_cpus(p, is_fast, &fast))
        return -ENOMEM;
    if (out.count)
        return warn(p->plan,
                    "slower cores stay idle, since all ranks would wait for them: CPU%s %s; name "
                    "them in cpus to use them",
                    out.count == 1 ? "" : "s", out.text.text);
    if (slow.count && fast.count)
        return warn(p->plan,
                    "CPU%s %s belong%s to slower cores than the others: where ranks wait for each "
                    "other, all are as slow",
                    slow.count == 1 ? "" : "s", slow.text.text, slow.count == 1 ? "s" : "");
    return 0;
}

/* What the request names and nobody can have. */
static int warn_absent(const struct shmrt_planner *p)
{
    const struct shmrt_placement_request *r = p->request;
    struct shmrt_bitmap cpus = {0}, nodes = {0};
    int rc = 0;
    if ((r->cpus && shmrt_bitmap_alloc(r->cpus->bits, &cpus)) ||
        (r->nodes && shmrt_bitmap_alloc(r->nodes->bits, &nodes)))
        rc = -ENOMEM;
    for (size_t i = 0; rc == 0 && i < cpus.bits / 64 + 1 && r->cpus; i++)
        cpus.words[i] = r->cpus->words[i];
    for (size_t i = 0; rc == 0 && i < nodes.bits / 64 + 1 && r->nodes; i++)
        nodes.words[i] = r->nodes->words[i];
    for (size_t i = 0; rc == 0 && i < p->machine->cpu_count; i++)
        if (p->machine->cpus[i].allowed && p->machine->cpus[i].number < cpus.bits)
            shmrt_bitmap_clear(&cpus, p->machine->cpus[i].number);
    for (size_t i = 0; rc == 0 && i < p->machine->node_count; i++)
        if (p->machine->nodes[i].number < nodes.bits)
            shmrt_bitmap_clear(&nodes, p->machine->nodes[i].number);
    size_t cpu_count = shmrt_bitmap_count(&cpus), node_count = shmrt_bitmap_count(&nodes);
    if (rc == 0 && cpu_count)
        rc = warn(p->plan, "of the CPUs asked for, %s %s not there, or not allowed here",
                  shmrt_bitmap_text(&cpus).text, cpu_count == 1 ? "is" : "are");
    if (rc == 0 && node_count)
        rc = warn(p->plan, "of the NUMA nodes asked for, %s %s not there",
                  shmrt_bitmap_text(&nodes).text, node_count == 1 ? "is" : "are");
    shmrt_bitmap_free(&cpus);
    shmrt_bitmap_free(&nodes);
    return rc;
}

static int warn_quota(const struct shmrt_planner *p)
{
    size_t milli = p->machine->quota_milli, ranks = p->plan->rank_count, threads = 0;
    char quota[64];
    if (milli == 0 || p->threads_wanted <= milli / 1000)
        return 0;
    snprintf(quota, sizeof quota, "%g CPU%s", (double)milli / 1000, milli == 1000 ? "" : "s");
    for (size_t i = 0; i < ranks; i++)
        threads += p->plan->ranks[i].threads;
    if (threads <= milli / 1000)
        return warn(p->plan,
                    "the cgroup's quota (cpu.max) is %s: %zu OpenMP thread%s in all instead of "
                    "%zu, since the kernel stops who uses more",
                    quota, threads, threads == 1 ? "" : "s", p->threads_wanted);
    if (ranks == 1)
        return warn(p->plan,
                    "the cgroup's quota (cpu.max) is %s, less than one thread uses: the kernel "
                    "stops it now and then; raise the quota",
                    quota);
    return warn(p->plan,
                "the cgroup's quota (cpu.max) is %s, less than one for each of %zu ranks: the "
                "kernel stops them now and then; raise the quota, or ask for %s",
                quota, ranks, milli < 2000 ? "one rank" : "fewer ranks");
}

static bool is_taken(const struct shmrt_planner *p, size_t cpu)
{
    return p->machine->cpus[cpu].taken && is_in_a_rank(p, cpu);
}

static bool is_free(const struct shmrt_planner *p, size_t cpu)
{
    return p->machine->cpus[cpu].allowed && !p->machine->cpus[cpu].taken;
}

static int warn_taken(const struct shmrt_planner *p)
{
    struct shmrt_some_ranks ranks = {0};
    struct some_cpus taken, free_ones;
    for (size_t rank = 0; rank < p->plan->rank_count; rank++)
        for (size_t i = 0; i < p->machine->cpu_count; i++)
            if (p->machine->cpus[i].taken &&
                shmrt_bitmap_has(&p->plan->ranks[rank].cpus, p->machine->cpus[i].number))
                shmrt_some_ranks_add(&ranks, rank);
    if (some_cpus(p, is_taken, &taken) || some_cpus(p, is_free, &free_ones))
        return -ENOMEM;
    if (taken.count == 0)
        return 0;
    char words[400], free_words[128];
    snprintf(free_words, sizeof free_words, "CPU%s %s %s free", free_ones.count == 1 ? "" : "s",
             free_ones.text.text, free_ones.count == 1 ? "is" : "are");
    snprintf(words, sizeof words,
             "on CPU%s %s, where another job runs already, and each slows the other down: %s",
             taken.count == 1 ? "" : "s", taken.text.text,
             free_ones.count ? free_words : "no CPU is free");
    char one[420], many[420];
    snprintf(one, sizeof one, "is %s", words);
    snprintf(many, sizeof many, "are %s", words);
    return warn_ranks(p->plan, ranks, one, many);
}

static int warn_idle(const struct shmrt_planner *p)
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
    int rc = 0;
    if (shmrt_bitmap_count(&idle) > 0)
        rc = warn(p->plan, "NUMA node%s %s: no rank runs there",
                  shmrt_bitmap_count(&idle) > 1 ? "s" : "", shmrt_bitmap_text(&idle).text);
    if (rc == 0 && p->places.trimmed_cores)
        rc = warn(p->plan,
                  "%zu core%s idle: no rank gets more than one core more than another, since it "
                  "would only wait",
                  p->places.trimmed_cores, p->places.trimmed_cores == 1 ? " stays" : "s stay");
    shmrt_bitmap_free(&idle);
    return rc;
}

/* How many of the ranks that share cores can run at a time: SMT siblings serve one each. */
static size_t count_running(const struct shmrt_planner *p)
{
    size_t running = 0;
    for (size_t i = 0; i < p->places.ranks; i++) {
        size_t cpus = shmrt_bitmap_count(&p->plan->ranks[i].cpus), before = 0;
        for (size_t j = 0; j < i; j++)
            before += p->places.slices[j].begin == p->places.slices[i].begin;
        running += before < cpus;
    }
    return running;
}

static int warn_shared(const struct shmrt_planner *p)
{
    if (!p->places.shared)
        return 0;
    size_t ranks = p->places.ranks, cores = p->row.count, running = count_running(p);
    if (running == ranks)
        return warn(p->plan,
                    "%zu ranks share %zu core%s: those on the same core have a CPU of it each, and "
                    "slow each other down",
                    ranks, cores, cores == 1 ? "" : "s");
    return warn(p->plan, "%zu ranks share %zu core%s and take turns: at most %zu can run at a time",
                ranks, cores, cores == 1 ? "" : "s", running);
}

int shmrt_planner_warn(const struct shmrt_planner *p)
{
    static int (*const parts[])(const struct shmrt_planner *) = {
        warn_absent, warn_shared, warn_quota, warn_denied, warn_memory,
        warn_spans,  warn_kinds,  warn_idle,  warn_taken,
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (parts[i](p))
            return -ENOMEM;
    return 0;
}
