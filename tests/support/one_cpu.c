/* SPDX-License-Identifier: Apache-2.0 */
/* one_cpu.c - one of everything. */
#include "one_cpu.h"

void one_cpu_describe(size_t number, struct one_cpu *out)
{
    out->node =
        (struct shmrt_machine_node){.memory_bytes = 1 << 30, .has_cpus = true, .allowed = true};
    out->cpu = (struct shmrt_machine_cpu){.number = number, .allowed = true};
    out->machine = (struct shmrt_machine){.cpu_count = 1,
                                          .node_count = 1,
                                          .cpus = &out->cpu,
                                          .nodes = &out->node,
                                          .core_count = 1,
                                          .l3_count = 1,
                                          .package_count = 1,
                                          .kind_count = 1};
}
