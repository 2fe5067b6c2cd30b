/* SPDX-License-Identifier: Apache-2.0 */
/* descendants.c - finds processes by the parents that /proc names. */
#include "descendants.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct process {
    pid_t pid, parent;
    bool is_ours, has_ended;
};

struct processes {
    struct process *list;
    size_t count, room;
};

/* The name in /proc/PID/stat may hold anything, so the fields are counted from its last bracket. */
static bool read_process(int proc, const char *name, struct process *out)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "%.20s/stat", name);
    int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    text[length > 0 ? length : 0] = '\0';
    const char *bracket = strrchr(text, ')');
    char state;
    int parent;
    if (!bracket || sscanf(bracket + 1, " %c %d", &state, &parent) != 2)
        return false;
    *out = (struct process){.pid = (pid_t)atoi(name), .parent = parent, .has_ended = state == 'Z'};
    return true;
}

static int list_all(struct processes *all)
{
    DIR *proc = opendir("/proc");
    int rc = proc ? 0 : -errno;
    for (struct dirent *entry; proc && rc == 0 && (entry = readdir(proc));) {
        struct process process;
        if (entry->d_name[0] < '1' || entry->d_name[0] > '9' ||
            !read_process(dirfd(proc), entry->d_name, &process))
            continue;
        if (all->count == all->room) {
            size_t room = all->room ? 2 * all->room : 256;
            struct process *grown = reallocarray(all->list, room, sizeof *grown);
            if (!grown) {
                rc = -ENOMEM;
                break;
            }
            all->list = grown;
            all->room = room;
        }
        all->list[all->count++] = process;
    }
    if (proc)
        closedir(proc);
    return rc;
}

static int by_pid(const void *a, const void *b)
{
    const struct process *pa = a, *pb = b;
    return (pa->pid > pb->pid) - (pa->pid < pb->pid);
}

static bool is_ours(const struct processes *all, pid_t pid, pid_t root)
{
    const struct process key = {.pid = pid};
    if (pid == root)
        return true;
    const struct process *found = bsearch(&key, all->list, all->count, sizeof key, by_pid);
    return found && found->is_ours;
}

ssize_t launch_descendants_signal(pid_t root, int number)
{
    struct processes all = {0};
    int rc = list_all(&all);
    if (all.count)
        qsort(all.list, all.count, sizeof *all.list, by_pid);
    /* Children may stand before their parents: repeat until nothing is added. */
    for (bool grew = rc == 0; grew;) {
        grew = false;
        for (size_t i = 0; i < all.count; i++)
            if (!all.list[i].is_ours && is_ours(&all, all.list[i].parent, root))
                grew = all.list[i].is_ours = true;
    }
    ssize_t count = 0;
    for (size_t i = 0; i < all.count && rc == 0; i++)
        if (all.list[i].is_ours && !all.list[i].has_ended) {
            count++;
            if (number)
                kill(all.list[i].pid, number);
        }
    free(all.list);
    return rc ? rc : count;
}
