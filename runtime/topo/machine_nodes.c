/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine_nodes.c - NUMA nodes: which CPUs are theirs, how far they are, what they are made of.
 *
 * A node without CPUs is DRAM, HBM or CXL memory. The first of these that knows decides:
 *   1. the subtype in the topology (HBM, MCDRAM, DRAM, NVM, CXL...), as hwloc 2.10 and files have
 * it
 *   2. firmware's figures (HMAT), against those of its host's memory: bandwidth, else latency
 *   3. where it is: next to the CPUs of one node and no larger than that one's memory: HBM, as in
 *      all processors with both; anything else, such as a node next to all CPUs or none: CXL
 * A node with CPUs is DRAM, unless its subtype says HBM.
 */
#include "machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static hwloc_obj_t node_object(hwloc_topology_t topology, size_t position)
{
    return hwloc_get_obj_by_type(topology, HWLOC_OBJ_NUMANODE, (unsigned)position);
}

/*
 * Memory-only nodes claim the CPUs next to them too. The smallest claim wins, and among equal ones
 * the lower number: firmware numbers nodes with CPUs first.
 */
size_t shmrt_machine_home_node(hwloc_topology_t topology, unsigned cpu)
{
    int count = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_NUMANODE);
    hwloc_obj_t best = NULL;
    int best_weight = 0;
    for (int i = 0; i < count; i++) {
        hwloc_obj_t node = node_object(topology, (size_t)i);
        int weight = hwloc_bitmap_weight(node->cpuset);
        if (!hwloc_bitmap_isset(node->cpuset, cpu))
            continue;
        if (!best || weight < best_weight ||
            (weight == best_weight && node->os_index < best->os_index)) {
            best = node;
            best_weight = weight;
        }
    }
    return best ? best->logical_index : 0;
}

static bool has_subtype(hwloc_obj_t node, const char *start)
{
    return node->subtype && strncasecmp(node->subtype, start, strlen(start)) == 0;
}

/* The memory of a GPU may be a node too, but it is not for the data of ranks on CPUs. */
void shmrt_machine_copy_nodes(hwloc_topology_t topology, struct shmrt_machine *machine)
{
    hwloc_const_nodeset_t allowed = hwloc_topology_get_allowed_nodeset(topology);
    for (size_t i = 0; i < machine->node_count; i++) {
        hwloc_obj_t node = node_object(topology, i);
        machine->nodes[i] = (struct shmrt_machine_node){
            .number = node->os_index,
            .memory_bytes = node->attr->numanode.local_memory,
            .package = shmrt_position_above(topology, HWLOC_OBJ_PACKAGE, node, SIZE_MAX),
            .allowed =
                hwloc_bitmap_isset(allowed, node->os_index) && !has_subtype(node, "GPUMemory"),
        };
    }
}

/* All or nothing: with gaps nobody could compare. */
static int fill_distances(const struct hwloc_distances_s *from, struct shmrt_machine *machine)
{
    if (from->nbobjs != machine->node_count)
        return 0;
    for (size_t i = 0; i < from->nbobjs; i++)
        if (!from->objs[i] || from->objs[i]->type != HWLOC_OBJ_NUMANODE)
            return 0;
    machine->distances =
        calloc(machine->node_count * machine->node_count, sizeof *machine->distances);
    if (!machine->distances)
        return -ENOMEM;
    for (size_t i = 0; i < from->nbobjs; i++)
        for (size_t j = 0; j < from->nbobjs; j++)
            machine->distances[from->objs[i]->logical_index * machine->node_count +
                               from->objs[j]->logical_index] =
                (unsigned)from->values[i * from->nbobjs + j];
    return 0;
}

int shmrt_machine_copy_distances(hwloc_topology_t topology, struct shmrt_machine *machine)
{
    struct hwloc_distances_s *found = NULL;
    unsigned count = 1;
    if (hwloc_distances_get_by_name(topology, "NUMALatency", &count, &found, 0) || count == 0 ||
        !found)
        return 0;
    int rc = fill_distances(found, machine);
    hwloc_distances_release(topology, found);
    return rc;
}

/* Of two nodes with CPUs: is @a a better host for the memory-only node? */
static bool is_nearer(hwloc_topology_t topology, const struct shmrt_machine *machine, size_t memory,
                      size_t a, size_t b)
{
    const hwloc_const_bitmap_t claim = node_object(topology, memory)->cpuset;
    const hwloc_const_bitmap_t cpus[] = {node_object(topology, a)->cpuset,
                                         node_object(topology, b)->cpuset};
    bool equal[2], touches[2];
    for (size_t i = 0; i < 2; i++) {
        equal[i] = hwloc_bitmap_isequal(claim, cpus[i]);
        touches[i] = hwloc_bitmap_intersects(claim, cpus[i]);
    }
    if (equal[0] != equal[1])
        return equal[0];
    if (touches[0] != touches[1])
        return touches[0];
    return machine->distances && machine->distances[a * machine->node_count + memory] <
                                     machine->distances[b * machine->node_count + memory];
}

static size_t find_host(hwloc_topology_t topology, const struct shmrt_machine *machine, size_t node)
{
    size_t best = node;
    for (size_t i = 0; i < machine->node_count && !machine->nodes[node].has_cpus; i++)
        if (machine->nodes[i].has_cpus &&
            (best == node || is_nearer(topology, machine, node, i, best)))
            best = i;
    return best;
}

