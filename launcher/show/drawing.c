/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drawing.c - finds the boxes, and of all ways to arrange them the one in which cores are large and
 * the whole still fits a page.
 */
#include "drawing.h"
#include "svg.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

enum {
    BLOCK_WIDTH_MIN = 150, /* "node 10  1.5 TiB HBM" */
    PACKAGE_WIDTH_MIN = 110,
    CORE_WIDTH_MIN = 5,
    CORE_WIDTH_MAX = 64,
    CORE_WIDTH_GOOD = 24, /* has room for a rank's number; more where the CPUs' need it */
    PAGE_HEIGHT = 560,
    WIDEST_GRID = 32,
};

static uint64_t ranks_of(const struct shmrt_plan *plan, size_t core, bool *is_reserved_out)
{
    uint64_t ranks = 0;
    *is_reserved_out = false;
    for (size_t i = 0; i < plan->rank_count; i++) {
        if (shmrt_bitmap_has(&plan->ranks[i].cores, core))
            ranks |= UINT64_C(1) << i;
        if (shmrt_bitmap_has(&plan->ranks[i].reserved, core))
            *is_reserved_out = true;
    }
    return ranks;
}

/* One more inner box: in the outer one at the row's end if that is of the same thing, else in the
 * next. */
static void extend(struct drawn_span *spans, size_t *count, size_t what, bool is_new,
                   size_t inner_count)
{
    if (is_new)
        spans[(*count)++] = (struct drawn_span){.first = inner_count - 1, .what = what};
    spans[*count - 1].count = inner_count - spans[*count - 1].first;
}

/* CPUs stand in order of nearness: what belongs together is together. */
static void find_boxes(struct drawing *d)
{
    const struct shmrt_machine *machine = d->shown->machine;
    for (size_t i = 0; i < machine->cpu_count; i++) {
        const struct shmrt_machine_cpu *cpu = &machine->cpus[i], *last = i ? cpu - 1 : NULL;
        bool is_package = !last || cpu->package != last->package;
        bool is_block = is_package || cpu->node != last->node;
        bool is_group = is_block || cpu->l3 != last->l3;
        if (is_group || cpu->core != last->core) {
            struct drawn_core *core = &d->cores[d->core_count++];
            *core = (struct drawn_core){.first_cpu = i, .is_slow = cpu->kind > 0};
            core->ranks = ranks_of(d->shown->plan, cpu->core, &core->is_reserved);
        }
        struct drawn_core *core = &d->cores[d->core_count - 1];
        core->cpu_count++;
        core->is_allowed = core->is_allowed || cpu->allowed;
        core->is_taken = core->is_taken || cpu->taken;
        extend(d->groups, &d->group_count, cpu->l3, is_group, d->core_count);
        extend(d->blocks, &d->block_count, cpu->node, is_block, d->group_count);
        extend(d->packages, &d->package_count, cpu->package, is_package, d->block_count);
    }
}

/* A node whose cores lie in several blocks keeps its memory-only neighbours at the first one. */
static bool is_host(const struct drawing *d, size_t block, size_t node)
{
    size_t first = 0, host = d->shown->machine->nodes[node].host;
    while (first < d->block_count && d->blocks[first].what != host)
        first++;
    return block == (first < d->block_count ? first : 0);
}

bool drawing_has_node(const struct drawing *d, size_t node)
{
    const struct shmrt_machine_node *it = &d->shown->machine->nodes[node];
    return it->has_cpus || it->memory_bytes > 0;
}

size_t drawing_memory(const struct drawing *d, size_t block, size_t index)
{
    const struct shmrt_machine *machine = d->shown->machine;
    size_t node = 0;
    for (; node < machine->node_count; node++)
        if (!machine->nodes[node].has_cpus && drawing_has_node(d, node) &&
            is_host(d, block, node) && index-- == 0)
            break;
    return node;
}

