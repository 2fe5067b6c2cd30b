/* SPDX-License-Identifier: Apache-2.0 */
/* memory_limit.c - reads /proc/meminfo and the cgroup trees, v2 and v1; a file that is missing
 * limits nothing. */
#include "memory_limit.h"

#include "base/cgroup.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* First "key value" line of a file, or a file that is one number (key NULL). */
static bool read_number(const char *path, const char *key, uint64_t *value_out)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    char line[256];
    bool found = false;
    while (!found && fgets(line, sizeof line, file)) {
        size_t skip = key ? strlen(key) : 0;
        if (key && strncmp(line, key, skip) != 0)
            continue;
        found = sscanf(line + skip, "%" SCNu64, value_out) == 1;
        if (!key)
            break;
    }
    fclose(file);
    return found;
}

/* File names of the two cgroup hierarchies, and where the second mounts its memory controller. */
static const struct hierarchy {
    const char *controller;
    const char *mount;
    const char *max;
    const char *current;
    const char *cache;
} hierarchies[] = {
    {NULL, "", "memory.max", "memory.current", "inactive_file "},
    {"memory", "/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "},
};

static bool read_group_number(const char *directory, const char *name, const char *key,
                              uint64_t *value_out)
{
    char path[2 * SHMRT_CGROUP_PATH_BYTES + 64];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return read_number(path, key, value_out);
}

static uint64_t group_headroom(const struct hierarchy *h, const char *directory)
{
    uint64_t max, current, cache = 0;
    if (!read_group_number(directory, h->max, NULL, &max) || /* "max", or no controller */
        !read_group_number(directory, h->current, NULL, &current))
        return UINT64_MAX;
    read_group_number(directory, "memory.stat", h->cache, &cache);
    uint64_t used = current > cache ? current - cache : 0;
    return max > used ? max - used : 0;
}

/* The least of this process's group and its parents. */
static uint64_t hierarchy_headroom(const struct hierarchy *h, const char *proc, const char *cgroup)
{
    char group[SHMRT_CGROUP_PATH_BYTES], directory[2 * SHMRT_CGROUP_PATH_BYTES + 16];
    uint64_t least = UINT64_MAX;
    shmrt_cgroup_own(proc, h->controller, group);
    do {
        snprintf(directory, sizeof directory, "%s%s%s", cgroup, h->mount, group);
        uint64_t room = group_headroom(h, directory);
        least = room < least ? room : least;
    } while (shmrt_cgroup_up(group));
    return least;
}

uint64_t shmrt_memory_headroom(const char *proc, const char *cgroup, const char **limit_out)
{
    char path[SHMRT_CGROUP_PATH_BYTES];
    uint64_t least = UINT64_MAX, kib;
    const char *limit = "nothing";
    snprintf(path, sizeof path, "%s/meminfo", proc);
    if (read_number(path, "MemAvailable:", &kib)) {
        least = kib * 1024;
        limit = "the machine's available memory";
    }
    for (size_t i = 0; i < sizeof hierarchies / sizeof hierarchies[0]; i++) {
        uint64_t room = hierarchy_headroom(&hierarchies[i], proc, cgroup);
        if (room < least) {
            least = room;
            limit = "the cgroup's memory limit";
        }
    }
    if (limit_out)
        *limit_out = limit;
    return least;
}
