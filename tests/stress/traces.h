/* SPDX-License-Identifier: Apache-2.0 */
/* traces.h - what jobs may leave behind on a machine, counted */
#ifndef TEST_TRACES_H
#define TEST_TRACES_H

#include <stdbool.h>
#include <stdint.h>

/** Where it is counted: apart from the rest of the machine as far as the user's rights go. */
struct traces_place {
    bool own_network; /* a network namespace: sockets and ports are all ours */
    bool own_shm;     /* a mount namespace with an empty /dev/shm */
    char cgroup[128]; /* "", or a memory cgroup for the jobs */
    char folder[64];  /* TMPDIR of the jobs */
};

struct traces {
    int64_t shared_bytes; /* of memfds and the like: the cgroup's, or the machine's */
    int64_t other_bytes;  /* MemAvailable of the machine, negative */
    int sockets;          /* abstract Unix sockets with our prefix */
    int ports;            /* listening or bound TCP sockets */
    int shm_files;        /* in /dev/shm */
    int temporary_files;  /* in the jobs' TMPDIR */
    int own_files;        /* descriptors of this process */
    int processes;        /* descendants */
};

/** Once, before the first job. */
void traces_place_make(struct traces_place *place);

/** In each process of a job, before it does anything: into the cgroup. */
void traces_enter(const struct traces_place *place);

void traces_count(const struct traces_place *place, struct traces *out);

/** Entries of /dev/shm, which has none of ours at any time. */
int traces_shm_files(void);

/** Makes all that lies in the jobs' TMPDIR an hour old. Return: how many there are. */
int traces_age_files(const struct traces_place *place);

/** Removes what traces_place_make() made; false: the cgroup still has processes. */
bool traces_place_free(const struct traces_place *place);

/** Calls @visit for every descendant of @ancestor. Return: how many. */
int traces_descendants(int ancestor, void (*visit)(int pid, void *arg), void *arg);

#endif