/* Whether CPUs of the node with CPUs are as near to the memory as those of its host. */
static bool is_as_near(hwloc_topology_t topology, const struct shmrt_machine *machine,
                       size_t memory, size_t node)
{
    size_t host = machine->nodes[memory].host;
    hwloc_const_bitmap_t claim = node_object(topology, memory)->cpuset;
    if (machine->distances)
        return machine->distances[node * machine->node_count + memory] ==
               machine->distances[host * machine->node_count + memory];
    return hwloc_bitmap_iszero(claim) ||
           hwloc_bitmap_intersects(claim, node_object(topology, node)->cpuset);
}

static enum shmrt_scope find_scope(hwloc_topology_t topology, const struct shmrt_machine *machine,
                                   size_t position)
{
    const struct shmrt_machine_node *node = &machine->nodes[position];
    bool near_others = false, of_package = true, of_machine = true;
    if (node->has_cpus || hwloc_bitmap_isequal(node_object(topology, position)->cpuset,
                                               node_object(topology, node->host)->cpuset))
        return SHMRT_SCOPE_NODE;
    for (size_t i = 0; i < machine->node_count; i++) {
        if (!machine->nodes[i].has_cpus || i == node->host)
            continue;
        bool is_near = is_as_near(topology, machine, position, i);
        near_others |= is_near;
        of_machine &= is_near;
        of_package &= is_near || machine->nodes[i].package != machine->nodes[node->host].package;
    }
    if (!near_others || !of_package)
        return SHMRT_SCOPE_NODE;
    return of_machine ? SHMRT_SCOPE_MACHINE : SHMRT_SCOPE_PACKAGE;
}

/* What firmware says of a node's memory, seen from the CPUs of its host; 0: nothing. */
static uint64_t attribute(hwloc_topology_t topology, const hwloc_memattr_id_t ids[2],
                          hwloc_obj_t node, hwloc_obj_t host)
{
    struct hwloc_location from = {.type = HWLOC_LOCATION_TYPE_CPUSET,
                                  .location.cpuset = host->cpuset};
    hwloc_uint64_t value = 0;
    for (size_t i = 0; i < 2 && value == 0; i++)
        if (hwloc_memattr_get_value(topology, ids[i], node, &from, 0, &value))
            value = 0;
    return value;
}

static bool tier_by_subtype(hwloc_obj_t node, enum shmrt_tier *tier_out)
{
    static const struct {
        const char *start;
        enum shmrt_tier tier;
    } subtypes[] = {
        {"HBM", SHMRT_TIER_HBM}, {"MCDRAM", SHMRT_TIER_HBM}, {"DRAM", SHMRT_TIER_DRAM},
        {"CXL", SHMRT_TIER_CXL}, {"NVM", SHMRT_TIER_CXL},    {"PMEM", SHMRT_TIER_CXL},
    };
    for (size_t i = 0; i < sizeof subtypes / sizeof subtypes[0]; i++)
        if (has_subtype(node, subtypes[i].start)) {
            *tier_out = subtypes[i].tier;
            return true;
        }
    return false;
}

/* HBM may be slower to answer than DRAM, so that latency speaks only where bandwidth is unknown or
 * much the same. */
static bool tier_by_attributes(hwloc_topology_t topology, hwloc_obj_t node, hwloc_obj_t host,
                               enum shmrt_tier *tier_out)
{
    static const hwloc_memattr_id_t bandwidth[2] = {HWLOC_MEMATTR_ID_BANDWIDTH,
                                                    HWLOC_MEMATTR_ID_READ_BANDWIDTH};
    static const hwloc_memattr_id_t latency[2] = {HWLOC_MEMATTR_ID_LATENCY,
                                                  HWLOC_MEMATTR_ID_READ_LATENCY};
    uint64_t rate = attribute(topology, bandwidth, node, host);
    uint64_t host_rate = attribute(topology, bandwidth, host, host);
    uint64_t wait = attribute(topology, latency, node, host);
    uint64_t host_wait = attribute(topology, latency, host, host);
    bool has_rates = rate && host_rate, has_waits = wait && host_wait;
    if (!has_rates && !has_waits)
        return false;
    if (has_rates && 2 * rate >= 3 * host_rate)
        *tier_out = SHMRT_TIER_HBM;
    else if ((has_rates && 3 * rate <= 2 * host_rate) || (has_waits && 4 * wait >= 5 * host_wait))
        *tier_out = SHMRT_TIER_CXL;
    else
        *tier_out = SHMRT_TIER_DRAM;
    return true;
}

static enum shmrt_tier find_tier(hwloc_topology_t topology, const struct shmrt_machine *machine,
                                 size_t position)
{
    const struct shmrt_machine_node *node = &machine->nodes[position];
    hwloc_obj_t object = node_object(topology, position), host = node_object(topology, node->host);
    enum shmrt_tier tier = SHMRT_TIER_DRAM;
    if (tier_by_subtype(object, &tier) || node->has_cpus ||
        tier_by_attributes(topology, object, host, &tier))
        return tier;
    return hwloc_bitmap_isequal(object->cpuset, host->cpuset) &&
                   node->memory_bytes <= machine->nodes[node->host].memory_bytes
               ? SHMRT_TIER_HBM
               : SHMRT_TIER_CXL;
}

void shmrt_machine_copy_tiers(hwloc_topology_t topology, struct shmrt_machine *machine)
{
    for (size_t i = 0; i < machine->node_count; i++) {
        struct shmrt_machine_node *node = &machine->nodes[i];
        node->host = find_host(topology, machine, i);
        node->scope = find_scope(topology, machine, i);
        node->tier = find_tier(topology, machine, i);
        if (node->package == SIZE_MAX)
            node->package = machine->nodes[node->host].package;
        if (node->package == SIZE_MAX)
            node->package = 0;
    }
}
