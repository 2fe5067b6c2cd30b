/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_plan.c - any machine, and any request for it: a plan that gives only what there is, or a
 * refusal in words. The bytes say what the machine has, core by core, and what is asked for.
 *
 * What every plan has to be beyond that is in tests/topo/test_plan_properties.c.
 */
#include "bytes.h"
#include "topo/bitmap.h"

#include <stdio.h>
#include <string.h>

enum { CORES_MOST = 96, CPUS_MOST = 4 * CORES_MOST, NODES_MOST = 12 };

struct case_of_plan {
    struct shmrt_machine machine;
    struct shmrt_machine_cpu cpus[CPUS_MOST];
    struct shmrt_machine_node nodes[NODES_MOST];
    unsigned distances[NODES_MOST * NODES_MOST];
    struct shmrt_placement_request request;
    struct shmrt_bitmap listed_cpus, listed_nodes;
};

static void add_core(struct case_of_plan *c, struct bytes *bytes, unsigned what)
{
    struct shmrt_machine *m = &c->machine;
    unsigned siblings = 1 + (what >> 4) % 4;
    const struct shmrt_machine_cpu *last = m->cpu_count ? &c->cpus[m->cpu_count - 1] : NULL;
    struct shmrt_machine_cpu cpu = {.core = m->core_count++};
    unsigned border = what % 4; /* none, L3, node, package */
    cpu.package = last ? last->package + (border == 3) : 0;
    cpu.node = last ? (last->node + (border >= 2)) % m->node_count : 0;
    cpu.l3 = last ? last->l3 + (border >= 1) : 0;
    cpu.kind = (what >> 2) % m->kind_count;
    unsigned withheld = what & 0x80 ? take(bytes) : 0;
    for (unsigned i = 0; i < siblings; i++) {
        cpu.number =
            (m->cpu_count * 7) % CPUS_MOST; /* other than positions: 7 and that share no factor */
        cpu.allowed = !(withheld >> i & 1);
        cpu.taken = withheld >> (4 + i) & 1;
        c->cpus[m->cpu_count++] = cpu;
    }
    c->nodes[cpu.node].has_cpus = true;
    c->nodes[cpu.node].package = cpu.package;
    c->nodes[cpu.node].host = cpu.node;
    m->package_count = cpu.package + 1;
    m->l3_count = cpu.l3 + 1;
}

static void add_node(struct shmrt_machine *m, struct shmrt_machine_node *node, struct bytes *bytes)
{
    unsigned what = take(bytes);
    *node = (struct shmrt_machine_node){
        .number = m->node_count * 5 % 64,
        .memory_bytes = what & 1 ? 0 : UINT64_C(1) << (20 + what % 40),
        .scope = (enum shmrt_scope)(what >> 1 & 1),
        .tier = (enum shmrt_tier)((what >> 2) % 3),
        .allowed = !(what & 0x40),
    };
    if (what >> 7)
        node->scope = SHMRT_SCOPE_MACHINE;
    m->node_count++;
}

/* A node without CPUs is nearest to one that has some. */
static void find_hosts(struct case_of_plan *c)
{
    for (size_t i = 0; i < c->machine.node_count; i++) {
        if (c->nodes[i].has_cpus)
            continue;
        c->nodes[i].host = c->cpus[i % c->machine.cpu_count].node;
        c->nodes[i].package = c->nodes[c->nodes[i].host].package;
    }
}

static void make_machine(struct case_of_plan *c, struct bytes *bytes)
{
    struct shmrt_machine *m = &c->machine;
    unsigned cores = 1 + take(bytes) % CORES_MOST, nodes = 1 + take(bytes) % NODES_MOST;
    unsigned what = take(bytes);
    m->cpus = c->cpus;
    m->nodes = c->nodes;
    m->kind_count = 1 + what % 3;
    m->quota_milli = what & 0x10 ? take_two(bytes) : 0;
    m->is_memory_denied = what & 0x20;
    m->is_here = what & 0x40;
    while (m->node_count < nodes)
        add_node(m, &c->nodes[m->node_count], bytes);
    for (unsigned i = 0, like = 0; i < cores; i++) {
        like = i % 8 ? like : take(bytes); /* eight alike */
        add_core(c, bytes, i % 8 ? like & ~3u : like);
    }
    find_hosts(c);
    if (what & 0x80) {
        m->distances = c->distances;
        for (unsigned i = 0; i < nodes * nodes; i++)
            c->distances[i] = i % (nodes + 1) ? 11 + take(bytes) : 10;
    }
}

