/* SPDX-License-Identifier: Apache-2.0 */
/* machine_data.c - a machine as plain data, wherever it came from. */
#include "bitmap.h"

#include <stdlib.h>

size_t shmrt_machine_cpu_bits(const struct shmrt_machine *machine)
{
    size_t bits = 0;
    for (size_t i = 0; i < machine->cpu_count; i++)
        if (machine->cpus[i].number >= bits)
            bits = machine->cpus[i].number + 1;
    return bits;
}

size_t shmrt_machine_node_bits(const struct shmrt_machine *machine)
{
    size_t bits = 0;
    for (size_t i = 0; i < machine->node_count; i++)
        if (machine->nodes[i].number >= bits)
            bits = machine->nodes[i].number + 1;
    return bits;
}

void shmrt_machine_destroy(struct shmrt_machine *machine)
{
    if (!machine)
        return;
    free(machine->distances);
    free(machine->nodes);
    free(machine->cpus);
    free(machine);
}
