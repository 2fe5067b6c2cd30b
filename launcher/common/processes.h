/* SPDX-License-Identifier: Apache-2.0 */
/* processes.h - the processes below one, however deep, in whatever group or session */
#ifndef LAUNCH_PROCESSES_H
#define LAUNCH_PROCESSES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct launch_process {
    pid_t pid, parent, session;
    bool has_ended, is_below;
};

/**
 * launch_processes_list - every process that @proc ("/proc") names, by rising pid
 * @list_out: free() releases it
 *
 * Return: how many, or a negative errno.
 */
ssize_t launch_processes_list(const char *proc, struct launch_process **list_out);

/** The process of that number in such a list; NULL: not there. */
struct launch_process *launch_processes_find(struct launch_process *list, size_t count, pid_t pid);

/**
 * launch_descendants_signal - send @number to every process below @root (0: only count them)
 *
 * A process that forks meanwhile may leave a child unseen: who wants nobody left calls again until
 * there are no children to wait for.
 * Return: how many there were that had not ended yet, or a negative errno (no /proc).
 */
ssize_t launch_descendants_signal(pid_t root, int number);

/** Waits until the child @pid has ended, whatever signals come; false when there is none. */
bool launch_process_reap(pid_t pid, int *status_out);

#endif
