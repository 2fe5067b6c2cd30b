/* SPDX-License-Identifier: Apache-2.0 */
/* instances.h - which CPUs other jobs of shm-launch have bound their ranks to */
#ifndef LAUNCH_INSTANCES_H
#define LAUNCH_INSTANCES_H

#include "shmrt_placement.h"

#include <sys/types.h>

/**
 * launch_instances_mark - set `taken` for the CPUs of the children of other jobs' keepers
 * @proc: normally "/proc"
 * @self: the caller; the jobs that it runs in are not others
 *
 * A rank that may run on every CPU of the machine is not bound, and takes none. What can't be read,
 * such as the processes of another container, is not seen.
 */
void launch_instances_mark(const char *proc, pid_t self, struct shmrt_machine *machine);

#endif
