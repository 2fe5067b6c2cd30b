/* SPDX-License-Identifier: Apache-2.0 */
/* place.h - which stretch of the row of cores each rank gets (L1) */
#ifndef SHMRT_PLACE_H
#define SHMRT_PLACE_H

#include "row.h"

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
