/* SPDX-License-Identifier: Apache-2.0 */
/* memory_limit.c - reads /proc/meminfo and the cgroup v2 tree; a file that is missing limits
 * nothing. */
#include "memory_limit.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { PATH_BYTES = 4096 };

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

static uint64_t group_headroom(const char *directory)
{
    char path[2 * PATH_BYTES + 32];
    uint64_t max, current, cache = 0;
    snprintf(path, sizeof path, "%s/memory.max", directory);
    if (!read_number(path, NULL, &max)) /* "max", or not a v2 controller */
        return UINT64_MAX;
    snprintf(path, sizeof path, "%s/memory.current", directory);
    if (!read_number(path, NULL, &current))
        return UINT64_MAX;
    snprintf(path, sizeof path, "%s/memory.stat", directory);
    read_number(path, "inactive_file ", &cache);
    uint64_t used = current > cache ? current - cache : 0;
    return max > used ? max - used : 0;
}

/* Path of this process in the unified hierarchy, "/" where it can't be told. */
static void own_group(const char *proc, char path_out[PATH_BYTES])
{
    snprintf(path_out, PATH_BYTES, "/");
    char name[PATH_BYTES];
    snprintf(name, sizeof name, "%s/self/cgroup", proc);
    FILE *file = fopen(name, "re");
    if (!file)
        return;
    char line[PATH_BYTES];
    while (fgets(line, sizeof line, file))
        if (strncmp(line, "0::/", 4) == 0) {
            line[strcspn(line, "\n")] = '\0';
            snprintf(path_out, PATH_BYTES, "%s", line + 3);
        }
    fclose(file);
}

uint64_t shmrt_memory_headroom(const char *proc, const char *cgroup, const char **limit_out)
{
    char path[PATH_BYTES];
    uint64_t least = UINT64_MAX, kib;
    const char *limit = "nothing";
    snprintf(path, sizeof path, "%s/meminfo", proc);
    if (read_number(path, "MemAvailable:", &kib)) {
        least = kib * 1024;
        limit = "the machine's available memory";
    }
    char group[PATH_BYTES], directory[2 * PATH_BYTES];
    own_group(proc, group);
    for (;;) {
        snprintf(directory, sizeof directory, "%s%s", cgroup, group);
        uint64_t room = group_headroom(directory);
        if (room < least) {
            least = room;
            limit = "the cgroup's memory.max";
        }
        char *slash = strrchr(group, '/');
        if (!slash || group[1] == '\0')
            break;
        slash[slash == group] = '\0';
    }
    if (limit_out)
        *limit_out = limit;
    return least;
}
