/* SPDX-License-Identifier: Apache-2.0 */
/* cluster.h - which machine of how many this is, and where the machines meet */
#ifndef LAUNCH_CLUSTER_H
#define LAUNCH_CLUSTER_H

#include "options/options.h"

enum { LAUNCH_ADDRESS_BYTES = 256 };

/** Who told: they are asked in this order, and the first that is there is the innermost. */
enum launch_manager {
    LAUNCH_MANAGER_NONE, /* the options alone */
    LAUNCH_MANAGER_OPENMPI,
    LAUNCH_MANAGER_HYDRA, /* mpirun of MPICH and of Intel MPI */
    LAUNCH_MANAGER_FLUX,
    LAUNCH_MANAGER_SLURM,
};

struct launch_cluster {
    enum launch_manager manager;
    size_t machines;
    size_t machine; /* 0 to machines - 1; the ranks of 0 come first */
    size_t task;    /* of the manager's on this machine; only 0 starts ranks */
    bool is_told;   /* how many machines: by the manager, not by the options */
    size_t unused;  /* machines of a batch job, of which its script uses this one only */
    char address[LAUNCH_ADDRESS_BYTES]; /* MASTER_ADDR */
    size_t port;                        /* MASTER_PORT; 0: any free one of this machine */
};

/** A variable's value, or NULL; such as getenv(). An empty value counts as none. */
typedef const char *(*launch_lookup)(const char *name, const void *context);

/**
 * launch_cluster_find - what the options say, else the variables of who started us, else one
 * machine
 * @lookup: the variables; called with @context
 *
 * Return: 0, or -EINVAL with what would work in @error_out.
 */
int launch_cluster_find(const struct launch_options *options, launch_lookup lookup,
                        const void *context, struct launch_cluster *out,
                        struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

/** What a person calls @manager. */
const char *launch_manager_name(enum launch_manager manager);

/** How @manager is told to start shm-launch once a machine. */
const char *launch_manager_advice(enum launch_manager manager);

/**
 * launch_cluster_first_host - the first name of a list such as "n[01-04,7]-ib,login"
 *
 * Return: 0, or -EINVAL: no such list, or longer than @bytes.
 */
int launch_cluster_first_host(const char *list, char *out, size_t bytes) SHMRT_WARN_UNUSED;

#endif
