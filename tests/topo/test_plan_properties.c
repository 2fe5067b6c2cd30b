/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_plan_properties.c - what holds for every plan: machines made at random, with CPUs, nodes and
 * memory withheld, and requests made at random; either a refusal in words, or a plan without
 * faults.
 *
 * SHMRT_PLAN_SEED=N repeats the trial that a failure names, SHMRT_PLAN_TRIALS=N makes so many.
 */
#include "shmrt_placement.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TRIALS = 2000, REQUESTS = 6 };

/* What a failure has to name to be repeated. */
struct trial {
    unsigned seed;
    char text[160];
    struct shmrt_machine *machine;
    struct shmrt_placement_request request;
    struct shmrt_bitmap cpus, nodes;
    const struct shmrt_plan *plan;
};

static void check(const struct trial *t, bool holds, const char *what)
{
    const struct shmrt_placement_request *r = &t->request;
    char cpus[256] = "all", nodes[64] = "all";
    if (holds)
        return;
    if (r->cpus)
        shmrt_bitmap_format(r->cpus, cpus, sizeof cpus);
    if (r->nodes)
        shmrt_bitmap_format(r->nodes, nodes, sizeof nodes);
    for (size_t i = 0; t->plan && i < t->plan->warning_count; i++)
        print_error("note: %s\n", t->plan->warnings[i]);
    fail_msg("%s: SHMRT_PLAN_SEED=%u, \"%s\", quota %zu: %zu ranks, per %d, %zu cores a rank, %zu "
             "threads a core, %zu reserved, memory %d, tier %d, order %d, cpus %s, nodes %s",
             what, t->seed, t->text, t->machine->quota_milli, r->ranks, (int)r->per,
             r->cores_per_rank, r->threads_per_core, r->reserve, (int)r->memory, (int)r->tier,
             (int)r->order, cpus, nodes);
}

static bool is_listed(const struct shmrt_bitmap *list, size_t number)
{
    return !list || shmrt_bitmap_has(list, number);
}

static bool is_wanted(const struct trial *t, const struct shmrt_machine_cpu *cpu)
{
    return cpu->allowed && is_listed(t->request.cpus, cpu->number) &&
           is_listed(t->request.nodes, t->machine->nodes[cpu->node].number);
}

/* What this test takes for usable, told from the header and not from the planner. */
static bool is_usable(const struct trial *t, const struct shmrt_machine_cpu *cpu)
{
    const struct shmrt_placement_request *r = &t->request;
    size_t faster = 0, last = SIZE_MAX;
    for (size_t i = 0; i < t->machine->cpu_count; i++) {
        const struct shmrt_machine_cpu *other = &t->machine->cpus[i];
        if (other->core == last || other->kind >= cpu->kind || !is_wanted(t, other))
            continue;
        last = other->core;
        faster++;
    }
    return is_wanted(t, cpu) && (r->cpus || faster < (r->ranks ? r->ranks : 1));
}

static size_t count_usable_cores(const struct trial *t)
{
    size_t cores = 0, last = SIZE_MAX;
    for (size_t i = 0; i < t->machine->cpu_count; i++)
        if (is_usable(t, &t->machine->cpus[i])) {
            cores += t->machine->cpus[i].core != last;
            last = t->machine->cpus[i].core;
        }
    return cores;
}

/* CPUs: usable ones, whole cores, and the sets of cores, nodes and packages that go with them. */
static void check_cpus(const struct trial *t, const struct shmrt_plan_rank *rank)
{
    size_t cpus = 0;
    for (size_t i = 0; i < t->machine->cpu_count; i++) {
        const struct shmrt_machine_cpu *cpu = &t->machine->cpus[i];
        bool has_cpu = shmrt_bitmap_has(&rank->cpus, cpu->number);
        bool has_core = shmrt_bitmap_has(&rank->cores, cpu->core);
        cpus += has_cpu;
        check(t, !has_cpu || is_usable(t, cpu), "a CPU that is not to be used");
        check(t, !has_cpu || has_core, "a CPU of somebody else's core");
        if (has_core && !t->request.threads_per_core && is_usable(t, cpu))
            check(t, has_cpu, "siblings apart");
        if (has_cpu) {
            check(t, shmrt_bitmap_has(&rank->nodes, t->machine->nodes[cpu->node].number),
                  "a node not named");
            check(t, shmrt_bitmap_has(&rank->packages, cpu->package), "a package not named");
        }
    }
    check(t, cpus > 0, "no CPU");
    check(t, cpus == shmrt_bitmap_count(&rank->cpus), "a CPU that does not exist");
    check(t, shmrt_bitmap_has(&rank->nodes, rank->node), "a home that is none of its nodes");
    check(t, shmrt_bitmap_has(&rank->packages, rank->package),
          "a home that is none of its sockets");
}

