/* SPDX-License-Identifier: Apache-2.0 */
/* bind.c - the only file of the runtime that binds memory: /sys for the nodes of CPUs, mbind for
 * pages. */
#include "bind.h"

#include "base/affinity.h"
#include "base/mempolicy.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIST_BYTES = 4096 };

/* Farther than any distance that firmware tells, which is a byte. */
enum { NO_CPUS = 256 };

#define NODE_FOLDER "/sys/devices/system/node/"

/* A mask as the kernel takes it. */
enum { MASK_BITS = SHMRT_NODES_MAX, MASK_WORD_BITS = 8 * sizeof(unsigned long) };

struct mask {
    unsigned long words[MASK_BITS / MASK_WORD_BITS];
};

static void mask_add(struct mask *mask, size_t node)
{
    mask->words[node / MASK_WORD_BITS] |= 1UL << (node % MASK_WORD_BITS);
}

static struct mask mask_of(const struct shmrt_nodeset *nodes)
{
    struct mask mask = {{0}};
    for (int node = 0; node < MASK_BITS; node++)
        if (shmrt_nodeset_has(nodes, node))
            mask_add(&mask, (size_t)node);
    return mask;
}

static bool mask_has(const struct mask *mask, size_t node)
{
    return mask->words[node / MASK_WORD_BITS] >> (node % MASK_WORD_BITS) & 1;
}

/* A file with a list of numbers; false when there is none, or it names nothing. */
static bool read_list(const char *path, char list_out[LIST_BYTES])
{
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    bool got = fgets(list_out, LIST_BYTES, file) != NULL;
    fclose(file);
    if (got)
        list_out[strcspn(list_out, "\n")] = '\0';
    return got && *list_out;
}

/* Whether one of the CPUs in @own belongs to the node. */
static bool node_has_any(size_t node, const struct shmrt_cpus *own)
{
    char path[64], list[LIST_BYTES];
    size_t first, last;
    snprintf(path, sizeof path, NODE_FOLDER "node%zu/cpulist", node);
    const char *at = read_list(path, list) ? list : "";
    while (at && *at) {
        at = shmrt_list_next(at, SHMRT_CPUS_MOST - 1, &first, &last);
        for (size_t cpu = first; at && cpu <= last; cpu++)
            if (shmrt_cpus_has(own, cpu))
                return true;
    }
    return false;
}

/* A list of nodes in NODE_FOLDER. */
static bool read_nodes(const char *name, struct mask *out)
{
    char path[64], list[LIST_BYTES];
    size_t first, last;
    *out = (struct mask){{0}};
    snprintf(path, sizeof path, NODE_FOLDER "%s", name);
    if (!read_list(path, list))
        return false;
    for (const char *at = list; at && *at;) {
        at = shmrt_list_next(at, MASK_BITS - 1, &first, &last);
        for (size_t node = first; at && node <= last; node++)
            mask_add(out, node);
    }
    return true;
}

/* Nodes with memory, as /sys lists them, of which the cpuset has some. Where a container may not
 * ask for its cpuset, all of them: it will be told when it binds. */
static int find_allowed(struct mask *out)
{
    struct mask allowed = {{0}};
    int rc = shmrt_sys_get_mempolicy(NULL, allowed.words, MASK_BITS + 1, NULL, MPOL_F_MEMS_ALLOWED);
    if (!read_nodes("has_memory", out))
        return rc == -ENOSYS ? -ENOSYS : -ENOENT;
    for (size_t i = 0; rc == 0 && i < sizeof out->words / sizeof out->words[0]; i++)
        out->words[i] &= allowed.words[i];
    return 0;
}

/* Where memory may be taken, and the CPUs that the calling thread may run on. */
struct choice {
    struct mask allowed;
    struct shmrt_cpus cpus;
};

static int look(struct choice *out)
{
    *out = (struct choice){0};
    int rc = find_allowed(&out->allowed);
    return rc ? rc : shmrt_own_cpus(&out->cpus);
}

int shmrt_bind_own_nodes(struct shmrt_nodeset *out)
{
    struct choice choice;
    bool found = false;
    *out = (struct shmrt_nodeset){0};
    int rc = look(&choice);
    for (size_t node = 0; rc == 0 && node < MASK_BITS; node++)
        if (mask_has(&choice.allowed, node) && node_has_any(node, &choice.cpus)) {
            shmrt_nodeset_add(out, node);
            found = true;
        }
    return rc ? rc : found ? 0 : -ENODEV;
}

/* The distances from a node to all that are online, in their order; false when /sys has none. */
static bool read_distances(size_t from, const struct mask *online, unsigned long out[MASK_BITS])
{
    char path[64], row[LIST_BYTES], *end;
    snprintf(path, sizeof path, NODE_FOLDER "node%zu/distance", from);
    if (!read_list(path, row))
        return false;
    const char *at = row;
    for (size_t node = 0; node < MASK_BITS; node++) {
        out[node] = mask_has(online, node) ? strtoul(at, &end, 10) : 0;
        if (mask_has(online, node) && end == at)
            return false;
        at = mask_has(online, node) ? end : at;
    }
    return true;
}

int shmrt_bind_nearest_node(struct shmrt_nodeset *out)
{
    struct choice choice;
    struct mask online, with_cpus;
    unsigned long distances[MASK_BITS], nearest = ULONG_MAX;
    size_t from = 0, best = MASK_BITS;
    *out = (struct shmrt_nodeset){0};
    int rc = look(&choice);
    if (rc)
        return rc;
    if (!read_nodes("online", &online) || !read_nodes("has_cpu", &with_cpus))
        return -ENOENT;
    while (from < MASK_BITS && !(mask_has(&online, from) && node_has_any(from, &choice.cpus)))
        from++;
    if (from == MASK_BITS || !read_distances(from, &online, distances))
        return -ENODEV;
    for (size_t node = 0; node < MASK_BITS; node++) {
        if (!mask_has(&online, node) || !mask_has(&choice.allowed, node))
            continue;
        /* Memory without CPUs may be of a slower kind. */
        unsigned long distance = distances[node] + (mask_has(&with_cpus, node) ? 0 : NO_CPUS);
        best = distance < nearest ? node : best;
        nearest = distance < nearest ? distance : nearest;
    }
    if (best == MASK_BITS)
        return -ENODEV;
    shmrt_nodeset_add(out, best);
    return 0;
}

int shmrt_bind_memory(void *base, size_t bytes, const struct shmrt_nodeset *nodes)
{
    struct mask mask = mask_of(nodes);
    return shmrt_sys_mbind(base, bytes, MPOL_BIND, mask.words, MASK_BITS + 1, 0);
}
