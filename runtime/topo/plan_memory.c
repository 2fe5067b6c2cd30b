/* SPDX-License-Identifier: Apache-2.0 */
/* plan_memory.c - where the pages of a rank come from: nodes of the wanted tier, the nearest ones.
 */
#include "planner.h"

#include "base/error.h"
#include "bitmap.h"

#include <errno.h>
#include <stdio.h>

static const char *tier_name(enum shmrt_tier tier)
{
    static const char *const names[] = {
        [SHMRT_TIER_DRAM] = "DRAM",
        [SHMRT_TIER_HBM] = "HBM",
        [SHMRT_TIER_CXL] = "CXL memory",
        [SHMRT_TIER_ANY] = "memory",
    };
    return names[tier];
}

/* DRAM stands for the memory of nodes with CPUs, whatever it is made of. */
static bool is_of_tier(const struct shmrt_machine_node *node, enum shmrt_tier tier)
{
    if (node->memory_bytes == 0)
        return false;
    return tier == SHMRT_TIER_ANY ||
           (tier == SHMRT_TIER_DRAM ? node->has_cpus : node->tier == tier);
}

/* Whether the kernel and the request let pages come from the node. */
static bool may_give(const struct shmrt_planner *p, const struct shmrt_machine_node *node)
{
    return node->allowed &&
           (!p->request->nodes || shmrt_bitmap_has(p->request->nodes, node->number));
}

static size_t position_of(const struct shmrt_machine *machine, size_t number)
{
    size_t position = 0;
    while (position < machine->node_count && machine->nodes[position].number != number)
        position++;
    return position;
}

/* How far a rank has to go for memory: to its own nodes, its packages, anywhere. */
enum reach { REACH_NODES, REACH_PACKAGES, REACH_MACHINE, REACH_COUNT };

static enum reach reach_of(const struct shmrt_planner *p, const struct shmrt_machine_node *node,
                           const struct shmrt_plan_rank *rank)
{
    bool in_package = shmrt_bitmap_has(&rank->packages, node->package);
    if (node->scope == SHMRT_SCOPE_MACHINE || (node->scope == SHMRT_SCOPE_PACKAGE && in_package) ||
        shmrt_bitmap_has(&rank->nodes, p->machine->nodes[node->host].number))
        return REACH_NODES;
    return in_package ? REACH_PACKAGES : REACH_MACHINE;
}

/* How far a node is from another, both positions; where no distances are known, by the tree. */
static unsigned distance(const struct shmrt_machine *machine, size_t from, size_t to)
{
    const struct shmrt_machine_node *a = &machine->nodes[from], *b = &machine->nodes[to];
    if (machine->distances)
        return machine->distances[from * machine->node_count + to];
    return from == to ? 0 : b->host == a->host ? 1 : b->package == a->package ? 2 : 3;
}

/* The node of @set nearest to the rank's; the first among equals. SIZE_MAX: the set is empty. */
static size_t nearest(const struct shmrt_planner *p, const struct shmrt_bitmap *set, size_t home)
{
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < p->machine->node_count; i++)
        if (shmrt_bitmap_has(set, p->machine->nodes[i].number) &&
            (best == SIZE_MAX || distance(p->machine, home, i) < distance(p->machine, home, best)))
            best = i;
    return best;
}

/* Return: how far it is to the nodes that were found, REACH_COUNT: there are none. */
static enum reach find_memory(const struct shmrt_planner *p, struct shmrt_plan_rank *rank)
{
    bool found = false;
    for (enum reach reach = REACH_NODES; reach < REACH_COUNT; reach++) {
        for (size_t i = 0; i < p->machine->node_count; i++) {
            const struct shmrt_machine_node *node = &p->machine->nodes[i];
            if (!is_of_tier(node, p->request->tier) || !may_give(p, node) ||
                reach_of(p, node, rank) != reach)
                continue;
            shmrt_bitmap_set(&rank->memory_nodes, node->number);
            found = true;
        }
        if (found)
            return reach;
    }
    return REACH_COUNT;
}

/* Of memory that is far anyway, no more than what is nearest. */
static void keep_nearest(const struct shmrt_planner *p, size_t home, struct shmrt_bitmap *set)
{
    unsigned least = distance(p->machine, home, nearest(p, set, home));
    for (size_t i = 0; i < p->machine->node_count; i++)
        if (distance(p->machine, home, i) > least)
            shmrt_bitmap_clear(set, p->machine->nodes[i].number);
}

/* Where first touch has to end up when nothing that was asked for may give memory: the nearest node
 * of those that the kernel allows. */
static size_t nearest_allowed(const struct shmrt_planner *p, size_t home)
{
    size_t best = home;
    for (size_t i = 0; i < p->machine->node_count; i++) {
        const struct shmrt_machine_node *node = &p->machine->nodes[i];
        bool is_first = !p->machine->nodes[best].allowed || !p->machine->nodes[best].memory_bytes;
        if (node->allowed && node->memory_bytes &&
            (is_first || distance(p->machine, home, i) < distance(p->machine, home, best)))
            best = i;
    }
    return best;
}

