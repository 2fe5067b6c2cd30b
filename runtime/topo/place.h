/* SPDX-License-Identifier: Apache-2.0 */
/* place.h - the machine's usable cores in a row, and which stretch of it each rank gets (L1) */
#ifndef SHMRT_PLACE_H
#define SHMRT_PLACE_H

#include "split.h"

struct shmrt_row_core {
    size_t core;               /* position on the machine */
    size_t l3, node, package;  /* as in struct shmrt_machine_cpu */
    size_t first_cpu, cpu_end; /* its CPUs are among machine->cpus[first_cpu .. cpu_end - 1] */
    size_t cpu_count;          /* of them, allowed */
};

/** The cores with an allowed CPU, neighbours next to each other. */
struct shmrt_row {
    size_t count;
    struct shmrt_row_core *cores;
    enum shmrt_border *borders;
};

/** Return: 0, -ENOMEM, or -EINVAL (no CPU is allowed). */
int shmrt_row_create(const struct shmrt_machine *machine, struct shmrt_row *row_out,
                     struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

void shmrt_row_free(struct shmrt_row *row);

/** Who gets what. With more ranks than cores, slices of one core each repeat. */
struct shmrt_places {
    size_t ranks;
    struct shmrt_slice slices[SHMRT_MAX_RANKS];
    bool shared;
    size_t trimmed_cores; /* left idle so that widths differ by one at most */
};

/** Return: 0, -EINVAL with what would fit in @error_out, or -ENOMEM. */
int shmrt_place_ranks(const struct shmrt_row *row, const struct shmrt_placement_request *request,
                      struct shmrt_places *places_out,
                      struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

#endif
