/* SPDX-License-Identifier: Apache-2.0 */
/* processes.c - finds processes by the parents that /proc names. */
#include "processes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct processes {
    struct launch_process *list;
    size_t count, room;
};

/* The name in /proc/PID/stat may hold anything, so the fields are counted from its last bracket. */
static bool read_process(int proc, const char *name, struct launch_process *out)
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
    int parent, session;
    if (!bracket || sscanf(bracket + 1, " %c %d %*d %d", &state, &parent, &session) != 3)
        return false;
    *out = (struct launch_process){
        .pid = (pid_t)atoi(name), .parent = parent, .session = session, .has_ended = state == 'Z'};
    return true;
}

static int add(struct processes *all, const struct launch_process *process)
{
    if (all->count == all->room) {
        size_t room = all->room ? 2 * all->room : 256;
        struct launch_process *grown = reallocarray(all->list, room, sizeof *grown);
        if (!grown)
            return -ENOMEM;
        all->list = grown;
        all->room = room;
    }
    all->list[all->count++] = *process;
    return 0;
}

static int by_pid(const void *a, const void *b)
{
    const struct launch_process *pa = a, *pb = b;
    return (pa->pid > pb->pid) - (pa->pid < pb->pid);
}

ssize_t launch_processes_list(const char *proc, struct launch_process **list_out)
{
    struct processes all = {0};
    DIR *folder = opendir(proc);
    int rc = folder ? 0 : -errno;
    for (struct dirent *entry; folder && rc == 0 && (entry = readdir(folder));) {
        struct launch_process process;
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' &&
            read_process(dirfd(folder), entry->d_name, &process))
            rc = add(&all, &process);
    }
    if (folder)
        closedir(folder);
    if (rc) {
        free(all.list);
        return rc;
    }
    if (all.count)
        qsort(all.list, all.count, sizeof *all.list, by_pid);
    *list_out = all.list;
    return (ssize_t)all.count;
}

struct launch_process *launch_processes_find(struct launch_process *list, size_t count, pid_t pid)
{
    const struct launch_process key = {.pid = pid};
    return count ? bsearch(&key, list, count, sizeof key, by_pid) : NULL;
}

/* Children may stand before their parents: repeat until nothing is added. */
static void mark_below(struct launch_process *list, size_t count, pid_t root)
{
    for (bool grew = true; grew;) {
        grew = false;
        for (size_t i = 0; i < count; i++) {
            const struct launch_process *parent =
                launch_processes_find(list, count, list[i].parent);
            bool is_child = list[i].parent == root || (parent && parent->is_below);
            if (!list[i].is_below && is_child)
                grew = list[i].is_below = true;
        }
    }
}

ssize_t launch_descendants_signal(pid_t root, int number)
{
    struct launch_process *list = NULL;
    ssize_t all = launch_processes_list("/proc", &list), count = 0;
    if (all < 0)
        return all;
    mark_below(list, (size_t)all, root);
    for (ssize_t i = 0; i < all; i++)
        if (list[i].is_below && !list[i].has_ended) {
            count++;
            if (number)
                kill(list[i].pid, number);
        }
    free(list);
    return count;
}

bool launch_process_reap(pid_t pid, int *status_out)
{
    pid_t reaped;
    do
        reaped = waitpid(pid, status_out, 0);
    while (reaped < 0 && errno == EINTR);
    return reaped == pid;
}