void shmrt_planner_memory(struct shmrt_planner *p, size_t index)
{
    struct shmrt_plan_rank *rank = &p->plan->ranks[index];
    size_t home = position_of(p->machine, rank->node);
    rank->memory = p->request->memory;
    enum reach reach = find_memory(p, rank);
    if (reach == REACH_COUNT) {
        rank->memory = SHMRT_MEMORY_LOCAL;
        rank->segment_node = p->machine->nodes[nearest_allowed(p, home)].number;
        if (p->request->memory != SHMRT_MEMORY_LOCAL)
            shmrt_some_ranks_add(&p->no_memory, index);
        return;
    }
    if (reach == REACH_MACHINE)
        keep_nearest(p, home, &rank->memory_nodes);
    rank->segment_node = p->machine->nodes[nearest(p, &rank->memory_nodes, home)].number;
    if (rank->memory == SHMRT_MEMORY_LOCAL)
        shmrt_bitmap_clear_all(&rank->memory_nodes);
    else if (reach != REACH_NODES)
        shmrt_some_ranks_add(&p->far_memory, index);
}

/* The nodes of a tier, allowed or not, for a person. */
static size_t list_tier(const struct shmrt_planner *p, enum shmrt_tier tier, bool allowed,
                        struct shmrt_bitmap_text *text_out)
{
    struct shmrt_bitmap set;
    *text_out = (struct shmrt_bitmap_text){0};
    if (shmrt_bitmap_alloc(p->node_bits, &set))
        return 0;
    for (size_t i = 0; i < p->machine->node_count; i++) {
        const struct shmrt_machine_node *node = &p->machine->nodes[i];
        if (node->memory_bytes && node->tier == tier && (!allowed || may_give(p, node)))
            shmrt_bitmap_set(&set, node->number);
    }
    size_t count = shmrt_bitmap_count(&set);
    *text_out = shmrt_bitmap_text(&set);
    shmrt_bitmap_free(&set);
    return count;
}

/* "DRAM (nodes 0-1), CXL memory (node 2)" */
static void list_tiers(const struct shmrt_planner *p, char *text_out, size_t bytes)
{
    size_t at = 0;
    text_out[0] = '\0';
    for (enum shmrt_tier tier = SHMRT_TIER_DRAM; tier < SHMRT_TIER_ANY; tier++) {
        struct shmrt_bitmap_text nodes;
        size_t count = list_tier(p, tier, true, &nodes);
        if (count == 0 || at >= bytes)
            continue;
        int length = snprintf(text_out + at, bytes - at, "%s%s (node%s %s)", at ? ", " : "",
                              tier_name(tier), count == 1 ? "" : "s", nodes.text);
        at += (size_t)length;
    }
}

/* Why none of the @count nodes of @tier may give memory. */
static void say_who_forbids(const struct shmrt_planner *p, enum shmrt_tier tier, size_t count,
                            char *text_out, size_t bytes)
{
    size_t allowed = 0;
    for (size_t i = 0; i < p->machine->node_count; i++) {
        const struct shmrt_machine_node *node = &p->machine->nodes[i];
        allowed += node->memory_bytes && node->tier == tier && node->allowed;
    }
    if (allowed == 0)
        snprintf(text_out, bytes, "forbidden by the cgroup, or a GPU's own");
    else if (allowed < count)
        snprintf(text_out, bytes, "which the request or the cgroup leaves out");
    else
        snprintf(text_out, bytes, "which the request (nodes %s) leaves out, so add %s there",
                 shmrt_bitmap_text(p->request->nodes).text, count == 1 ? "it" : "them");
}

int shmrt_planner_check_tier(const struct shmrt_planner *p, struct shmrt_error *error_out)
{
    enum shmrt_tier tier = p->request->tier;
    struct shmrt_bitmap_text nodes;
    char tiers[200], forbidden[160];
    if (tier == SHMRT_TIER_DRAM)
        return 0;
    if (p->request->memory == SHMRT_MEMORY_LOCAL)
        return shmrt_error_set(error_out, -EINVAL,
                               "local memory is where the thread is that touches it first, so it "
                               "can't be of a tier: ask for bind, prefer or interleave instead");
    if (tier == SHMRT_TIER_ANY || list_tier(p, tier, true, &nodes))
        return 0;
    list_tiers(p, tiers, sizeof tiers);
    size_t count = list_tier(p, tier, false, &nodes);
    if (count)
        say_who_forbids(p, tier, count, forbidden, sizeof forbidden);
    if (count)
        return shmrt_error_set(error_out, -EINVAL,
                               "no %s is left: it is on NUMA node%s %s, %s; there is %s",
                               tier_name(tier), count == 1 ? "" : "s", nodes.text, forbidden,
                               *tiers ? tiers : "no other");
    return shmrt_error_set(error_out, -EINVAL, "the machine has no %s: there is %s",
                           tier_name(tier), *tiers ? tiers : "no memory that may be used");
}
