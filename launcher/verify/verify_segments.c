/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verify_segments.c - move_pages with no place to move to, which only asks.
 *
 * A pool is asked for in its owner's process alone: the owner touches each page as it takes it, and
 * a pool is as large as a rank's share of many segments.
 */
#include "verify_segments.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PAGES_AT_ONCE = 1024, UNKNOWN = -1 };

struct launch_segment {
    uint64_t inode;
    pid_t owner;
    bool is_pool;
    size_t pages;
    int16_t *nodes; /* of each page; UNKNOWN: nobody who was asked has touched it */
};

/* The segment of that file, with room for @pages; NULL: no memory. */
static struct launch_segment *find_segment(struct launch_segments *segments,
                                           const struct launch_seen_mapping *mapping, size_t pages)
{
    size_t at = 0;
    while (at < segments->count && segments->list[at].inode != mapping->inode)
        at++;
    if (at == segments->room) {
        size_t room = at ? 2 * at : 16;
        struct launch_segment *grown = reallocarray(segments->list, room, sizeof *grown);
        if (!grown)
            return NULL;
        segments->list = grown;
        segments->room = room;
    }
    struct launch_segment *segment = &segments->list[at];
    if (at == segments->count) {
        *segment = (struct launch_segment){
            .inode = mapping->inode, .owner = mapping->owner, .is_pool = mapping->is_pool};
        segments->count++;
    }
    if (pages <= segment->pages)
        return segment;
    int16_t *nodes = reallocarray(segment->nodes, pages, sizeof *nodes);
    if (!nodes)
        return NULL;
    for (size_t i = segment->pages; i < pages; i++)
        nodes[i] = UNKNOWN;
    segment->nodes = nodes;
    segment->pages = pages;
    return segment;
}

/* Pages from @page on that are not known yet, PAGES_AT_ONCE at most; moves @page behind them. */
static size_t next_unknown(const struct launch_segment *segment,
                           const struct launch_seen_mapping *mapping, size_t page_bytes,
                           size_t *page, void **addresses_out, size_t *pages_out)
{
    size_t count = 0;
    size_t first = mapping->offset / page_bytes;
    size_t end = first + (mapping->end - mapping->begin) / page_bytes;
    for (; *page < end && count < PAGES_AT_ONCE; (*page)++) {
        if (segment->nodes[*page] != UNKNOWN)
            continue;
        uint64_t address = mapping->begin + (*page - first) * page_bytes;
        addresses_out[count] = (void *)(uintptr_t)address;
        pages_out[count++] = *page;
    }
    return count;
}

static int ask(struct launch_segment *segment, const struct launch_seen_mapping *mapping, pid_t pid,
               size_t page_bytes)
{
    void *addresses[PAGES_AT_ONCE];
    size_t pages[PAGES_AT_ONCE];
    int nodes[PAGES_AT_ONCE];
    size_t page = mapping->offset / page_bytes, count;
    while ((count = next_unknown(segment, mapping, page_bytes, &page, addresses, pages)) > 0) {
        if (syscall(SYS_move_pages, pid, count, addresses, NULL, nodes, 0) != 0)
            return -errno;
        for (size_t i = 0; i < count; i++)
            if (nodes[i] >= 0)
                segment->nodes[pages[i]] = (int16_t)nodes[i];
    }
    return 0;
}

int launch_segments_add(struct launch_segments *segments, const struct launch_seen *seen)
{
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < seen->mapping_count && !segments->is_refused; i++) {
        const struct launch_seen_mapping *mapping = &seen->mappings[i];
        if (mapping->is_pool && mapping->owner != seen->pid)
            continue;
        size_t end = (mapping->offset + mapping->end - mapping->begin) / page_bytes;
        struct launch_segment *segment = find_segment(segments, mapping, end);
        if (!segment)
            return -ENOMEM;
        int rc = ask(segment, mapping, seen->pid, page_bytes);
        segments->is_refused = rc && rc != -ESRCH; /* that one has just ended */
    }
    return 0;
}

static void add_count(struct launch_segment_pages *counts, size_t room, size_t node, uint64_t pages,
                      uint64_t bytes, bool is_pool)
{
    if (node >= room)
        return;
    counts[node].pages += pages;
    counts[node].bytes += bytes;
    counts[node].pool_bytes += is_pool ? bytes : 0;
}

static uint64_t maps_bytes(const struct launch_seen *seen)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < seen->page_count; i++)
        if (seen->pages[i].owner == seen->pid)
            bytes += seen->pages[i].bytes;
    return bytes;
}

static uint64_t known_bytes(const struct launch_segments *segments, pid_t owner, size_t page_bytes)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < segments->count; i++) {
        const struct launch_segment *segment = &segments->list[i];
        for (size_t page = 0; page < segment->pages && segment->owner == owner; page++)
            if (segment->nodes[page] != UNKNOWN)
                bytes += page_bytes;
    }
    return bytes;
}

static void count_maps(const struct launch_seen *seen, struct launch_segment_pages *counts,
                       size_t room)
{
    for (size_t i = 0; i < seen->page_count; i++) {
        const struct launch_seen_pages *pages = &seen->pages[i];
        if (pages->owner == seen->pid)
            add_count(counts, room, pages->node, pages->pages, pages->bytes,
                      pages->memory == LAUNCH_POOL);
    }
}

static void count_known(const struct launch_segments *segments, pid_t owner, size_t page_bytes,
                        struct launch_segment_pages *counts, size_t room)
{
    for (size_t i = 0; i < segments->count; i++) {
        const struct launch_segment *segment = &segments->list[i];
        for (size_t page = 0; page < segment->pages && segment->owner == owner; page++)
            if (segment->nodes[page] != UNKNOWN)
                add_count(counts, room, (size_t)segment->nodes[page], 1, page_bytes,
                          segment->is_pool);
    }
}

size_t launch_segments_count(const struct launch_segments *segments, const struct launch_seen *seen,
                             size_t seen_count, struct launch_segment_pages *pages_out, size_t room)
{
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE), count = 0;
    memset(pages_out, 0, room * sizeof *pages_out);
    for (size_t p = 0; p < seen_count; p++) {
        if (maps_bytes(&seen[p]) > known_bytes(segments, seen[p].pid, page_bytes))
            count_maps(&seen[p], pages_out, room);
        else
            count_known(segments, seen[p].pid, page_bytes, pages_out, room);
    }
    for (size_t node = 0; node < room; node++)
        if (pages_out[node].pages) {
            pages_out[count] = pages_out[node];
            pages_out[count++].node = node;
        }
    return count;
}

void launch_segments_free(struct launch_segments *segments)
{
    for (size_t i = 0; i < segments->count; i++)
        free(segments->list[i].nodes);
    free(segments->list);
    *segments = (struct launch_segments){0};
}
