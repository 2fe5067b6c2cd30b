/* SPDX-License-Identifier: Apache-2.0 */
/* cgroup.h - which control group this process is in, and the groups above it (L0) */
#ifndef SHMRT_CGROUP_H
#define SHMRT_CGROUP_H

#include <stdbool.h>

enum { SHMRT_CGROUP_PATH_BYTES = 4096 };

/**
 * shmrt_cgroup_own - path of this process's group below the mount point, "/" where it can't be told
 * @proc:       normally "/proc"
 * @controller: of version 1, such as "memory"; NULL: the only hierarchy of version 2
 */
void shmrt_cgroup_own(const char *proc, const char *controller,
                      char path_out[SHMRT_CGROUP_PATH_BYTES]);

/** Turn a path into that of the group above it. Return: false where there is none. */
bool shmrt_cgroup_up(char *path);

#endif
