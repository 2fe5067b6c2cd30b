/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verify_proc.h - what /proc says of one process: the CPUs of its threads, the nodes of its pages
 *
 * @proc is "/proc", or in tests a folder like it. Functions that return int: 0 or a negative errno;
 * -ENOENT is a process that has ended.
 */
#ifndef LAUNCH_VERIFY_PROC_H
#define LAUNCH_VERIFY_PROC_H

#include "shmrt_placement.h"

#include <sys/types.h>

enum { LAUNCH_NAME_BYTES = 16, LAUNCH_POLICY_BYTES = 64, LAUNCH_BINDING_BYTES = 192 };

struct launch_seen_thread {
    pid_t tid;
    char name[LAUNCH_NAME_BYTES];
    char state;               /* R, S, D (waits for a disk), ... */
    struct shmrt_bitmap cpus; /* that it may run on */
};

/** What pages are used for. */
enum launch_memory {
    LAUNCH_HEAP,  /* and other anonymous memory, with the stacks of further threads */
    LAUNCH_STACK, /* of the main thread */
    LAUNCH_SEGMENT,
    LAUNCH_POOL,
    LAUNCH_MEMORY_KINDS,
};

/** Pages in one kind of memory on one node, under one policy. */
struct launch_seen_pages {
    enum launch_memory memory;
    pid_t owner;                      /* of a segment or pool: the process that made it; else 0 */
    char policy[LAUNCH_POLICY_BYTES]; /* as the kernel writes it: "bind:0-1" */
    size_t node;
    uint64_t pages, bytes;
};

/** Where a segment or a pool is mapped. */
struct launch_seen_mapping {
    uint64_t begin, end, offset; /* bytes */
    uint64_t inode;
    pid_t owner;
    bool is_pool;
};

struct launch_seen {
    pid_t pid;
    struct launch_seen_thread *threads;
    struct launch_seen_pages *pages;
    struct launch_seen_mapping *mappings;
    size_t thread_count, thread_room, page_count, page_room, mapping_count, mapping_room;
    uint64_t waited_ns;             /* for a CPU, by the main thread, since its start; 0: unknown */
    bool is_loading;                /* the main thread waits for a disk */
    uint64_t libraries;             /* another number when other files are mapped */
    int pages_error;                /* of numa_maps: -ENOENT where the kernel has none */
    uint64_t huge_own, huge_shared; /* bytes in huge pages: its own, and of segments it made */
    pid_t smaps_owner; /* while smaps is read: whose file is mapped; -1: of no concern */
    char binding[LAUNCH_BINDING_BYTES]; /* variables by which OpenMP binds threads; or "" */
};

/** Name, state and CPUs from the text of a status file; release cpus. -EINVAL: it is no such text.
 */
int launch_status_parse(const char *text, struct launch_seen_thread *thread_out) SHMRT_WARN_UNUSED;

/** One line of maps. Whether it is a segment or a pool; @file_out: the file's name or "". */
bool launch_maps_parse(const char *line, struct launch_seen_mapping *mapping_out,
                       const char **file_out);

/** Add what one line of numa_maps counts; files that are no segments are left out. */
int launch_numa_maps_parse(const char *line, struct launch_seen *seen) SHMRT_WARN_UNUSED;

/** Add what one line of smaps says of huge pages. Lines come in the file's order. */
int launch_smaps_parse(const char *line, struct launch_seen *seen) SHMRT_WARN_UNUSED;

/** Of @environ, as in /proc: what binds OpenMP's threads, "OMP_PROC_BIND=true OMP_PLACES=cores". */
void launch_environ_parse(const char *environment, size_t bytes,
                          char binding_out[LAUNCH_BINDING_BYTES]);

/** Threads and mapped files of @pid, quick enough to ask often. @seen_out: launch_seen_free(). */
int launch_glance(const char *proc, pid_t pid, struct launch_seen *seen_out) SHMRT_WARN_UNUSED;

/** Add the pages, for which the kernel walks all page tables of the process twice. */
int launch_look(const char *proc, struct launch_seen *seen) SHMRT_WARN_UNUSED;

void launch_seen_free(struct launch_seen *seen);

#endif
