/* SPDX-License-Identifier: Apache-2.0 */
/* comm.h - inside of a communicator (L4), for comm.c, comm_create.c and comm_env.c */
#ifndef SHMRT_COMM_H
#define SHMRT_COMM_H

#include "base/options.h"
#include "coll/group.h"
#include "shm/rendezvous.h"
#include "shm/segment.h"

struct shmrt_comm {
    struct shmrt_group group;
    struct shmrt_options options;
    struct shmrt_link links[SHMRT_MAX_RANKS];
    struct shmrt_segment segments[SHMRT_MAX_RANKS];
    int listener; /* holds this rank's rendezvous name; -1: none */
    struct shmrt_error error;
    struct shmrt_counters counters;
    /* One private page holding 1, which a fork sets to 0 in the child (MADV_WIPEONFORK). */
    unsigned char *fork_guard;
};

/**
 * shmrt_job_key - the key at which the ranks of this communicator meet
 *
 * @job and @name as in struct shmrt_params. Return: 0, or -EINVAL when it is too long.
 */
int shmrt_job_key(const char *job, const char *name, char out[SHMRT_JOB_BYTES],
                  struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

#endif
