/* SPDX-License-Identifier: Apache-2.0 */
/* show_svg_machine.c - packages, nodes, L3s, cores and segments, each where drawing.c has put it.
 */
#include "show_svg.h"

#include <stdbool.h>

const char *draw_rank_colour(size_t rank)
{
    /* Paul Tol's light scheme: made to carry black text, and to be told apart by the colour-blind.
     * Neighbours in the list differ most, since neighbouring ranks lie side by side. */
    static const char *const colours[] = {
        "#77aadd", "#eedd88", "#44bb99", "#ee8866", "#99ddff", "#bbcc33", "#ffaabb", "#aaaa00",
    };
    return colours[rank % (sizeof colours / sizeof colours[0])];
}

static void rank_rect(FILE *out, struct svg_box box, const char *class, size_t rank,
                      const char *more)
{
    char attributes[128];
    snprintf(attributes, sizeof attributes, "class=\"%s\" data-rank=\"%zu\" fill=\"%s\"%s", class,
             rank, draw_rank_colour(rank), more);
    svg_rect(out, box, attributes);
}

static void name_ranks(uint64_t ranks, char *text_out, size_t bytes)
{
    uint64_t word = ranks;
    const struct shmrt_bitmap set = {.bits = SHMRT_MAX_RANKS, .words = &word};
    shmrt_bitmap_format(&set, text_out, bytes);
}

static int count_ranks(const struct drawn_core *core)
{
    return __builtin_popcountll(core->ranks);
}

/* The core's box: in its rank's colour, in stripes where ranks share it, grey without any. */
static void put_core_box(FILE *out, const struct drawn_core *core, struct svg_box box)
{
    char attributes[128];
    const char *fill = !core->is_allowed ? DRAW_FORBIDDEN : core->is_taken ? DRAW_TAKEN : DRAW_IDLE;
    const char *round = core->is_slow ? " rx=\"7\"" : "";
    int count = count_ranks(core), stripe = 0;
    snprintf(attributes, sizeof attributes, "class=\"core\" fill=\"%s\" stroke=\"#444\"%s",
             core->ranks ? "#fff" : fill, round);
    if (count == 1)
        rank_rect(out, box, "core", (size_t)__builtin_ctzll(core->ranks),
                  core->is_slow ? " stroke=\"#444\" rx=\"7\"" : " stroke=\"#444\"");
    else
        svg_rect(out, box, attributes);
    for (uint64_t ranks = core->ranks; count > 1 && ranks; ranks &= ranks - 1, stripe++) {
        int from = box.width * stripe / count, to = box.width * (stripe + 1) / count;
        if (to > from)
            rank_rect(out, (struct svg_box){box.x + from, box.y, to - from, box.height}, "share",
                      (size_t)__builtin_ctzll(ranks), "");
    }
    if (core->is_reserved)
        svg_rect(out, box, round[0] ? "fill=\"url(#hatch)\" rx=\"7\"" : "fill=\"url(#hatch)\"");
}

/* Where hatching or stripes would run through the letters they get a ground of their own. */
static void put_ground(FILE *out, const struct drawn_core *core, struct svg_text text, int width)
{
    struct svg_box box = {text.x - width / 2 - 1, text.y - text.size / 2 - 1, width + 2,
                          text.size + 2};
    if (core->is_reserved || count_ranks(core) > 1)
        svg_rect(out, box, "fill=\"#fff\" fill-opacity=\"0.85\"");
}