/* Whether pages may come from the node for this request. */
static bool may_give(const struct trial *t, const struct shmrt_machine_node *node)
{
    enum shmrt_tier tier = t->request.tier;
    return node->allowed && node->memory_bytes && is_listed(t->request.nodes, node->number) &&
           (tier == SHMRT_TIER_ANY ||
            (tier == SHMRT_TIER_DRAM ? node->has_cpus : node->tier == tier));
}

/* Each rank has memory where there is any: that of each node that it touches, or of others. */
static void check_memory(const struct trial *t, const struct shmrt_plan_rank *rank)
{
    bool is_local = rank->memory == SHMRT_MEMORY_LOCAL, any = false, own = false, far = false;
    for (size_t i = 0; i < t->machine->node_count; i++) {
        const struct shmrt_machine_node *node = &t->machine->nodes[i];
        bool has = shmrt_bitmap_has(&rank->memory_nodes, node->number);
        bool touches = shmrt_bitmap_has(&rank->nodes, t->machine->nodes[node->host].number);
        check(t, !has || may_give(t, node), "memory of a node that may not give it");
        any |= may_give(t, node);
        own |= touches && may_give(t, node);
        far |= has && !touches && node->scope == SHMRT_SCOPE_NODE;
        if (touches && may_give(t, node) && !is_local)
            check(t, has, "a node that the rank touches, and no memory of it");
        if (node->number == rank->segment_node && !is_local)
            check(t, has, "a segment elsewhere than the memory");
    }
    check(t, !own || !far, "far memory beside near memory");
    check(t, is_local == (t->request.memory == SHMRT_MEMORY_LOCAL || !any), "no memory");
    check(t, is_local || rank->memory == t->request.memory, "another policy");
    check(t, is_local == (shmrt_bitmap_count(&rank->memory_nodes) == 0), "memory nodes and policy");
}

/* Position of the node of that number. */
static size_t position(const struct shmrt_machine *machine, size_t number)
{
    size_t i = 0;
    while (i < machine->node_count && machine->nodes[i].number != number)
        i++;
    return i;
}

static void check_segment(const struct trial *t, const struct shmrt_plan_rank *rank)
{
    const struct shmrt_machine *m = t->machine;
    size_t home = position(m, rank->node), segment = position(m, rank->segment_node);
    check(t, segment < m->node_count, "a segment on no node");
    for (size_t i = 0; i < m->node_count && m->distances; i++)
        if (shmrt_bitmap_has(&rank->memory_nodes, m->nodes[i].number))
            check(t,
                  m->distances[home * m->node_count + segment] <=
                      m->distances[home * m->node_count + i],
                  "a segment that is not on the nearest node");
}

static void check_threads(const struct trial *t, const struct shmrt_plan_rank *rank)
{
    size_t cores = shmrt_bitmap_count(&rank->cores), reserved = shmrt_bitmap_count(&rank->reserved);
    check(t, reserved == t->request.reserve, "reserved cores");
    check(t, rank->threads > 0, "no thread");
    check(t, rank->threads <= shmrt_bitmap_count(&rank->cpus), "more threads than CPUs");
    if (!t->request.threads_per_core)
        check(t, rank->threads <= cores - reserved, "more than a thread a core");
    if (!t->request.threads_per_core && !t->machine->quota_milli)
        check(t, rank->threads == cores - reserved, "not a thread a core");
    if (t->request.cores_per_rank)
        check(t, cores == t->request.cores_per_rank, "not the cores asked for");
}

static bool is_warned_of(const struct trial *t, const char *words)
{
    for (size_t i = 0; i < t->plan->warning_count; i++)
        if (strstr(t->plan->warnings[i], words))
            return true;
    return false;
}

