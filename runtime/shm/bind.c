/* SPDX-License-Identifier: Apache-2.0 */
/* bind.c - the only file of the runtime that binds memory: /sys for the nodes of CPUs, mbind and
 * move_pages for pages. */
#include "bind.h"

#include "base/mempolicy.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

enum { PAGES_AT_ONCE = 512, CPUS_MOST = 65536, LIST_BYTES = 4096 };

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

int shmrt_bind_own_nodes(struct shmrt_nodeset *out)
{
    unsigned long own[CPUS_MOST / MASK_WORD_BITS] = {0};
    struct mask allowed = {{0}};
    char list[LIST_BYTES];
    size_t first, last;
    bool found = false;
    *out = (struct shmrt_nodeset){0};
    if (!read_list(NODE_FOLDER "has_memory", list) ||
        shmrt_sys_get_mempolicy(NULL, allowed.words, MASK_BITS + 1, NULL, MPOL_F_MEMS_ALLOWED) ||
        sched_getaffinity(0, sizeof own, (cpu_set_t *)own))
        return -ENOSYS;
    for (const char *at = list; at && *at;) {
        at = shmrt_list_next(at, SHMRT_NODES_MAX - 1, &first, &last);
        for (size_t node = first; at && node <= last; node++)
            if (mask_has(&allowed, node) && node_has_any(node, (const cpu_set_t *)own)) {
                shmrt_nodeset_add(out, node);
                found = true;
            }
    }
    return found ? 0 : -ENOSYS;
}

int shmrt_bind_memory(void *base, size_t bytes, const struct shmrt_nodeset *nodes)
{
    struct mask mask = mask_of(nodes);
    return shmrt_sys_mbind(base, bytes, MPOL_BIND, mask.words, MASK_BITS + 1, 0);
}

/* move_pages answers ENOENT for a page that this process has not mapped: read each one first. */
static void map_pages(const char *base, size_t pages, size_t page_bytes, void **pages_out)
{
    for (size_t i = 0; i < pages; i++) {
        const volatile char *page = base + i * page_bytes;
        (void)*page;
        pages_out[i] = (void *)(uintptr_t)page;
    }
}

int shmrt_bind_count(const void *base, size_t bytes, const struct shmrt_nodeset *nodes,
                     struct shmrt_placement_proof *out)
{
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    size_t pages = bytes / page_bytes;
    int rc = 0;
    out->pages = out->pages_unknown = pages;
    out->pages_on_node = 0;
    for (size_t at = 0; at < pages && rc == 0; at += PAGES_AT_ONCE) {
        void *address[PAGES_AT_ONCE];
        int node[PAGES_AT_ONCE];
        size_t n = pages - at < PAGES_AT_ONCE ? pages - at : PAGES_AT_ONCE;
        map_pages((const char *)base + at * page_bytes, n, page_bytes, address);
        rc = shmrt_sys_page_nodes(0, n, address, node);
        for (size_t i = 0; rc == 0 && i < n; i++) {
            out->pages_unknown -= node[i] >= 0;
            out->pages_on_node += shmrt_nodeset_has(nodes, node[i]);
        }
    }
    if (rc)
        *out = (struct shmrt_placement_proof){.pages = pages, .pages_unknown = pages};
    return rc;
}