/* The ranks above, as large as there is room, and the CPUs below where all of these fit. */
static void put_core_text(FILE *out, const struct drawing *d, const struct drawn_core *core,
                          struct svg_box box)
{
    char ranks[64] = "", cpus[64];
    int room = box.width - 4, middle = box.x + box.width / 2, count = count_ranks(core);
    bool has_cpus = d->name_width <= room && box.height >= 28;
    int size = has_cpus ? 14 : 16;
    name_ranks(core->ranks, ranks, sizeof ranks);
    if (count > 2 && svg_text_width(ranks, 9) > room)
        snprintf(ranks, sizeof ranks, "%d ranks", count);
    while (size > 8 && (svg_text_width(ranks, size) > room || size > box.height - 2))
        size--;
    struct svg_text big = {middle, box.y + box.height / 2 - (has_cpus ? 6 : 0), size, SVG_MIDDLE,
                           "font-weight=\"bold\""};
    struct svg_text tiny = {middle, box.y + box.height / 2, DRAW_TINY, SVG_MIDDLE, NULL};
    if (count > 0 && svg_text_width(ranks, size) <= room) {
        tiny.y = box.y + box.height - 9;
        put_ground(out, core, big, svg_text_width(ranks, size));
        svg_put_text(out, big, 0, ranks);
    }
    if (!has_cpus)
        return;
    drawing_name_cpus(d, core, cpus, sizeof cpus);
    put_ground(out, core, tiny, svg_text_width(cpus, DRAW_TINY));
    svg_put_text(out, tiny, 0, cpus);
}

static void put_group(FILE *out, const struct drawing *d, const struct drawn_span *group, int x,
                      int y)
{
    int inset = d->has_l3s ? DRAW_PAD / 2 : 0;
    if (d->has_l3s)
        svg_rect(out, (struct svg_box){x, y, d->group.width, d->group.height},
                 "class=\"l3\" fill=\"" DRAW_L3 "\" rx=\"3\"");
    for (size_t i = 0; i < group->count; i++) {
        const struct drawn_core *core = &d->cores[group->first + i];
        struct svg_box box = {
            .x = x + inset + (int)(i % d->grid.cores) * (d->core.width + DRAW_CORE_GAP),
            .y = y + inset + (int)(i / d->grid.cores) * (d->core.height + DRAW_CORE_GAP),
            .width = d->core.width,
            .height = d->core.height,
        };
        put_core_box(out, core, box);
        put_core_text(out, d, core, box);
    }
}

static void put_node_name(FILE *out, const struct drawing *d, size_t node, int x, int y)
{
    static const char *const tiers[] = {"", " HBM", " CXL", ""};
    const struct shmrt_machine_node *it = &d->shown->machine->nodes[node];
    char size[32] = "", name[96];
    if (it->memory_bytes)
        launch_bytes_text(it->memory_bytes, size, sizeof size);
    snprintf(name, sizeof name, "node %zu: %s%s%s", it->number,
             it->memory_bytes ? size : "no memory", tiers[it->tier],
             it->allowed ? "" : ", not allowed");
    svg_put_text(out, (struct svg_text){x, y, 11, SVG_LEFT, NULL}, d->block.width - 2 * DRAW_PAD,
                 name);
}

/* Whether the tag of @rank's segment belongs here; @block is block_count in a memory-only node. */
static bool is_segment_here(const struct drawing *d, size_t rank, size_t node, size_t block)
{
    return d->shown->plan->ranks[rank].segment_node == d->shown->machine->nodes[node].number &&
           drawing_segment_block(d, rank) == block;
}

