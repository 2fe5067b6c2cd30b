/* SPDX-License-Identifier: Apache-2.0 */
/* plan_text.h - a plan as lines that a person can check */
#ifndef PLAN_TEXT_H
#define PLAN_TEXT_H

#include "shmrt_placement.h"

/**
 * plan_text - one line a rank, then one a warning
 *
 *   0  package 0  node 0  cores 0-3  cpus 0-7  memory 0  threads 4  segment 0  groups 0/0
 *   note: ...
 *
 * " (of 0,1)" follows a node or package when the rank has CPUs on others too, " reserved 3" the
 * threads; a policy other than bind stands before the memory nodes; the groups are those of nodes
 * and of packages. A refusal is "refused: ...". Release with free.
 */
char *plan_text(const struct shmrt_machine *machine, const struct shmrt_placement_request *request);

#endif
