/* SPDX-License-Identifier: Apache-2.0 */
/* home.c - sockets of CPUs, as /sys gives them. */
#include "home.h"

#include <sched.h>
#include <stdio.h>

enum { CPUS_MOST = 65536 };

/* The socket of a CPU; -1 where the kernel does not tell. */
static int socket_of(int cpu)
{
    char path[80];
    int id = -1;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/physical_package_id", cpu);
    FILE *file = fopen(path, "re");
    if (!file)
        return -1;
    if (fscanf(file, "%d", &id) != 1)
        id = -1;
    fclose(file);
    return id;
}

int shmrt_home_socket(void)
{
    unsigned long own[CPUS_MOST / (8 * sizeof(unsigned long))] = {0};
    int home = -1;
    if (sched_getaffinity(0, sizeof own, (cpu_set_t *)own))
        return -1;
    for (int cpu = 0; cpu < CPUS_MOST; cpu++) {
        if (!CPU_ISSET_S((size_t)cpu, sizeof own, (const cpu_set_t *)own))
            continue;
        int id = socket_of(cpu);
        if (id < 0 || (home >= 0 && id != home))
            return -1;
        home = id;
    }
    return home;
}
