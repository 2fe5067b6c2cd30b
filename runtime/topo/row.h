/* SPDX-License-Identifier: Apache-2.0 */
/* row.h - which CPUs a request may use, and their cores in a row (L1) */
#ifndef SHMRT_ROW_H
#define SHMRT_ROW_H

#include "split.h"

struct shmrt_row_core {
    size_t core;               /* position on the machine */
    size_t l3, node, package;  /* as in struct shmrt_machine_cpu */
    size_t first_cpu, cpu_end; /* its CPUs are among machine->cpus[first_cpu .. cpu_end - 1] */
    size_t cpu_count;          /* of them, usable */
};

/** The cores with a usable CPU, neighbours next to each other. */
struct shmrt_row {
    size_t count;
    struct shmrt_row_core *cores;
    enum shmrt_border *borders;
    bool *usable; /* [machine->cpu_count]: allowed, asked for, and of a kind to be used */
    size_t kind;  /* the slowest kind of core in the row */
};

/**
 * shmrt_row_create - choose CPUs, and put their cores in a row
 *
 * Without a list of CPUs in the request, slower kinds of core are used only when there are fewer
 * faster ones than ranks.
 * Return: 0, -ENOMEM, or -EINVAL: no CPU is left, and the text says which there are.
 */
int shmrt_row_create(const struct shmrt_machine *machine,
                     const struct shmrt_placement_request *request, struct shmrt_row *row_out,
                     struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

void shmrt_row_free(struct shmrt_row *row);

/**
 * shmrt_row_home - a core of the place, within borders of @border, that has most cores of @slice
 *
 * Return: its position in the row; that of the first such place among equals.
 */
size_t shmrt_row_home(const struct shmrt_row *row, struct shmrt_slice slice,
                      enum shmrt_border border);

/** Whether the CPU is allowed and asked for, whatever its kind. */
bool shmrt_row_wants(const struct shmrt_machine *machine,
                     const struct shmrt_placement_request *request,
                     const struct shmrt_machine_cpu *cpu);

#endif