/* Tags for the segments on a node, as many as fit. */
static void put_segments(FILE *out, const struct drawing *d, size_t node, size_t block, int x,
                         int y)
{
    size_t ranks = d->shown->plan->rank_count, count = 0;
    int end = x + d->block.width - 2 * DRAW_PAD, height = DRAW_HEAD - 5;
    for (size_t i = 0; i < ranks; i++)
        count += is_segment_here(d, i, node, block);
    bool is_one = count == 1;
    if (count > 1) {
        svg_print(out, (struct svg_text){x, y, DRAW_SMALL, SVG_LEFT, NULL}, "segments");
        x += svg_text_width("segments", DRAW_SMALL) + 4;
    }
    for (size_t i = 0; i < ranks && count > 0; i++) {
        char name[40];
        if (!is_segment_here(d, i, node, block))
            continue;
        snprintf(name, sizeof name, "%s%zu", is_one ? "segment of rank " : "", i);
        int width = svg_text_width(name, DRAW_SMALL) + 6;
        if (count > 1 && x + width + 3 + svg_text_width("+64", DRAW_SMALL) > end) {
            svg_print(out, (struct svg_text){x, y, DRAW_SMALL, SVG_LEFT, NULL}, "+%zu", count);
            return;
        }
        rank_rect(out, (struct svg_box){x, y - height / 2, width, height}, "segment", i,
                  " rx=\"4\" stroke=\"#444\"");
        svg_put_text(out, (struct svg_text){x + width / 2, y, DRAW_SMALL, SVG_MIDDLE, NULL}, 0,
                     name);
        x += width + 3;
        count--;
    }
}

static void put_memory(FILE *out, const struct drawing *d, size_t node, int x, int y)
{
    svg_rect(out, (struct svg_box){x, y, d->block.width, d->strip_height},
             "class=\"memory\" fill=\"#efe7f7\" stroke=\"#665588\" rx=\"4\"");
    put_node_name(out, d, node, x + DRAW_PAD, y + DRAW_HEAD / 2 + 1);
    put_segments(out, d, node, d->block_count, x + DRAW_PAD, y + 3 * DRAW_HEAD / 2);
}

/* A number on a line between two boxes. */
static void put_edge(FILE *out, int x1, int y1, int x2, int y2, const char *name)
{
    int x = (x1 + x2) / 2, y = (y1 + y2) / 2, half = svg_text_width(name, DRAW_SMALL) / 2 + 1;
    svg_line(out, x1, y1, x2, y2);
    svg_rect(out, (struct svg_box){x - half, y - 6, 2 * half, 12}, "fill=\"#fff\"");
    svg_put_text(out, (struct svg_text){x, y, DRAW_SMALL, SVG_MIDDLE, "class=\"edge\""}, 0, name);
}

static unsigned distance(const struct drawing *d, size_t from, size_t to)
{
    return d->shown->machine->distances[from * d->shown->machine->node_count + to];
}

/* The block and the memory-only nodes below it. */
static void put_block(FILE *out, const struct drawing *d, size_t index, int x, int y)
{
    const struct drawn_span *block = &d->blocks[index];
    int inside = x + (d->block.width - (int)d->grid.groups * (d->group.width + DRAW_GROUP_GAP) +
                      DRAW_GROUP_GAP) /
                         2;
    svg_rect(out, (struct svg_box){x, y, d->block.width, d->block.height},
             "class=\"node\" fill=\"#fbfbf5\" stroke=\"#777\" rx=\"4\"");
    put_node_name(out, d, block->what, x + DRAW_PAD, y + DRAW_HEAD / 2 + 1);
    put_segments(out, d, block->what, index, x + DRAW_PAD, y + 3 * DRAW_HEAD / 2);
    for (size_t i = 0; i < block->count; i++)
        put_group(out, d, &d->groups[block->first + i],
                  inside + (int)(i % d->grid.groups) * (d->group.width + DRAW_GROUP_GAP),
                  y + 2 * DRAW_HEAD +
                      (int)(i / d->grid.groups) * (d->group.height + DRAW_GROUP_GAP));
    y += d->block.height;
    for (size_t i = 0; i < d->memory_max; i++) {
        size_t node = drawing_memory(d, index, i);
        char name[16];
        if (node == d->shown->machine->node_count)
            return;
        y += DRAW_STRIP_GAP;
        put_memory(out, d, node, x, y);
        if (d->has_edges) {
            snprintf(name, sizeof name, "%u", distance(d, block->what, node));
            put_edge(out, x + d->block.width / 2, y - DRAW_STRIP_GAP, x + d->block.width / 2, y,
                     name);
        }
        y += d->strip_height;
    }
}