/* The quota is kept, or each rank is down to one thread; in either case it is told. */
static void check_quota(const struct trial *t)
{
    size_t threads = 0, most = 0, cpus = 0;
    if (t->machine->quota_milli == 0)
        return;
    for (size_t i = 0; i < t->plan->rank_count; i++) {
        const struct shmrt_plan_rank *rank = &t->plan->ranks[i];
        threads += rank->threads;
        most = rank->threads > most ? rank->threads : most;
        cpus += shmrt_bitmap_count(&rank->cores) - shmrt_bitmap_count(&rank->reserved);
    }
    check(t, threads <= t->machine->quota_milli / 1000 || most == 1, "more threads than the quota");
    if (threads < cpus || threads > t->machine->quota_milli / 1000)
        check(t, is_warned_of(t, "cpu.max"), "a quota in silence");
}

/* Cores of ranks disjoint and evenly wide, in order unless cyclic; or shared, evenly too. */
static void check_together(const struct trial *t)
{
    size_t narrowest = SIZE_MAX, widest = 0, next = 0, cores = count_usable_cores(t);
    bool shared = t->plan->rank_count > cores;
    uint8_t *owned = calloc(t->machine->core_count, 1);
    assert_non_null(owned);
    for (size_t i = 0; i < t->plan->rank_count; i++) {
        const struct shmrt_bitmap *set = &t->plan->ranks[i].cores;
        size_t count = shmrt_bitmap_count(set), first = shmrt_bitmap_next(set, 0);
        narrowest = count < narrowest ? count : narrowest;
        widest = count > widest ? count : widest;
        check(t, shared || t->request.order == SHMRT_ORDER_CYCLIC || first >= next,
              "ranks out of order");
        for (size_t core = first; core < set->bits; core = shmrt_bitmap_next(set, core + 1)) {
            check(t, shared || !owned[core], "a core used twice");
            owned[core] = 1;
            next = core + 1;
        }
    }
    free(owned);
    check(t, widest <= narrowest + 1, "shares that differ by more than a core");
    check(t, !shared || is_warned_of(t, "ranks share"), "shared in silence");
}

/* With the packages in turn, two neighbours are on one only when the others have no more ranks. */
static void check_cyclic(const struct trial *t)
{
    const struct shmrt_plan *plan = t->plan;
    if (t->request.order != SHMRT_ORDER_CYCLIC)
        return;
    for (size_t i = 1; i < plan->rank_count; i++)
        for (size_t j = i + 1; j < plan->rank_count; j++)
            check(t,
                  plan->ranks[i].package != plan->ranks[i - 1].package ||
                      plan->ranks[j].package == plan->ranks[i].package,
                  "neighbours on one socket, and others to come");
}

static void check_groups(const struct trial *t)
{
    size_t nodes = 0, packages = 0;
    for (size_t i = 0; i < t->plan->rank_count; i++) {
        const struct shmrt_plan_rank *a = &t->plan->ranks[i];
        check(t, a->node_group <= nodes && a->package_group <= packages, "groups with gaps");
        nodes += a->node_group == nodes;
        packages += a->package_group == packages;
        for (size_t j = 0; j < i; j++) {
            const struct shmrt_plan_rank *b = &t->plan->ranks[j];
            check(t, (a->node == b->node) == (a->node_group == b->node_group), "groups of nodes");
            check(t, (a->package == b->package) == (a->package_group == b->package_group),
                  "groups of packages");
        }
    }
}

static void check_warnings(const struct trial *t)
{
    bool slower = false, taken = false;
    for (size_t i = 0; i < t->machine->cpu_count; i++) {
        const struct shmrt_machine_cpu *cpu = &t->machine->cpus[i];
        for (size_t rank = 0; rank < t->plan->rank_count; rank++)
            taken |= cpu->taken && shmrt_bitmap_has(&t->plan->ranks[rank].cpus, cpu->number);
        slower |= cpu->allowed && !is_usable(t, cpu) && !t->request.cpus &&
                  is_listed(t->request.nodes, t->machine->nodes[cpu->node].number);
    }
    check(t, is_warned_of(t, "another job") == taken, "another job's CPUs");
    check(t, is_warned_of(t, "slower cores stay idle") == slower, "slower cores");
    for (size_t i = 0; i < t->plan->warning_count; i++)
        check(t, strlen(t->plan->warnings[i]) > 20, "a warning without words");
}

