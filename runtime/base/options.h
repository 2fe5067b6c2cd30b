/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.h - every tunable of a communicator, from ONE table (L0)
 *
 * The table in options.c gives key, environment variable, default, range and meaning; parsing,
 * shmrt_options_describe() and the messages all come from it, so they can't drift apart.
 */
#ifndef SHMRT_OPTIONS_H
#define SHMRT_OPTIONS_H

#include "error.h"
#include "list.h"

enum { SHMRT_KERNEL_NAME_BYTES = 16, SHMRT_GROUPS_BYTES = 256, SHMRT_PATH_BYTES = 256 };

/* A rank whose group is not known. */
#define SHMRT_GROUP_UNKNOWN INT64_C(-1)

#define SHMRT_AUTO UINT64_MAX /* of an option: "auto" */

struct shmrt_options {
    uint64_t segment_bytes;      /* shared memory of a rank, all lanes together */
    uint64_t pool_bytes;         /* limit of a rank's memory for tensors; 0: none */
    uint64_t chunk_bytes;        /* two-shot: bytes of a rank's part in a round; 0: fitted */
    uint64_t oneshot_max_bytes;  /* largest vector that goes one-shot; or SHMRT_AUTO */
    uint64_t exchange_max_bytes; /* largest all-reduce in one pass; or SHMRT_AUTO */
    /* Smallest vector that goes by groups of ranks; or SHMRT_AUTO */
    uint64_t hierarchy_min_bytes;
    uint64_t lane_bytes; /* one lane for each of these; or SHMRT_AUTO */
    uint64_t lanes;      /* 0: as many as the rank with the fewest OpenMP threads has */
    uint64_t timeout_ms;
    uint64_t rendezvous_timeout_ms;
    uint64_t warn_ms;
    uint64_t spin_us;
    uint64_t yield_us;
    uint64_t bind;              /* 0 or 1 */
    struct shmrt_nodeset nodes; /* of shared memory; empty: those of the CPUs */
    uint64_t huge_pages;        /* enum shmrt_page_kind */
    uint64_t disable;           /* 0 or 1 */
    char kernel[SHMRT_KERNEL_NAME_BYTES];
    char tune[SHMRT_KERNEL_NAME_BYTES];
    char groups[SHMRT_GROUPS_BYTES];
    char sum_order[SHMRT_KERNEL_NAME_BYTES];
    char recorder[SHMRT_PATH_BYTES]; /* or "off" */
    int64_t parent_group; /* of this rank, where the communicator is a part of another one */
    bool caller_only;     /* no OpenMP region: set by a call, never by the user's text */
};

/**
 * shmrt_options_load - defaults, then the environment, then @settings (may be NULL)
 *
 * Return: 0, or -EINVAL with the first wrong setting, its value and the range in @error_out; @out
 * is filled all the same, as if the wrong ones had not been given.
 */
int shmrt_options_load(const char *const *settings, struct shmrt_options *out,
                       struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

/** shmrt_options_set_timeout - the option timeout, as a number: 0 or -EINVAL */
int shmrt_options_set_timeout(struct shmrt_options *options, double seconds,
                              struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

#endif
