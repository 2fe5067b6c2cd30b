/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine.c - loads a topology and copies it into plain data; machine_nodes.c and machine_kinds.c
 * copy parts of it. No other file knows hwloc.
 *
 * CPUs and nodes are copied in hwloc's logical order, which walks the tree of packages, caches and
 * cores depth first; the planner relies on it: what is near stands near.
 */
#include "machine.h"

#include "base/error.h"
#include "limits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void copy_cpus(hwloc_topology_t topology, hwloc_const_cpuset_t allowed,
                      struct shmrt_machine *machine)
{
    for (size_t i = 0; i < machine->cpu_count; i++) {
        hwloc_obj_t cpu = hwloc_get_obj_by_type(topology, HWLOC_OBJ_PU, (unsigned)i);
        size_t node = shmrt_machine_home_node(topology, cpu->os_index);
        machine->nodes[node].has_cpus = true;
        machine->cpus[i] = (struct shmrt_machine_cpu){
            .number = cpu->os_index,
            .core = shmrt_position_above(topology, HWLOC_OBJ_CORE, cpu, i),
            .l3 = shmrt_position_above(topology, HWLOC_OBJ_L3CACHE, cpu, 0),
            .node = node,
            .package = shmrt_position_above(topology, HWLOC_OBJ_PACKAGE, cpu, 0),
            .allowed = hwloc_bitmap_isset(allowed, cpu->os_index),
        };
    }
}

/* Without any L3 in the topology, the CPUs of a node count as one L3's. */
static void number_missing_l3s(hwloc_topology_t topology, struct shmrt_machine *machine)
{
    if (hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_L3CACHE) > 0)
        return;
    for (size_t i = 0; i < machine->cpu_count; i++)
        for (size_t node = 0; node < machine->cpus[i].node; node++)
            machine->cpus[i].l3 += machine->nodes[node].has_cpus;
}

static void count_positions(struct shmrt_machine *machine)
{
    machine->package_count = 1;
    for (size_t i = 0; i < machine->node_count; i++)
        if (machine->nodes[i].package >= machine->package_count)
            machine->package_count = machine->nodes[i].package + 1;
    for (size_t i = 0; i < machine->cpu_count; i++) {
        const struct shmrt_machine_cpu *cpu = &machine->cpus[i];
        if (cpu->core >= machine->core_count)
            machine->core_count = cpu->core + 1;
        if (cpu->l3 >= machine->l3_count)
            machine->l3_count = cpu->l3 + 1;
        if (cpu->package >= machine->package_count)
            machine->package_count = cpu->package + 1;
    }
}

/* The CPUs that the cgroup and the caller's affinity leave; elsewhere all that the file allows. */
static hwloc_bitmap_t allowed_cpus(hwloc_topology_t topology)
{
    hwloc_bitmap_t allowed = hwloc_bitmap_dup(hwloc_topology_get_allowed_cpuset(topology));
    hwloc_bitmap_t bound = hwloc_bitmap_alloc();
    if (allowed && bound && hwloc_topology_is_thissystem(topology) &&
        hwloc_get_cpubind(topology, bound, HWLOC_CPUBIND_THREAD) == 0)
        hwloc_bitmap_and(allowed, allowed, bound);
    hwloc_bitmap_free(bound);
    return allowed;
}

static int copy_machine(hwloc_topology_t topology, struct shmrt_machine **machine_out,
                        struct shmrt_error *error_out)
{
    int rc = -ENOMEM;
    hwloc_bitmap_t allowed = allowed_cpus(topology);
    struct shmrt_machine *machine = calloc(1, sizeof *machine);
    if (!allowed || !machine)
        goto err_alloc;
    machine->cpu_count = (size_t)hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_PU);
    machine->node_count = (size_t)hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_NUMANODE);
    machine->cpus = calloc(machine->cpu_count, sizeof *machine->cpus);
    machine->nodes = calloc(machine->node_count, sizeof *machine->nodes);
    if (!machine->cpus || !machine->nodes)
        goto err_alloc;
    machine->is_here = hwloc_topology_is_thissystem(topology);
    shmrt_machine_copy_nodes(topology, machine);
    copy_cpus(topology, allowed, machine);
    number_missing_l3s(topology, machine);
    if (shmrt_machine_copy_distances(topology, machine) ||
        shmrt_machine_copy_kinds(topology, machine))
        goto err_alloc;
    shmrt_machine_copy_tiers(topology, machine);
    count_positions(machine);
    if (machine->is_here) {
        machine->is_hidden = access("/sys/devices/system/cpu", F_OK) != 0;
        machine->quota_milli = shmrt_cpu_quota_milli("/proc", "/sys/fs/cgroup");
        machine->is_memory_denied = shmrt_is_memory_denied();
    }
    *machine_out = machine;
    hwloc_bitmap_free(allowed);
    return 0;
