/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verify_judge.h - what was seen of a rank against its plan; looks at nothing but its arguments
 *
 * A rank's threads belong on all of its CPUs and no others; its own pages (heap, stacks, anonymous)
 * on its memory nodes; those of its segment and pool there, or on the segment's node.
 */
#ifndef LAUNCH_VERIFY_JUDGE_H
#define LAUNCH_VERIFY_JUDGE_H

#include "verify_proc.h"

/** What is wrong, and with a rank's number its name: a finding is told once. */
enum launch_finding_kind {
    LAUNCH_FOUND_NARROW,     /* threads that may use a part of the rank's CPUs only */
    LAUNCH_FOUND_OUTSIDE,    /* threads that may use CPUs of others */
    LAUNCH_FOUND_OWN,        /* pages of heap, stacks and anonymous memory elsewhere */
    LAUNCH_FOUND_SEGMENT,    /* pages of the rank's segment or pool elsewhere */
    LAUNCH_FOUND_UNREADABLE, /* pages can't be looked at */
    LAUNCH_FOUND_KINDS,
};

enum { LAUNCH_FINDING_BYTES = 768, LAUNCH_LIST_BYTES = 24 };

struct launch_finding {
    enum launch_finding_kind kind;
    bool is_breach; /* of what the plan asks for and not only wishes */
    char text[LAUNCH_FINDING_BYTES];
};

/** A rank's line in the table, and what is wrong with it, at most one finding a kind. */
struct launch_judgement {
    size_t processes, threads, threads_off;
    uint64_t bytes[LAUNCH_MEMORY_KINDS]; /* wherever they are */
    uint64_t elsewhere;                  /* bytes of them, off the planned nodes */
    uint64_t huge_own, huge_shared;      /* bytes of them in huge pages */
    char cpus[LAUNCH_LIST_BYTES];        /* that its threads may use, all together */
    char nodes[LAUNCH_LIST_BYTES];       /* that those pages are on */
    struct launch_finding findings[LAUNCH_FOUND_KINDS];
    size_t finding_count;
};

/** Pages of segments and pools of one rank on one node, whoever has mapped them. */
struct launch_segment_pages {
    size_t node;
    uint64_t pages, bytes;
    uint64_t pool_bytes; /* of bytes, in pools */
};

/**
 * launch_judge - judge one rank
 * @seen:     its processes
 * @segments: where the pages of its segments and pools are
 */
void launch_judge(const struct shmrt_plan_rank *rank, size_t index, const struct launch_seen *seen,
                  size_t seen_count, const struct launch_segment_pages *segments,
                  size_t segment_count, struct launch_judgement *judgement_out);

#endif
