/* SPDX-License-Identifier: Apache-2.0 */
/* proof.h - where the kernel says the pages of a file are, and of what size (L1) */
#ifndef SHMRT_PROOF_H
#define SHMRT_PROOF_H

#include "shared_file.h"

enum { SHMRT_PROOF_PLACES = 8 };

/** The public proof, and nodes that pages are on though they should not be, the first few. */
struct shmrt_proof {
    struct shmrt_pages_proof pages;
    int code; /* of move_pages: 0 or a negative errno */
    struct {
        int node;
        size_t pages;
    } elsewhere[SHMRT_PROOF_PLACES];
    size_t elsewhere_count;
};

/**
 * shmrt_proof_count - ask the kernel on which node each of the first pages of a file is
 * @taken_bytes: of the file, whose pages are there
 * @nodes:       where they belong
 *
 * Maps every page that it asks for. Where move_pages is refused, all pages count as unknown.
 */
void shmrt_proof_count(const struct shmrt_file *file, size_t taken_bytes,
                       const struct shmrt_nodeset *nodes, struct shmrt_proof *out);

/**
 * shmrt_proof_huge_bytes - how much of a file this process has mapped in transparent huge pages
 *
 * From smaps: the kernel walks the page tables of the process up to there. 0 if it can't be read.
 */
size_t shmrt_proof_huge_bytes(const struct shmrt_file *file);

#endif
