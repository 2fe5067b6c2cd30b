/* SPDX-License-Identifier: Apache-2.0 */
/* limits.c - reads quotas from the cgroup trees, and tries whether memory policies may be set. A
 * file that is missing limits nothing. */
#include "limits.h"

#include "base/cgroup.h"
#include "base/mempolicy.h"

#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { PATH_BYTES = 2 * SHMRT_CGROUP_PATH_BYTES };

/* The first line of a file; empty when there is none. */
static void read_line(const char *directory, const char *name, char line_out[64])
{
    char path[PATH_BYTES + 32];
    line_out[0] = '\0';
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "re");
    if (!file)
        return;
    if (!fgets(line_out, 64, file))
        line_out[0] = '\0';
    fclose(file);
}

/* "max 100000" or -1: no quota, as SIZE_MAX. */
static size_t to_milli(int numbers, long long quota_us, long long period_us)
{
    if (numbers != 2 || quota_us <= 0 || period_us <= 0 || quota_us > LLONG_MAX / 1000)
        return SIZE_MAX;
    long long milli = quota_us * 1000 / period_us;
    return milli ? (size_t)milli : 1;
}

static size_t quota_v2(const char *directory)
{
    char line[64];
    long long quota_us = 0, period_us = 0;
    read_line(directory, "cpu.max", line);
    int numbers = sscanf(line, "%lld %lld", &quota_us, &period_us);
    return to_milli(numbers, quota_us, period_us);
}

static size_t quota_v1(const char *directory)
{
    char line[64];
    long long quota_us = 0, period_us = 0;
    read_line(directory, "cpu.cfs_quota_us", line);
    int numbers = sscanf(line, "%lld", &quota_us);
    read_line(directory, "cpu.cfs_period_us", line);
    numbers += sscanf(line, "%lld", &period_us);
    return to_milli(numbers, quota_us, period_us);
}

/* Version 1 mounts its controller under either name, or under both. */
static const struct hierarchy {
    const char *controller, *mount;
    size_t (*quota)(const char *directory);
} hierarchies[] = {
    {NULL, "", quota_v2},
    {"cpu", "/cpu", quota_v1},
    {"cpu", "/cpu,cpuacct", quota_v1},
};

size_t shmrt_cpu_quota_milli(const char *proc, const char *cgroup)
{
    size_t least = SIZE_MAX;
    for (size_t i = 0; i < sizeof hierarchies / sizeof hierarchies[0]; i++) {
        const struct hierarchy *h = &hierarchies[i];
        char group[SHMRT_CGROUP_PATH_BYTES], directory[PATH_BYTES];
        shmrt_cgroup_own(proc, h->controller, group);
        do {
            snprintf(directory, sizeof directory, "%s%s%s", cgroup, h->mount, group);
            size_t milli = h->quota(directory);
            least = milli < least ? milli : least;
        } while (shmrt_cgroup_up(group));
    }
    return least == SIZE_MAX ? 0 : least;
}

bool shmrt_is_memory_denied(void)
{
    /* As many nodes as any kernel is built for: with less room it answers EINVAL. */
    enum { NODES = 4096, LONG_BITS = sizeof(unsigned long) * CHAR_BIT };
    unsigned long nodes[NODES / LONG_BITS] = {0};
    int mode;
    if (shmrt_sys_get_mempolicy(&mode, nodes, NODES, NULL, 0))
        return true;
    bool has_nodes = false;
    for (size_t i = 0; i < NODES / LONG_BITS; i++)
        has_nodes |= nodes[i] != 0;
    return shmrt_sys_set_mempolicy(mode, has_nodes ? nodes : NULL, has_nodes ? NODES : 0) != 0;
}