/* Of a plain number of ranks, only what is withheld may make a refusal. */
static void check_refusal(const struct trial *t, const struct shmrt_error *error)
{
    const struct shmrt_placement_request *r = &t->request;
    check(t, strlen(error->text) > 20, "refused without words");
    check(t,
          r->ranks == 0 || r->ranks > SHMRT_MAX_RANKS || r->per || r->cores_per_rank ||
              r->threads_per_core > 1 || r->reserve || r->tier || count_usable_cores(t) == 0,
          "a plain number of ranks refused");
}

static void check_plan(struct trial *t)
{
    struct shmrt_plan *plan = NULL;
    struct shmrt_error error = {0};
    t->plan = NULL;
    if (shmrt_plan_create(t->machine, &t->request, &plan, &error)) {
        check_refusal(t, &error);
        return;
    }
    t->plan = plan;
    check(t, plan->rank_count == t->request.ranks || t->request.ranks == 0, "other ranks");
    for (size_t i = 0; i < plan->rank_count; i++) {
        check_cpus(t, &plan->ranks[i]);
        check_memory(t, &plan->ranks[i]);
        check_segment(t, &plan->ranks[i]);
        check_threads(t, &plan->ranks[i]);
    }
    check_quota(t);
    check_together(t);
    check_cyclic(t);
    check_groups(t);
    check_warnings(t);
    shmrt_plan_destroy(plan);
}

static size_t up_to(unsigned *seed, size_t most)
{
    return (size_t)rand_r(seed) % (most + 1);
}

static bool one_in(unsigned *seed, size_t many)
{
    return up_to(seed, many - 1) == 0;
}

/* A word of the notation for a machine, or nothing. */
static void add_level(unsigned *seed, char *text, size_t bytes, const char *word, size_t most)
{
    size_t count = 1 + up_to(seed, most - 1), at = strlen(text);
    snprintf(text + at, bytes - at, " %s:%zu", word, count);
}

/* Memory-only nodes beside those with CPUs, above the packages, or in them. */
static void make_text(unsigned *seed, char *text, size_t bytes)
{
    static const char *const only[] = {"[numa(memory=16GB)]", "[numa(memory=512GB)]"};
    bool has_groups = one_in(seed, 3);
    snprintf(text, bytes, "%s", one_in(seed, 5) ? only[1] : "");
    add_level(seed, text, bytes, "pack", 4);
    if (has_groups) {
        strcat(text, one_in(seed, 3) ? " [numa(memory=256GB)]" : "");
        add_level(seed, text, bytes, "group", 3);
    }
    strcat(text, " [numa(memory=64GB)] ");
    strcat(text, one_in(seed, 2) ? only[up_to(seed, 1)] : "");
    if (one_in(seed, 2))
        add_level(seed, text, bytes, "l3", 3);
    add_level(seed, text, bytes, "core", 7);
    add_level(seed, text, bytes, "pu", 4);
}

/* Some machines whole, others with a few or most of their CPUs and nodes withheld. */
static void withhold(unsigned *seed, struct shmrt_machine *machine)
{
    size_t percent = one_in(seed, 3) ? 0 : up_to(seed, 90);
    for (size_t i = 0; i < machine->cpu_count; i++) {
        machine->cpus[i].allowed = up_to(seed, 99) >= percent;
        machine->cpus[i].taken = percent % 3 == 0 && one_in(seed, 6);
    }
    for (size_t i = 0; i < machine->node_count; i++) {
        machine->nodes[i].allowed = percent % 4 || !one_in(seed, 3);
        if (percent % 7 == 1 && one_in(seed, 3))
            machine->nodes[i].memory_bytes = 0;
    }
    machine->quota_milli = one_in(seed, 3) ? 1 + up_to(seed, 1000 * machine->core_count) : 0;
    machine->is_memory_denied = one_in(seed, 8);
}

