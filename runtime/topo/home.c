/* SPDX-License-Identifier: Apache-2.0 */
/* home.c - sockets of CPUs, as /sys gives them. */
#include "home.h"

#include "base/affinity.h"

#include <stdio.h>

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
    struct shmrt_cpus own;
    int home = -1;
    if (shmrt_own_cpus(&own))
        return -1;
    for (int cpu = 0; cpu < SHMRT_CPUS_MOST; cpu++) {
        if (!shmrt_cpus_has(&own, (size_t)cpu))
            continue;
        int id = socket_of(cpu);
        if (id < 0 || (home >= 0 && id != home))
            return -1;
        home = id;
    }
    return home;
}
