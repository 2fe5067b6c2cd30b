/* SPDX-License-Identifier: Apache-2.0 */
/* segment.h - one rank's shared memory: an anonymous file that dies with its last holder (L1) */
#ifndef SHMRT_SEGMENT_H
#define SHMRT_SEGMENT_H

#include "base/error.h"
#include "base/options.h"
#include "shared_file.h"

struct shmrt_segment {
    struct shmrt_file file;
    /* Only in the owner's own segment: where its pages belong, and where its CPUs were then. */
    struct shmrt_nodeset nodes;
    struct shmrt_nodeset cpu_nodes;
};

/**
 * shmrt_segment_create - take the memory of a rank, on its own NUMA nodes or those of the options
 * @options: with bind, mbind does it; refused (EPERM in containers), one line goes to @logger and
 *           first touch serves instead. With huge_pages, the pages are huge where the kernel has
 *           any.
 *
 * In this order: create, size, map, bind, allocate, seal. All pages are taken at once, so that a
 * shortage is an error here and not a SIGBUS later, and so that they follow the binding.
 *
 * Return: 0, -ENOMEM (with the limit that is too small), or a negative errno of the system.
 */
int shmrt_segment_create(int rank, const struct shmrt_options *options,
                         const struct shmrt_logger *logger, struct shmrt_segment *out,
                         struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

/**
 * shmrt_segment_attach - map a peer's segment; takes @fd over, also on failure
 *
 * Refuses a file that is not sealed against resizing: its owner could otherwise turn our reads
 * into SIGBUS. So could one of hugetlb pages, by giving them back: only with @hugetlb is it taken.
 * Return: 0, -EPROTO, or a negative errno of the system.
 */
int shmrt_segment_attach(int fd, int rank, size_t bytes, bool hugetlb, struct shmrt_segment *out,
                         struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

/**
 * shmrt_segment_borrow - use the mapping of a rank of this very process
 *
 * Only in builds with SHMRT_SHARE_MAPPINGS: ThreadSanitizer knows memory by its address, so it
 * sees a race between ranks only where they share one mapping. The last user unmaps it.
 */
void shmrt_segment_borrow(char *base, size_t bytes, struct shmrt_segment *out);

/** @mapped: false in a forked child, which never had the mapping (MADV_DONTFORK). */
void shmrt_segment_release(struct shmrt_segment *segment, bool mapped);

#endif