static bool make_list(struct bytes *bytes, struct shmrt_bitmap *out)
{
    char text[64];
    unsigned first = take_two(bytes) % (CPUS_MOST + 4), many = take(bytes), other = take(bytes);
    if (first == 0)
        return false;
    snprintf(text, sizeof text, "%u-%u,%u", first - 1, first - 1 + many, other);
    must(shmrt_bitmap_parse(text, out, NULL) == 0);
    return true;
}

static void make_request(struct case_of_plan *c, struct bytes *bytes)
{
    struct shmrt_placement_request *r = &c->request;
    unsigned what = take(bytes), more = take(bytes);
    r->ranks = take(bytes) % (SHMRT_MAX_RANKS + 2);
    r->per = (enum shmrt_place)(what % 5);
    r->memory = (enum shmrt_memory_policy)(what >> 3 & 3);
    r->tier = (enum shmrt_tier)(what >> 5 & 3);
    r->order = what >> 7 ? SHMRT_ORDER_CYCLIC : SHMRT_ORDER_NEAR;
    r->cores_per_rank = more & 1 ? take(bytes) : 0;
    r->threads_per_core = more & 2 ? take(bytes) : 0;
    r->reserve = more & 4 ? take(bytes) : 0;
    if (more & 8) /* as from a command line */
        r->ranks = r->cores_per_rank = SIZE_MAX - take(bytes);
    if (more & 16 && make_list(bytes, &c->listed_cpus))
        r->cpus = &c->listed_cpus;
    if (more & 32 && make_list(bytes, &c->listed_nodes))
        r->nodes = &c->listed_nodes;
}

static void check_rank(const struct case_of_plan *c, const struct shmrt_plan_rank *rank)
{
    size_t cpus = 0;
    for (size_t i = 0; i < c->machine.cpu_count; i++) {
        const struct shmrt_machine_cpu *cpu = &c->cpus[i];
        bool has = shmrt_bitmap_has(&rank->cpus, cpu->number);
        must(!has || (cpu->allowed && shmrt_bitmap_has(&rank->cores, cpu->core)));
        must(!has || !c->request.cpus || shmrt_bitmap_has(c->request.cpus, cpu->number));
        cpus += has;
    }
    must(cpus > 0 && cpus == shmrt_bitmap_count(&rank->cpus));
    must(rank->threads > 0 && rank->threads <= cpus);
    must(rank->package < c->machine.package_count);
    for (size_t i = 0; i < c->machine.node_count; i++)
        if (shmrt_bitmap_has(&rank->memory_nodes, c->nodes[i].number))
            must(c->nodes[i].allowed && c->nodes[i].memory_bytes > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes bytes = {data, data + size};
    struct shmrt_error error = {0};
    struct shmrt_plan *plan = NULL;
    struct case_of_plan *c = calloc(1, sizeof *c);
    must(c != NULL);
    make_machine(c, &bytes);
    make_request(c, &bytes);
    int rc = shmrt_plan_create(&c->machine, &c->request, &plan, &error);
    must(rc == 0 ? plan != NULL : rc < 0 && error.code == rc && error.text[0] && !plan);
    for (size_t i = 0; plan && i < plan->rank_count; i++)
        check_rank(c, &plan->ranks[i]);
    shmrt_plan_destroy(plan);
    shmrt_bitmap_free(&c->listed_cpus);
    shmrt_bitmap_free(&c->listed_nodes);
    free(c);
    return 0;
}
