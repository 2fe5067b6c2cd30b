/* SPDX-License-Identifier: Apache-2.0 */
/*
 * instances.c - finds the keepers of other jobs by name, and where their children may run.
 *
 * Every start pays for it, so that the name alone is read of all processes; the parents and masks
 * only once there is a keeper.
 */
#include "instances.h"

#include "common/processes.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEEPERS_MAX = 1024 };

struct keepers {
    size_t count;
    pid_t pids[KEEPERS_MAX];
};

static bool is_keeper(int proc, const char *pid)
{
    static const char name[] = "shm-keeper\n";
    char path[64], text[32];
    snprintf(path, sizeof path, "%.20s/comm", pid);
    int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t length = read(fd, text, sizeof text);
    close(fd);
    return length == sizeof name - 1 && memcmp(text, name, sizeof name - 1) == 0;
}

static void find_keepers(const char *proc, struct keepers *out)
{
    DIR *folder = opendir(proc);
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && out->count < KEEPERS_MAX &&
            is_keeper(dirfd(folder), entry->d_name))
            out->pids[out->count++] = (pid_t)atoi(entry->d_name);
    if (folder)
        closedir(folder);
}

static bool is_among(const struct keepers *keepers, pid_t pid)
{
    for (size_t i = 0; i < keepers->count; i++)
        if (keepers->pids[i] == pid)
            return true;
    return false;
}

/* A rank may start a job of its own, on its own CPUs. */
static void forget_own(struct launch_process *list, size_t count, pid_t self,
                       struct keepers *keepers)
{
    const struct launch_process *process = launch_processes_find(list, count, self);
    for (size_t depth = 0; process && depth < count; depth++) {
        for (size_t i = 0; i < keepers->count; i++)
            if (keepers->pids[i] == process->pid)
                keepers->pids[i] = 0;
        process = launch_processes_find(list, count, process->parent);
    }
}

/* Return: whether it could be read; shmrt_bitmap_free() releases it. */
static bool read_mask(const char *proc, pid_t pid, struct shmrt_bitmap *out)
{
    static const char key[] = "Cpus_allowed_list:\t";
    char line[4096];
    bool found = false;
    snprintf(line, sizeof line, "%s/%d/status", proc, (int)pid);
    FILE *file = fopen(line, "re");
    while (file && !found && fgets(line, sizeof line, file)) {
        if (strncmp(line, key, sizeof key - 1) != 0)
            continue;
        line[strcspn(line, "\n")] = '\0';
        found = shmrt_bitmap_parse(line + sizeof key - 1, out, NULL) == 0;
    }
    if (file)
        fclose(file);
    return found;
}

static void mark(const struct shmrt_bitmap *mask, struct shmrt_machine *machine)
{
    bool is_bound = false;
    for (size_t i = 0; i < machine->cpu_count; i++)
        is_bound |= !shmrt_bitmap_has(mask, machine->cpus[i].number);
    for (size_t i = 0; i < machine->cpu_count && is_bound; i++)
        machine->cpus[i].taken |= shmrt_bitmap_has(mask, machine->cpus[i].number);
}

void launch_instances_mark(const char *proc, pid_t self, struct shmrt_machine *machine)
{
    struct keepers keepers = {0};
    struct launch_process *list = NULL;
    find_keepers(proc, &keepers);
    ssize_t count = keepers.count ? launch_processes_list(proc, &list) : 0;
    if (count > 0)
        forget_own(list, (size_t)count, self, &keepers);
    for (ssize_t i = 0; i < count; i++) {
        struct shmrt_bitmap mask;
        if (list[i].has_ended || list[i].parent == 0 || !is_among(&keepers, list[i].parent) ||
            !read_mask(proc, list[i].pid, &mask))
            continue;
        mark(&mask, machine);
        shmrt_bitmap_free(&mask);
    }
    free(list);
}
