/* SPDX-License-Identifier: Apache-2.0 */
/*
 * huge_pages.h - which huge pages the kernel has, and how many are free (L1)
 *
 * Two kinds: hugetlb, set aside beforehand in a pool of their own, and transparent ones, which the
 * kernel makes where it finds room. @sys is "/sys", or in tests a folder like it.
 */
#ifndef SHMRT_HUGE_PAGES_H
#define SHMRT_HUGE_PAGES_H

#include "base/list.h"

/**
 * shmrt_huge_pages_bytes - the size of hugetlb pages for a file of @bytes
 *
 * 2 MiB where there are such, else the smallest. Return: 0 where the kernel has none, or none that
 * is not larger than the file.
 */
size_t shmrt_huge_pages_bytes(const char *sys, size_t bytes);

/**
 * shmrt_huge_pages_suffice - whether so many hugetlb pages are to be had now
 * @nodes: where they have to be; NULL: anywhere
 *
 * The kernel's own promise does not look at nodes. Pages that it may make on the way count too.
 */
bool shmrt_huge_pages_suffice(const char *sys, size_t page_bytes, size_t needed,
                              const struct shmrt_nodeset *nodes);

/**
 * shmrt_huge_pages_shortage - say how many hugetlb pages are missing, and what to raise
 * @nodes: where they have to be; NULL: anywhere
 */
void shmrt_huge_pages_shortage(const char *sys, size_t page_bytes, size_t needed,
                               const struct shmrt_nodeset *nodes, char *text_out, size_t room);

#endif
