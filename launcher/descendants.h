/* SPDX-License-Identifier: Apache-2.0 */
/* descendants.h - the processes below one, however deep, in whatever group or session */
#ifndef LAUNCH_DESCENDANTS_H
#define LAUNCH_DESCENDANTS_H

#include <stddef.h>
#include <sys/types.h>

/**
 * launch_descendants_signal - send @number to every process below @root (0: only count them)
 *
 * A process that forks meanwhile may leave a child unseen: who wants nobody left calls again until
 * there are no children to wait for.
 * Return: how many there were that had not ended yet, or a negative errno (no /proc).
 */
ssize_t launch_descendants_signal(pid_t root, int number);

#endif
