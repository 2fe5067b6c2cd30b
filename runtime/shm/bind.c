/* SPDX-License-Identifier: Apache-2.0 */
/* bind.c - the only file of the runtime that binds memory: libnuma for nodes of CPUs, mbind and
 * move_pages for pages. */
#include "bind.h"

#include <errno.h>
#include <numa.h>
#include <numaif.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PAGES_AT_ONCE = 512 };

/* The CPUs of a node as /sys lists them, NULL for none. libnuma's own numa_node_of_cpu fills a
 * cache without a lock, which ranks that are threads of one process would race for. */
static struct bitmask *cpus_of_node(int node)
{
    char path[64], list[4096] = "";
    snprintf(path, sizeof path, "/sys/devices/system/node/node%d/cpulist", node);
    FILE *file = fopen(path, "re");
    if (!file)
        return NULL;
    bool got = fgets(list, sizeof list, file) != NULL;
    fclose(file);
    list[strcspn(list, "\n")] = '\0';
    return got && *list ? numa_parse_cpustring_all(list) : NULL;
}

static bool intersects(const struct bitmask *a, const struct bitmask *b)
{
    unsigned bits = (unsigned)(a->size < b->size ? a->size : b->size);
    for (unsigned i = 0; i < bits; i++)
        if (numa_bitmask_isbitset(a, i) && numa_bitmask_isbitset(b, i))
            return true;
    return false;
}

int shmrt_bind_own_nodes(struct shmrt_nodeset *out)
{
    *out = (struct shmrt_nodeset){0};
    /* Without /sys libnuma prints a warning of its own and guesses. */
    if (numa_available() < 0 || access("/sys/devices/system/node", F_OK) != 0)
        return -ENOSYS;
    struct bitmask *own = numa_allocate_cpumask();
    struct bitmask *allowed = numa_get_mems_allowed();
    bool found = false, known = numa_sched_getaffinity(0, own) >= 0;
    for (int node = 0; known && node <= numa_max_node() && node < SHMRT_NODES_MAX; node++) {
        struct bitmask *cpus =
            numa_bitmask_isbitset(allowed, (unsigned)node) ? cpus_of_node(node) : NULL;
        if (cpus && intersects(cpus, own)) {
            shmrt_nodeset_add(out, (size_t)node);
            found = true;
        }
        if (cpus)
            numa_bitmask_free(cpus);
    }
    numa_bitmask_free(allowed);
    numa_bitmask_free(own);
    return found ? 0 : -ENOSYS;
}

int shmrt_bind_memory(void *base, size_t bytes, const struct shmrt_nodeset *nodes)
{
    unsigned long mask[SHMRT_NODES_MAX / (8 * sizeof(unsigned long))];
    _Static_assert(sizeof mask == sizeof nodes->words, "one bit a node in both");
    for (size_t i = 0; i < sizeof mask / sizeof mask[0]; i++)
        mask[i] = (unsigned long)nodes->words[i];
    /* The kernel reads maxnode - 1 bits. */
    return mbind(base, bytes, MPOL_BIND, mask, SHMRT_NODES_MAX + 1, 0) == 0 ? 0 : -errno;
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
        if (move_pages(0, n, address, NULL, node, 0) != 0) {
            rc = -errno;
            break;
        }
        for (size_t i = 0; i < n; i++) {
            out->pages_unknown -= node[i] >= 0;
            out->pages_on_node += shmrt_nodeset_has(nodes, node[i]);
        }
    }
    if (rc)
        *out = (struct shmrt_placement_proof){.pages = pages, .pages_unknown = pages};
    return rc;
}
