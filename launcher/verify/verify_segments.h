/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verify_segments.h - where the pages of segments and pools are, page by page
 *
 * The kernel answers for a process only those pages that this process has touched, so the answers
 * for all ranks that map a segment are put together.
 */
#ifndef LAUNCH_VERIFY_SEGMENTS_H
#define LAUNCH_VERIFY_SEGMENTS_H

#include "verify_judge.h"

struct launch_segment;

struct launch_segments {
    struct launch_segment *list;
    size_t count, room;
    bool is_refused; /* move_pages was: a seccomp profile, or a kernel without NUMA */
};

/** Ask for the pages of all segments that @seen maps and that no other has answered for. */
int launch_segments_add(struct launch_segments *segments,
                        const struct launch_seen *seen) SHMRT_WARN_UNUSED;

/**
 * launch_segments_count - pages by node, of the segments and pools that one rank's processes made
 * @room: of @pages_out; nodes from that number on are left out
 *
 * Where the kernel told less page by page than numa_maps counts, which also happens when it
 * refuses move_pages, the latter serves.
 *
 * Return: how many of @pages_out are written: one for each node with any.
 */
size_t launch_segments_count(const struct launch_segments *segments, const struct launch_seen *seen,
                             size_t seen_count, struct launch_segment_pages *pages_out,
                             size_t room);

void launch_segments_free(struct launch_segments *segments);

#endif
