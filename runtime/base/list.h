/* SPDX-License-Identifier: Apache-2.0 */
/* list.h - sets of small numbers as the kernel writes them, "0-3,8", and a set of NUMA nodes (L0)
 */
#ifndef SHMRT_LIST_H
#define SHMRT_LIST_H

#include "attributes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * shmrt_list_next - one "3" or "3-7" of a list
 * @text: not yet read; at least one number is expected
 * @most: the largest number that may stand there
 *
 * Return: what comes after it and its comma, "" at the end; NULL: this is no such list.
 */
const char *shmrt_list_next(const char *text, size_t most, size_t *first_out, size_t *last_out);

/**
 * shmrt_list_format - write a set as such a list; nothing for an empty one
 * @words: bit n of word n/64 for number n, up to @bits
 *
 * Return: the bytes needed, without the NUL, as snprintf does.
 */
size_t shmrt_list_format(const uint64_t *words, size_t bits, char *buffer, size_t bytes);

/** The same for a person: what does not fit is left out number by number, "0,2,...". @bytes: from 8
 * on. */
void shmrt_list_format_cut(const uint64_t *words, size_t bits, char *buffer, size_t bytes);

enum { SHMRT_NODES_MAX = 1024 }; /* Linux has no more */

/** A set of NUMA nodes; bit n of word n/64. */
struct shmrt_nodeset {
    uint64_t words[SHMRT_NODES_MAX / 64];
};

static inline bool shmrt_nodeset_has(const struct shmrt_nodeset *set, int node)
{
    return node >= 0 && node < SHMRT_NODES_MAX && (set->words[node / 64] >> (node % 64) & 1);
}

static inline void shmrt_nodeset_add(struct shmrt_nodeset *set, size_t node)
{
    set->words[node / 64] |= UINT64_C(1) << (node % 64);
}

static inline bool shmrt_nodeset_is_empty(const struct shmrt_nodeset *set)
{
    uint64_t any = 0;
    for (size_t i = 0; i < SHMRT_NODES_MAX / 64; i++)
        any |= set->words[i];
    return any == 0;
}

/** A list of nodes for a message; of one that is longer, the first ones and "...". */
struct shmrt_nodes_text {
    char text[64];
};

struct shmrt_nodes_text shmrt_nodeset_text(const struct shmrt_nodeset *set);

#endif
