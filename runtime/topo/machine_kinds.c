/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine_kinds.c - kinds of cores: P and E cores, big and LITTLE.
 *
 * hwloc also tells apart cores of one kind with different highest frequencies (favoured cores), so
 * only the type that the CPU reports counts, and on Arm the capacity that Linux gives.
 */
#include "machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* 0: hwloc knows nothing but frequencies. */
static unsigned speed_of(const struct hwloc_info_s *infos, unsigned count)
{
    unsigned capacity = 0;
    for (unsigned i = 0; i < count; i++) {
        if (strcmp(infos[i].name, "CoreType") == 0)
            return strcmp(infos[i].value, "IntelAtom") == 0 ? 512 : 1024;
        if (strcmp(infos[i].name, "LinuxCapacity") == 0)
            capacity = (unsigned)strtoul(infos[i].value, NULL, 10);
    }
    return capacity;
}

/* Cores of four fifths of the speed and more are of the same kind: they are the same design. */
static size_t kind_of(unsigned speed, const unsigned *speeds, size_t count)
{
    unsigned top = UINT_MAX;
    for (size_t kind = 0;; kind++) {
        unsigned next = 0;
        for (size_t i = 0; i < count; i++)
            if ((top == UINT_MAX || 5 * (uint64_t)speeds[i] < 4 * (uint64_t)top) &&
                speeds[i] > next)
                next = speeds[i];
        if (5 * (uint64_t)speed >= 4 * (uint64_t)next)
            return kind;
        top = next;
    }
}

int shmrt_machine_copy_kinds(hwloc_topology_t topology, struct shmrt_machine *machine)
{
    machine->kind_count = 1;
    int count = hwloc_cpukinds_get_nr(topology, 0);
    if (count < 2)
        return 0;
    unsigned *speeds = calloc(machine->cpu_count, sizeof *speeds);
    hwloc_bitmap_t cpus = hwloc_bitmap_alloc();
    int rc = speeds && cpus ? 0 : -ENOMEM;
    for (unsigned kind = 0; rc == 0 && kind < (unsigned)count; kind++) {
        struct hwloc_info_s *infos;
        unsigned info_count;
        if (hwloc_cpukinds_get_info(topology, kind, cpus, NULL, &info_count, &infos, 0))
            continue;
        for (size_t i = 0; i < machine->cpu_count; i++)
            if (hwloc_bitmap_isset(cpus, (unsigned)machine->cpus[i].number))
                speeds[i] = speed_of(infos, info_count);
    }
    bool is_known = rc == 0;
    for (size_t i = 0; i < machine->cpu_count && is_known; i++)
        is_known = speeds[i] != 0;
    for (size_t i = 0; i < machine->cpu_count && is_known; i++) {
        machine->cpus[i].kind = kind_of(speeds[i], speeds, machine->cpu_count);
        if (machine->cpus[i].kind >= machine->kind_count)
            machine->kind_count = machine->cpus[i].kind + 1;
    }
    hwloc_bitmap_free(cpus);
    free(speeds);
    return rc;
}
