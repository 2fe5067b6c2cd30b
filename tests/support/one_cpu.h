/* SPDX-License-Identifier: Apache-2.0 */
/* one_cpu.h - a machine of one CPU, described without hwloc */
#ifndef TEST_ONE_CPU_H
#define TEST_ONE_CPU_H

#include "shmrt_placement.h"

struct one_cpu {
    struct shmrt_machine machine; /* of these parts; not to be moved */
    struct shmrt_machine_node node;
    struct shmrt_machine_cpu cpu;
};

/** @number: of the CPU, for the kernel. */
void one_cpu_describe(size_t number, struct one_cpu *out);

#endif