void drawing_name_cpus(const struct drawing *d, const struct drawn_core *core, char *text_out,
                       size_t bytes)
{
    const struct shmrt_machine_cpu *cpus = d->shown->machine->cpus + core->first_cpu;
    size_t at = 0;
    for (size_t i = 0; i < core->cpu_count && at < bytes; i++)
        at += (size_t)snprintf(text_out + at, bytes - at, "%s%zu", i ? "," : "", cpus[i].number);
    if (core->cpu_count > 2 && at < bytes &&
        cpus[core->cpu_count - 1].number == cpus[0].number + core->cpu_count - 1)
        snprintf(text_out, bytes, "%zu-%zu", cpus[0].number, cpus[core->cpu_count - 1].number);
}

size_t drawing_segment_block(const struct drawing *d, size_t rank)
{
    const struct shmrt_plan_rank *it = &d->shown->plan->ranks[rank];
    size_t found = d->block_count;
    for (size_t i = 0; i < d->package_count; i++)
        for (size_t j = 0; j < d->packages[i].count; j++) {
            size_t block = d->packages[i].first + j;
            bool is_near = d->packages[i].what == it->package;
            if (d->shown->machine->nodes[d->blocks[block].what].number == it->segment_node &&
                (found == d->block_count || is_near))
                found = block;
        }
    return found;
}

static size_t largest(const struct drawn_span *spans, size_t count)
{
    size_t most = 1;
    for (size_t i = 0; i < count; i++)
        if (spans[i].count > most)
            most = spans[i].count;
    return most;
}

static size_t rows(size_t count, size_t columns)
{
    return (count + columns - 1) / columns;
}

/* @count boxes of one size, so many side by side. */
static struct drawn_size tile(struct drawn_size box, size_t count, size_t columns, int gap_x,
                              int gap_y)
{
    int down = (int)rows(count, columns);
    return (struct drawn_size){
        .width = (int)columns * (box.width + gap_x) - gap_x,
        .height = down * (box.height + gap_y) - gap_y,
    };
}

static struct drawn_size frame(struct drawn_size inner, int heads, int width_min)
{
    inner.width += 2 * DRAW_PAD;
    inner.height += DRAW_PAD + heads * DRAW_HEAD + (heads ? 0 : DRAW_PAD);
    if (inner.width < width_min)
        inner.width = width_min;
    return inner;
}

static void measure(struct drawing *d, const struct drawn_grid *most, int core_width)
{
    const struct drawn_grid *grid = &d->grid;
    int gap = DRAW_CORE_GAP, down = d->has_edges ? DRAW_HEAD : DRAW_PAD;
    d->core.width = core_width;
    int least = core_width < d->name_width + 4 ? 16 : 30; /* of one line of text, and of two */
    d->core.height = core_width < least ? least : core_width > 34 ? 34 : core_width;
    d->group = tile(d->core, most->cores, grid->cores, gap, gap);
    if (d->has_l3s) {
        d->group.width += DRAW_PAD;
        d->group.height += DRAW_PAD;
    }
    d->block = frame(tile(d->group, most->groups, grid->groups, DRAW_GROUP_GAP, DRAW_GROUP_GAP), 2,
                     BLOCK_WIDTH_MIN);
    struct drawn_size tall = d->block; /* with the memory-only nodes below it */
    tall.height += (int)d->memory_max * (d->strip_height + DRAW_STRIP_GAP);
    d->package =
        frame(tile(tall, most->blocks, grid->blocks, d->block_gap, down), 1, PACKAGE_WIDTH_MIN);
    d->whole = tile(d->package, most->packages, grid->packages, d->package_gap, DRAW_HEAD);
}

static int empty_places(size_t count, size_t columns)
{
    return (int)(rows(count, columns) * columns - count);
}

