/* SPDX-License-Identifier: Apache-2.0 */
/* huge_pages.c - reads /sys/kernel/mm and the nodes' counts of huge pages. */
#include "huge_pages.h"

#include <dirent.h>
#include <stdio.h>

enum { PATH_BYTES = 256, USUAL_KIB = 2048 };

/* Folders below these: hugepages-2048kB/free_hugepages */
static const char ALL[] = "kernel/mm/hugepages";
static const char OF_NODE[] = "devices/system/node/node%d/hugepages";

static bool read_number(const char *path, size_t *value_out)
{
    FILE *file = fopen(path, "re");
    bool is_read = file && fscanf(file, "%zu", value_out) == 1;
    if (file)
        fclose(file);
    return is_read;
}

size_t shmrt_huge_pages_bytes(const char *sys, size_t bytes)
{
    char path[PATH_BYTES];
    size_t best_kib = 0, kib;
    snprintf(path, sizeof path, "%.128s/%s", sys, ALL);
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        if (sscanf(entry->d_name, "hugepages-%zukB", &kib) == 1 && kib <= bytes / 1024 &&
            best_kib != USUAL_KIB && (best_kib == 0 || kib == USUAL_KIB || kib < best_kib))
            best_kib = kib;
    if (folder)
        closedir(folder);
    return best_kib * 1024;
}

/* Of the pool of all nodes (-1), or of one. */
static size_t count(const char *sys, int node, size_t page_bytes, const char *what)
{
    char folder[64], path[PATH_BYTES];
    size_t pages = 0;
    if (node < 0)
        snprintf(folder, sizeof folder, "%s", ALL);
    else
        snprintf(folder, sizeof folder, OF_NODE, node);
    snprintf(path, sizeof path, "%.128s/%s/hugepages-%zukB/%s_hugepages", sys, folder,
             page_bytes / 1024, what);
    return read_number(path, &pages) ? pages : 0;
}

/* Those that are free and promised to nobody; the kernel knows promises for all nodes only. */
static size_t count_free(const char *sys, const struct shmrt_nodeset *nodes, size_t page_bytes)
{
    size_t on_nodes = 0, all = count(sys, -1, page_bytes, "free");
    size_t promised = count(sys, -1, page_bytes, "resv");
    all = all > promised ? all - promised : 0;
    for (int node = 0; nodes && node < SHMRT_NODES_MAX; node++)
        if (shmrt_nodeset_has(nodes, node))
            on_nodes += count(sys, node, page_bytes, "free");
    return nodes && on_nodes < all ? on_nodes : all;
}

bool shmrt_huge_pages_suffice(const char *sys, size_t page_bytes, size_t needed,
                              const struct shmrt_nodeset *nodes)
{
    return count_free(sys, nodes, page_bytes) + count(sys, -1, page_bytes, "nr_overcommit") >=
           needed;
}

/* What the administrator has to raise: of the only node, or of all. */
static void name_limit(const struct shmrt_nodeset *nodes, size_t page_bytes, char *text_out,
                       size_t room)
{
    int only = -1, many = 0;
    for (int node = 0; nodes && node < SHMRT_NODES_MAX; node++)
        if (shmrt_nodeset_has(nodes, node)) {
            only = node;
            many++;
        }
    char folder[64];
    snprintf(folder, sizeof folder, OF_NODE, only);
    if (many != 1 && page_bytes == USUAL_KIB * 1024)
        snprintf(text_out, room, "vm.nr_hugepages (sysctl)");
    else
        snprintf(text_out, room, "/sys/%s/hugepages-%zukB/nr_hugepages", many == 1 ? folder : ALL,
                 page_bytes / 1024);
}

void shmrt_huge_pages_shortage(const char *sys, size_t page_bytes, size_t needed,
                               const struct shmrt_nodeset *nodes, char *text_out, size_t room)
{
    char limit[PATH_BYTES];
    size_t left = count_free(sys, nodes, page_bytes), more = needed > left ? needed - left : 0;
    name_limit(nodes, page_bytes, limit, sizeof limit);
    int at =
        snprintf(text_out, room, "needs %zu huge page%s of %zu KiB%s%s, and %zu %s free", needed,
                 needed == 1 ? "" : "s", page_bytes / 1024, nodes ? " on NUMA node " : "",
                 nodes ? shmrt_nodeset_text(nodes).text : "", left, left == 1 ? "is" : "are");
    if (at < 0 || (size_t)at >= room)
        return;
    if (more)
        snprintf(text_out + at, room - (size_t)at, ": %zu more %s needed; raise %s", more,
                 more == 1 ? "is" : "are", limit);
    else
        snprintf(text_out + at, room - (size_t)at,
                 ", but they are promised to others, or the cgroup's limit (hugetlb) is lower");
}
