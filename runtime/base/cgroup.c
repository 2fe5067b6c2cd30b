/* SPDX-License-Identifier: Apache-2.0 */
/* cgroup.c - reads /proc/self/cgroup: lines of "number:controllers:path". */
#include "cgroup.h"

#include <stdio.h>
#include <string.h>

/* Whether one of the words between commas is @controller; version 2 has no words. */
static bool has_controller(const char *words, const char *end, const char *controller)
{
    if (!controller)
        return words == end;
    size_t length = strlen(controller);
    for (const char *at = words; at < end; at++) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *stop = comma ? comma : end;
        if ((size_t)(stop - at) == length && memcmp(at, controller, length) == 0)
            return true;
        at = stop;
    }
    return false;
}

void shmrt_cgroup_own(const char *proc, const char *controller,
                      char path_out[SHMRT_CGROUP_PATH_BYTES])
{
    char line[SHMRT_CGROUP_PATH_BYTES];
    snprintf(path_out, SHMRT_CGROUP_PATH_BYTES, "/");
    snprintf(line, sizeof line, "%s/self/cgroup", proc);
    FILE *file = fopen(line, "re");
    if (!file)
        return;
    while (fgets(line, sizeof line, file)) {
        char *words = strchr(line, ':');
        char *path = words ? strchr(words + 1, ':') : NULL;
        if (!path || path[1] != '/' || !has_controller(words + 1, path, controller))
            continue;
        line[strcspn(line, "\n")] = '\0';
        snprintf(path_out, SHMRT_CGROUP_PATH_BYTES, "%s", path + 1);
    }
    fclose(file);
}

bool shmrt_cgroup_up(char *path)
{
    char *slash = strrchr(path, '/');
    if (!slash || path[1] == '\0')
        return false;
    slash[slash == path] = '\0';
    return true;
}
