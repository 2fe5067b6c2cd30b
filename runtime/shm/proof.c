/* SPDX-License-Identifier: Apache-2.0 */
/* proof.c - move_pages with no place to move to, which only asks; and smaps. */
#include "proof.h"

#include "base/mempolicy.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGES_AT_ONCE = 512 };

/* move_pages answers ENOENT for a page that this process has not mapped: read each one first. */
static void map_pages(const char *base, size_t pages, size_t page_bytes, void **pages_out)
{
    for (size_t i = 0; i < pages; i++) {
        const volatile char *page = base + i * page_bytes;
        (void)*page;
        pages_out[i] = (void *)(uintptr_t)page;
    }
}

static void add_elsewhere(struct shmrt_proof *proof, int node)
{
    size_t at = 0;
    while (at < proof->elsewhere_count && proof->elsewhere[at].node != node)
        at++;
    if (at == SHMRT_PROOF_PLACES)
        return;
    proof->elsewhere[at].node = node;
    proof->elsewhere[at].pages++;
    if (at == proof->elsewhere_count)
        proof->elsewhere_count++;
}

static void add_page(struct shmrt_proof *proof, const struct shmrt_nodeset *nodes, int node)
{
    if (node < 0)
        return;
    proof->pages.pages_unknown--;
    if (shmrt_nodeset_has(nodes, node))
        proof->pages.pages_on_node++;
    else
        add_elsewhere(proof, node);
}

static struct shmrt_proof nothing_known(const struct shmrt_file *file, size_t pages, int code)
{
    return (struct shmrt_proof){
        .code = code,
        .pages = {.pages = pages,
                  .pages_unknown = pages,
                  .page_bytes = file->page_bytes,
                  .bound = !shmrt_nodeset_is_empty(&file->bound_nodes)},
    };
}

void shmrt_proof_count(const struct shmrt_file *file, size_t taken_bytes,
                       const struct shmrt_nodeset *nodes, struct shmrt_proof *out)
{
    /* No pool: a file of no pages, of no size. */
    size_t pages = taken_bytes ? (taken_bytes + file->page_bytes - 1) / file->page_bytes : 0;
    *out = nothing_known(file, pages, 0);
    for (size_t at = 0; at < pages; at += PAGES_AT_ONCE) {
        void *address[PAGES_AT_ONCE];
        int node[PAGES_AT_ONCE];
        size_t n = pages - at < PAGES_AT_ONCE ? pages - at : PAGES_AT_ONCE;
        map_pages(file->base + at * file->page_bytes, n, file->page_bytes, address);
        int rc = shmrt_sys_page_nodes(0, n, address, node);
        if (rc) {
            *out = nothing_known(file, pages, rc);
            break;
        }
        for (size_t i = 0; i < n; i++)
            add_page(out, nodes, node[i]);
    }
    out->pages.huge_bytes = file->kind == SHMRT_PAGES_HUGETLB
                                ? pages * file->page_bytes
                                : (pages ? shmrt_proof_huge_bytes(file) : 0);
}

size_t shmrt_proof_huge_bytes(const struct shmrt_file *file)
{
    char *line = NULL;
    size_t room = 0, kib, huge_kib = 0;
    uintptr_t begin, end, base = (uintptr_t)file->base;
    bool is_ours = false, is_behind = false;
    FILE *smaps = fopen("/proc/self/smaps", "re");
    while (smaps && !is_behind && getline(&line, &room, smaps) > 0) {
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &begin, &end) == 2) {
            is_ours = begin >= base && end <= base + file->mapped_bytes + file->page_bytes;
            is_behind = begin >= base + file->mapped_bytes;
        } else if (is_ours && sscanf(line, "ShmemPmdMapped: %zu", &kib) == 1) {
            huge_kib += kib;
        }
    }
    free(line);
    if (smaps)
        fclose(smaps);
    return huge_kib * 1024;
}