err_alloc:
    shmrt_machine_destroy(machine);
    hwloc_bitmap_free(allowed);
    return shmrt_error_set(error_out, rc, "no memory for the description of the machine");
}

/* What is disallowed is loaded too: a CPU keeps its node when the node's memory is forbidden. */
static int start(hwloc_topology_t *topology_out, struct shmrt_error *error_out)
{
    if (hwloc_topology_init(topology_out) != 0)
        return shmrt_error_set(error_out, -ENOMEM, "hwloc cannot start: %s", strerror(errno));
    if (hwloc_topology_set_flags(*topology_out, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED |
                                                    HWLOC_TOPOLOGY_FLAG_DONT_CHANGE_BINDING) == 0)
        return 0;
    hwloc_topology_destroy(*topology_out);
    return shmrt_error_set(error_out, -ENOTSUP, "hwloc %#x is older than 2.5; install a later one",
                           hwloc_get_api_version());
}

int shmrt_machine_read(struct shmrt_machine **machine_out, struct shmrt_error *error_out)
{
    hwloc_topology_t topology;
    int rc = start(&topology, error_out);
    if (rc)
        return rc;
    rc = hwloc_topology_load(topology) == 0
             ? copy_machine(topology, machine_out, error_out)
             : shmrt_error_set(error_out, -EIO, "hwloc cannot read this machine: %s",
                               strerror(errno));
    hwloc_topology_destroy(topology);
    return rc;
}

/* hwloc wants a machine described down to its CPUs; cores alone are taken to have one each. */
static int load_text(hwloc_topology_t topology, const char *text)
{
    char *whole = NULL;
    if (asprintf(&whole, "%s%s", text, strcasestr(text, "pu:") ? "" : " pu:1") < 0)
        return -1;
    int rc = hwloc_topology_set_synthetic(topology, whole);
    free(whole);
    return rc ? rc : hwloc_topology_load(topology);
}

int shmrt_machine_from_text(const char *text, struct shmrt_machine **machine_out,
                            struct shmrt_error *error_out)
{
    hwloc_topology_t topology;
    int rc = start(&topology, error_out);
    if (rc)
        return rc;
    rc = load_text(topology, text) == 0
             ? copy_machine(topology, machine_out, error_out)
             : shmrt_error_set(error_out, -EINVAL,
                               "\"%s\" does not describe a machine; one that does: \"pack:2 numa:4 "
                               "l3:2 core:4 pu:2\" (each word counts from the one before it)",
                               text);
    hwloc_topology_destroy(topology);
    return rc;
}

int shmrt_machine_from_xml(const char *path, struct shmrt_machine **machine_out,
                           struct shmrt_error *error_out)
{
    hwloc_topology_t topology;
    int rc = start(&topology, error_out);
    if (rc)
        return rc;
    errno = 0;
    char *text = shmrt_machine_xml_text(path);
    rc = text && hwloc_topology_set_xmlbuffer(topology, text, (int)strlen(text) + 1) == 0 &&
                 hwloc_topology_load(topology) == 0
             ? copy_machine(topology, machine_out, error_out)
             : shmrt_error_set(error_out, -EINVAL,
                               "%s is not a topology that hwloc loads%s%s; save one with "
                               "`lstopo FILE.xml` there",
                               path, errno ? ": " : "", errno ? strerror(errno) : "");
    free(text);
    hwloc_topology_destroy(topology);
    return rc;
}