/* Large cores are good, what is taller than a page or has holes is not. INT_MIN: does not fit. */
static int judge(struct drawing *d, const struct drawn_grid *most)
{
    const struct drawn_grid *grid = &d->grid;
    int width = CORE_WIDTH_MAX + 1;
    do
        measure(d, most, --width);
    while (d->whole.width > DRAW_WIDTH_MAX && width > CORE_WIDTH_MIN);
    if (d->whole.width > DRAW_WIDTH_MAX)
        return INT_MIN;
    int over = d->whole.height > PAGE_HEIGHT ? d->whole.height - PAGE_HEIGHT : 0;
    int good = d->name_width + 4 > CORE_WIDTH_GOOD ? d->name_width + 4 : CORE_WIDTH_GOOD;
    return 20 * (width < good ? width : good) - d->whole.height / 2 - 2 * over -
           20 * empty_places(most->cores, grid->cores) -
           40 * empty_places(most->groups, grid->groups) -
           60 * empty_places(most->blocks, grid->blocks) -
           120 * empty_places(most->packages, grid->packages);
}

static size_t limit(size_t count)
{
    return count < WIDEST_GRID ? count : WIDEST_GRID;
}

static void arrange(struct drawing *d)
{
    const struct drawn_grid most = {
        .packages = d->package_count,
        .blocks = largest(d->packages, d->package_count),
        .groups = largest(d->blocks, d->block_count),
        .cores = largest(d->groups, d->group_count),
    };
    struct drawn_grid best = {1, 1, 1, 1};
    int best_score = INT_MIN, best_width = CORE_WIDTH_MIN;
    for (size_t p = 1; p <= limit(most.packages); p++)
        for (size_t b = 1; b <= limit(most.blocks); b++)
            for (size_t g = 1; g <= limit(most.groups); g++)
                for (size_t c = 1; c <= limit(most.cores); c++) {
                    if (p * b * g * c > DRAW_WIDTH_MAX / CORE_WIDTH_MIN)
                        break;
                    d->grid = (struct drawn_grid){p, b, g, c};
                    int score = judge(d, &most);
                    if (score <= best_score)
                        continue;
                    best = d->grid;
                    best_score = score;
                    best_width = d->core.width;
                }
    d->grid = best;
    measure(d, &most, best_width);
}

int drawing_make(const struct launch_shown *shown, struct drawing *drawing_out)
{
    size_t cpus = shown->machine->cpu_count;
    struct drawing d = {.shown = shown};
    d.cores = calloc(cpus, sizeof *d.cores);
    d.groups = calloc(3 * cpus, sizeof *d.groups);
    if (!d.cores || !d.groups) {
        drawing_free(&d);
        return -ENOMEM;
    }
    d.blocks = d.groups + cpus;
    d.packages = d.blocks + cpus;
    find_boxes(&d);
    for (size_t i = 0; i < d.block_count; i++) {
        size_t count = 0;
        while (drawing_memory(&d, i, count) < shown->machine->node_count)
            count++;
        d.memory_max = count > d.memory_max ? count : d.memory_max;
        d.has_l3s = d.has_l3s || d.blocks[i].count > 1;
    }
    for (size_t i = 0; i < d.core_count; i++) {
        char name[64];
        drawing_name_cpus(&d, &d.cores[i], name, sizeof name);
        int width = svg_text_width(name, DRAW_TINY);
        d.name_width = width > d.name_width ? width : d.name_width;
    }
    d.strip_height = DRAW_HEAD + 2;
    for (size_t i = 0; i < shown->plan->rank_count; i++)
        if (drawing_segment_block(&d, i) == d.block_count)
            d.strip_height = 2 * DRAW_HEAD + DRAW_PAD;
    d.has_edges = shown->machine->distances && shown->machine->node_count > 1;
    d.block_gap = d.has_edges ? 34 : 8;
    d.package_gap = d.has_edges ? 60 : 16;
    arrange(&d);
    *drawing_out = d;
    return 0;
}

void drawing_free(struct drawing *drawing)
{
    free(drawing->cores);
    free(drawing->groups);
}