static int tall_height(const struct drawing *d)
{
    return d->block.height + (int)d->memory_max * (d->strip_height + DRAW_STRIP_GAP);
}

/* To the neighbours on the right and below. */
static void put_block_edges(FILE *out, const struct drawing *d, const struct drawn_span *package,
                            size_t i, int x, int y)
{
    char name[16];
    size_t right = i + 1, below = i + d->grid.blocks, from = d->blocks[package->first + i].what;
    if (right % d->grid.blocks && right < package->count) {
        snprintf(name, sizeof name, "%u",
                 distance(d, from, d->blocks[package->first + right].what));
        put_edge(out, x + d->block.width, y + d->block.height / 2,
                 x + d->block.width + d->block_gap, y + d->block.height / 2, name);
    }
    if (below < package->count && d->memory_max == 0) {
        snprintf(name, sizeof name, "%u",
                 distance(d, from, d->blocks[package->first + below].what));
        put_edge(out, x + d->block.width / 2, y + d->block.height, x + d->block.width / 2,
                 y + d->block.height + DRAW_HEAD, name);
    }
}

static void put_package(FILE *out, const struct drawing *d, const struct drawn_span *package, int x,
                        int y)
{
    int step_x = d->block.width + d->block_gap,
        step_y = tall_height(d) + (d->has_edges ? DRAW_HEAD : DRAW_PAD);
    svg_rect(out, (struct svg_box){x, y, d->package.width, d->package.height},
             "class=\"package\" fill=\"#eef1f4\" stroke=\"#444\" rx=\"6\"");
    svg_print(out,
              (struct svg_text){x + DRAW_PAD, y + DRAW_HEAD / 2 + 1, DRAW_TEXT, SVG_LEFT,
                                "font-weight=\"bold\""},
              "package %zu", package->what);
    for (size_t i = 0; i < package->count; i++) {
        int left = x + DRAW_PAD + (int)(i % d->grid.blocks) * step_x;
        int top = y + DRAW_HEAD + (int)(i / d->grid.blocks) * step_y;
        put_block(out, d, package->first + i, left, top);
        if (d->has_edges)
            put_block_edges(out, d, package, i, left, top);
    }
}

/* "21", or "21-28" where the nodes of two packages are not equally far. */
static void name_distances(const struct drawing *d, const struct drawn_span *from,
                           const struct drawn_span *to, char *text_out, size_t bytes)
{
    unsigned least = ~0u, most = 0;
    for (size_t i = 0; i < from->count; i++)
        for (size_t j = 0; j < to->count; j++) {
            unsigned it =
                distance(d, d->blocks[from->first + i].what, d->blocks[to->first + j].what);
            least = it < least ? it : least;
            most = it > most ? it : most;
        }
    snprintf(text_out, bytes, least == most ? "%u" : "%u-%u", least, most);
}

void draw_machine(FILE *out, const struct drawing *d, int x, int y)
{
    int width = d->package.width, height = d->package.height;
    for (size_t i = 0; i < d->package_count; i++) {
        int left = x + (int)(i % d->grid.packages) * (width + d->package_gap);
        int top = y + (int)(i / d->grid.packages) * (height + DRAW_HEAD);
        size_t right = i + 1, below = i + d->grid.packages;
        char name[32];
        put_package(out, d, &d->packages[i], left, top);
        if (d->has_edges && right % d->grid.packages && right < d->package_count) {
            name_distances(d, &d->packages[i], &d->packages[right], name, sizeof name);
            put_edge(out, left + width, top + height / 2, left + width + d->package_gap,
                     top + height / 2, name);
        }
        if (d->has_edges && below < d->package_count) {
            name_distances(d, &d->packages[i], &d->packages[below], name, sizeof name);
            put_edge(out, left + width / 2, top + height, left + width / 2,
                     top + height + DRAW_HEAD, name);
        }
    }
}
