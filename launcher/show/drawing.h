/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drawing.h - a machine as boxes inside boxes, and how large each kind of box is
 *
 * Packages hold blocks, blocks groups, groups cores. A block is what a package has of a NUMA node,
 * which is all of it on most machines; a group is what a block has of an L3 cache. All boxes of a
 * kind are of one size, so that equal things look equal.
 */
#ifndef LAUNCH_DRAWING_H
#define LAUNCH_DRAWING_H

#include "show.h"

struct drawn_core {
    size_t first_cpu, cpu_count; /* in machine->cpus */
    uint64_t ranks;              /* one bit for each that has it */
    bool is_reserved, is_allowed, is_taken, is_slow;
};

_Static_assert(SHMRT_MAX_RANKS <= 64, "a bit for each rank");

/** Neighbours in the next smaller kind of box. */
struct drawn_span {
    size_t first, count;
    size_t what; /* package: its number; block: its node's position; group: its L3 */
};

/** How many stand side by side. */
struct drawn_grid {
    size_t packages, blocks, groups, cores;
};

struct drawn_size {
    int width, height;
};

struct drawing {
    const struct launch_shown *shown;
    size_t core_count, group_count, block_count, package_count;
    struct drawn_core *cores;
    struct drawn_span *groups, *blocks, *packages;
    bool has_l3s;      /* some node has several, so that their frames say something */
    bool has_edges;    /* distances are known and there is more than one node */
    size_t memory_max; /* memory-only nodes at one block, at most */
    int strip_height;  /* of such a node: its name, and the segments if any lies on one */
    int name_width;    /* of the longest name of a core's CPUs, in DRAW_TINY */
    struct drawn_grid grid;
    struct drawn_size core, group, block, package, whole;
    int block_gap, package_gap;
};

enum {
    DRAW_MARGIN = 16,
    DRAW_WIDTH_MAX = 1200 - 2 * DRAW_MARGIN,
    DRAW_TINY = 9,       /* size of the text with CPUs */
    DRAW_PAD = 6,        /* inside a frame */
    DRAW_CORE_GAP = 2,   /* between cores */
    DRAW_HEAD = 20,      /* a line of text in a frame */
    DRAW_GROUP_GAP = 4,  /* between L3s */
    DRAW_STRIP_GAP = 14, /* above a memory-only node */
};

/** Lay a machine out. Return: 0, or -ENOMEM; drawing_free() releases it. */
int drawing_make(const struct launch_shown *shown, struct drawing *drawing_out) SHMRT_WARN_UNUSED;
void drawing_free(struct drawing *drawing);

/** Whether the node is worth a box: empty places for memory, as GPUs reserve them, are not. */
bool drawing_has_node(const struct drawing *drawing, size_t node);

/** The @index-th memory-only node at this block, by position; node_count: there are fewer. */
size_t drawing_memory(const struct drawing *drawing, size_t block, size_t index);

/** The block of that node where the segment of @rank is drawn, near the rank; block_count: none. */
size_t drawing_segment_block(const struct drawing *drawing, size_t rank);

/** The numbers of a core's CPUs: "3,67", "4-7". */
void drawing_name_cpus(const struct drawing *drawing, const struct drawn_core *core, char *text_out,
                       size_t bytes);

#endif
