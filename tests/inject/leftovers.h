/* SPDX-License-Identifier: Apache-2.0 */
/* leftovers.h - what a process has that a communicator may have left in it */
#ifndef TEST_INJECT_LEFTOVERS_H
#define TEST_INJECT_LEFTOVERS_H

#include <stddef.h>

struct leftovers {
    int descriptors;
    int mappings; /* of memfds of shmrt */
    long blocks;  /* of the heap, where faults.c is preloaded */
};

void leftovers_look(struct leftovers *out);

/** What @now has and @before had not, in words; also children, and names of @job's @rank.
 * Return: whether there is any. */
int leftovers_tell(const struct leftovers *before, const struct leftovers *now, const char *job,
                   int rank, char *out, size_t bytes);

#endif