/* E cores are whole cores, at the end of a package or anywhere. */
static void slow_down(unsigned *seed, struct shmrt_machine *machine)
{
    if (!one_in(seed, 4))
        return;
    machine->kind_count = 2 + up_to(seed, 1);
    for (size_t i = 0; i < machine->cpu_count; i++)
        machine->cpus[i].kind = i && machine->cpus[i].core == machine->cpus[i - 1].core
                                    ? machine->cpus[i - 1].kind
                                    : up_to(seed, machine->kind_count - 1);
}

static struct shmrt_machine *make_machine(unsigned *seed, struct trial *t)
{
    struct shmrt_machine *machine = NULL;
    struct shmrt_error error = {0};
    make_text(seed, t->text, sizeof t->text);
    if (shmrt_machine_from_text(t->text, &machine, &error))
        fail_msg("%s: SHMRT_PLAN_SEED=%u", error.text, t->seed);
    if (one_in(seed, 2)) {
        machine->distances =
            calloc(machine->node_count * machine->node_count, sizeof *machine->distances);
        assert_non_null(machine->distances);
        for (size_t i = 0; i < machine->node_count * machine->node_count; i++)
            machine->distances[i] =
                i % (machine->node_count + 1) ? 11 + (unsigned)up_to(seed, 40) : 10;
    }
    withhold(seed, machine);
    slow_down(seed, machine);
    return machine;
}

/* Of the numbers up to some more than there are. */
static void make_list(unsigned *seed, size_t most, struct shmrt_bitmap *out)
{
    char text[2048];
    size_t at = 0, percent = up_to(seed, 90);
    for (size_t number = up_to(seed, most); number <= most && at < sizeof text - 16; number++)
        if (at == 0 || up_to(seed, 99) >= percent)
            at += (size_t)snprintf(text + at, sizeof text - at, "%s%zu", at ? "," : "", number);
    assert_int_equal(shmrt_bitmap_parse(text, out, NULL), 0);
}

static void make_request(unsigned *seed, struct trial *t)
{
    t->request = (struct shmrt_placement_request){
        .ranks = 1 + up_to(seed, one_in(seed, 4) ? SHMRT_MAX_RANKS + 1 : 12)};
    if (one_in(seed, 3)) {
        t->request.per = (enum shmrt_place)up_to(seed, SHMRT_PLACE_CORE);
        t->request.ranks = one_in(seed, 2) ? 0 : t->request.ranks;
    }
    t->request.cores_per_rank = one_in(seed, 4) ? up_to(seed, 5) : 0;
    t->request.threads_per_core = one_in(seed, 4) ? up_to(seed, 4) : 0;
    t->request.reserve = one_in(seed, 6) ? up_to(seed, 2) : 0;
    t->request.order = one_in(seed, 3) ? SHMRT_ORDER_CYCLIC : SHMRT_ORDER_NEAR;
    t->request.memory =
        one_in(seed, 2) ? (enum shmrt_memory_policy)up_to(seed, 3) : SHMRT_MEMORY_BIND;
    t->request.tier = one_in(seed, 3) ? (enum shmrt_tier)up_to(seed, 3) : SHMRT_TIER_DRAM;
    if (one_in(seed, 4)) {
        make_list(seed, t->machine->cpu_count + 3, &t->cpus);
        t->request.cpus = &t->cpus;
    }
    if (one_in(seed, 5)) {
        make_list(seed, t->machine->node_count, &t->nodes);
        t->request.nodes = &t->nodes;
    }
}

static void try_seed(unsigned number)
{
    unsigned seed = number * 2654435761U; /* far apart, for neighbours would begin alike */
    struct trial t = {.seed = number};
    t.machine = make_machine(&seed, &t);
    for (size_t i = 0; i < REQUESTS; i++) {
        make_request(&seed, &t);
        check_plan(&t);
        shmrt_bitmap_free(&t.cpus);
        shmrt_bitmap_free(&t.nodes);
    }
    shmrt_machine_destroy(t.machine);
}

static void every_plan_is_without_faults(void **state)
{
    (void)state;
    const char *one = getenv("SHMRT_PLAN_SEED"), *many = getenv("SHMRT_PLAN_TRIALS");
    unsigned trials = many ? (unsigned)strtoul(many, NULL, 10) : TRIALS;
    if (one)
        try_seed((unsigned)strtoul(one, NULL, 10));
    for (unsigned seed = 1; seed <= trials && !one; seed++)
        try_seed(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_plan_is_without_faults)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
