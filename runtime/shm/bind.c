/* SPDX-License-Identifier: Apache-2.0 */
/* bind.c - the only file of the runtime that binds memory: /sys for the nodes of CPUs, mbind for
 * pages. */
#include "bind.h"

#include "base/mempolicy.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

enum { CPUS_MOST = 65536, LIST_BYTES = 4096 };

#define NODE_FOLDER "/sys/devices/system/node/"

/* A mask as the kernel takes it. */
enum { MASK_BITS = SHMRT_NODES_MAX, MASK_WORD_BITS = 8 * sizeof(unsigned long) };

struct mask {
    unsigned long words[MASK_BITS / MASK_WORD_BITS];
};

static struct mask mask_of(const struct shmrt_nodeset *nodes)
{
    struct mask mask = {{0}};
    for (int node = 0; node < MASK_BITS; node++)
        if (shmrt_nodeset_has(nodes, node))
            mask.words[node / MASK_WORD_BITS] |= 1UL << (node % MASK_WORD_BITS);
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
static bool node_has_any(size_t node, const cpu_set_t *own)
{
    char path[64], list[LIST_BYTES];
    size_t first, last;
    snprintf(path, sizeof path, NODE_FOLDER "node%zu/cpulist", node);
    const char *at = read_list(path, list) ? list : "";
    while (at && *at) {
        at = shmrt_list_next(at, CPUS_MOST - 1, &first, &last);
        for (size_t cpu = first; at && cpu <= last; cpu++)
            if (CPU_ISSET_S(cpu, CPUS_MOST / 8, own))
                return true;
    }
    return false;
}

/* Nodes with memory, as /sys lists them, of which the cpuset has some. Where a container may not
 * ask for its cpuset, all of them: it will be told when it binds. */
static int find_allowed(char list_out[LIST_BYTES], struct mask *allowed_out)
{
    int rc =
        shmrt_sys_get_mempolicy(NULL, allowed_out->words, MASK_BITS + 1, NULL, MPOL_F_MEMS_ALLOWED);
    if (!read_list(NODE_FOLDER "has_memory", list_out))
        return rc == -ENOSYS ? -ENOSYS : -ENOENT;
    if (rc)
        memset(allowed_out, 0xff, sizeof *allowed_out);
    return 0;
}

int shmrt_bind_own_nodes(struct shmrt_nodeset *out)
{
    unsigned long own[CPUS_MOST / MASK_WORD_BITS] = {0};
    struct mask allowed = {{0}};
    char list[LIST_BYTES];
    size_t first, last;
    bool found = false;
    *out = (struct shmrt_nodeset){0};
    int rc = find_allowed(list, &allowed);
    if (rc == 0 && sched_getaffinity(0, sizeof own, (cpu_set_t *)own))
        rc = -errno;
    for (const char *at = list; rc == 0 && at && *at;) {
        at = shmrt_list_next(at, SHMRT_NODES_MAX - 1, &first, &last);
        for (size_t node = first; at && node <= last; node++)
            if (mask_has(&allowed, node) && node_has_any(node, (const cpu_set_t *)own)) {
                shmrt_nodeset_add(out, node);
                found = true;
            }
    }
    return rc ? rc : found ? 0 : -ENODEV;
}

int shmrt_bind_memory(void *base, size_t bytes, const struct shmrt_nodeset *nodes)
{
    struct mask mask = mask_of(nodes);
    return shmrt_sys_mbind(base, bytes, MPOL_BIND, mask.words, MASK_BITS + 1, 0);
}
