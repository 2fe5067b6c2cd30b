/* SPDX-License-Identifier: Apache-2.0 */
/* machine.h - the parts of copying a topology; only they know hwloc (L1) */
#ifndef SHMRT_MACHINE_H
#define SHMRT_MACHINE_H

#include "shmrt_placement.h"

#include <hwloc.h>

/** Position of the object of @type above @below, or @otherwise. */
static inline size_t shmrt_position_above(hwloc_topology_t topology, hwloc_obj_type_t type,
                                          hwloc_obj_t below, size_t otherwise)
{
    hwloc_obj_t above = hwloc_get_ancestor_obj_by_type(topology, type, below);
    return above ? above->logical_index : otherwise;
}

/** The node that a CPU belongs to, by its position. */
size_t shmrt_machine_home_node(hwloc_topology_t topology, unsigned cpu);

/** Memory, packages and permission of the nodes. */
void shmrt_machine_copy_nodes(hwloc_topology_t topology, struct shmrt_machine *machine);

/** Distances, where the topology has them. Return: 0 or -ENOMEM. */
int shmrt_machine_copy_distances(hwloc_topology_t topology,
                                 struct shmrt_machine *machine) SHMRT_WARN_UNUSED;

/** Hosts and tiers; the nodes of CPUs and the distances are there already. */
void shmrt_machine_copy_tiers(hwloc_topology_t topology, struct shmrt_machine *machine);

/** Kinds of cores; the CPUs are there already. Return: 0 or -ENOMEM. */
int shmrt_machine_copy_kinds(hwloc_topology_t topology,
                             struct shmrt_machine *machine) SHMRT_WARN_UNUSED;

/** The XML in the file or pipe @path, without comments; the caller's to free. NULL with errno set
 * if it can't be read. */
char *shmrt_machine_xml_text(const char *path);

#endif
