/* SPDX-License-Identifier: Apache-2.0 */
/* tuning_cache.h - thresholds that were measured earlier, in a file of the user's cache folder (L4)
 */
#ifndef SHMRT_TUNING_CACHE_H
#define SHMRT_TUNING_CACHE_H

#include "coll/group.h"

/** What a measurement holds for. */
struct shmrt_tuning_key {
    int ranks;
    uint64_t lanes;                   /* that rank 0 can give */
    const char *kernel;               /* rung */
    const struct shmrt_order *groups; /* NULL: what does not depend on them */
};

enum { SHMRT_TUNING_PATH_BYTES = 512 };

/**
 * shmrt_tuning_path - the file for this machine and @key
 *
 * In $XDG_CACHE_HOME/shmrt, or else $HOME/.cache/shmrt. Return: false where neither is set, or the
 * path is too long: then nothing is cached.
 */
bool shmrt_tuning_path(const struct shmrt_tuning_key *key, char out[SHMRT_TUNING_PATH_BYTES]);

/** Read the thresholds; false, and @out as it was, when there are none or the file is not sound. */
bool shmrt_tuning_read(const char *path, struct shmrt_tuning *out);

/** The same for the size from which on to go by groups of ranks. */
bool shmrt_tuning_read_groups(const char *path, size_t *hierarchy_min_out);
int shmrt_tuning_write_groups(const char *path, size_t hierarchy_min) SHMRT_WARN_UNUSED;

/** Keep them: all or nothing. Return: 0, or the negative errno of why they can't be kept. */
int shmrt_tuning_write(const char *path, const struct shmrt_tuning *tuning) SHMRT_WARN_UNUSED;

#endif
