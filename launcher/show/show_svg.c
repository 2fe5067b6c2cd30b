/* SPDX-License-Identifier: Apache-2.0 */
/*
 * show_svg.c - --draw: a page with the machine, what its colours mean, the ranks one by one and the
 * distances between nodes. The same plan gives the same bytes. The file appears whole or not at
 * all.
 */
#include "show_svg.h"
#include "common/say.h"
#include "plan/plan.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    ROW = 18,
    LEGEND_COLUMNS = 6,
    LEGEND_WIDTH = 556,
    LEGEND_ROWS = 12, /* more are worth a second column */
    CELL_WIDTH = 30,
    MATRIX_MAX = 32, /* nodes; a larger one can't be read, and JSON has it */
};

struct page {
    FILE *out;
    const struct drawing *drawing;
    int width, y; /* where the next part begins */
    bool failed;  /* something is left out for want of memory */
};

/* Where the legend's columns begin, and how wide they are. */
static const struct {
    const char *title;
    int x, width;
} legend[LEGEND_COLUMNS] = {
    {"rank", 0, 34},      {"cores", 38, 112},   {"CPUs", 154, 144},
    {"memory", 302, 114}, {"segment", 420, 62}, {"threads", 486, 60},
};

/* A sentence, over as many lines as it needs. */
static void put_note(struct page *page, int size, const char *note)
{
    size_t room = (size_t)((page->width - 2 * DRAW_MARGIN) / svg_text_width("0", size));
    char line[256];
    while (*note) {
        size_t length = strlen(note);
        if (length > room) {
            for (length = room; length > 0 && note[length] != ' ';)
                length--;
            length = length ? length : room;
        }
        snprintf(line, sizeof line, "%.*s", (int)length, note);
        svg_put_text(page->out, (struct svg_text){DRAW_MARGIN, page->y + 9, size, SVG_LEFT, NULL},
                     0, line);
        page->y += ROW - 2;
        for (note += length; *note == ' ';)
            note++;
    }
}

/* The name of a file without its folders, which say nothing about the machine. */
static const char *short_name(const struct launch_shown *shown)
{
    const char *slash = shown->options->topology ? strrchr(shown->options->topology, '/') : NULL;
    return slash ? slash + 1 : launch_machine_name(shown);
}

static void put_title(struct page *page)
{
    const struct launch_shown *shown = page->drawing->shown;
    struct svg_text text = {DRAW_MARGIN, page->y + 11, 18, SVG_LEFT, "font-weight=\"bold\""};
    int room = page->width - 2 * DRAW_MARGIN;
    char *words = NULL, *name = launch_utf8(short_name(shown));
    size_t bytes = 0, ranks = shown->plan->rank_count;
    if (name && asprintf(&words, "%zu rank%s on %s", ranks, ranks == 1 ? "" : "s", name) >= 0) {
        svg_put_text(page->out, text, room, words);
        free(words);
    } else {
        page->failed = true;
    }
    free(name);
    words = NULL;
    FILE *out = open_memstream(&words, &bytes);
    if (out) {
        launch_put_parts(shown, out);
        if (shown->options->no_bind)
            fputs("; nothing is bound", out);
    }
    page->y += 26;
    if (out && launch_close(out, &words) == 0)
        put_note(page, DRAW_TEXT, words);
    else
        page->failed = true;
    free(words);
    page->y += 10;
}

static void put_key(struct page *page, int *x, const char *attributes, const char *words)
{
    svg_rect(page->out, (struct svg_box){*x, page->y + 2, 14, 14}, attributes);
    svg_put_text(page->out, (struct svg_text){*x + 19, page->y + 9, 11, SVG_LEFT, NULL}, 0, words);
    *x += 19 + svg_text_width(words, 11) + 10;
}

/* Only what this drawing has. */
static void put_keys(struct page *page)
{
    const struct drawing *d = page->drawing;
    bool has_reserved = false, has_idle = false, has_taken = false, has_forbidden = false;
    bool has_slow = false, has_fast = false;
    int x = DRAW_MARGIN;
    for (size_t i = 0; i < d->core_count; i++) {
        const struct drawn_core *core = &d->cores[i];
        has_reserved = has_reserved || core->is_reserved;
        has_forbidden = has_forbidden || !core->is_allowed;
        has_taken = has_taken || (core->is_allowed && core->is_taken && !core->ranks);
        has_idle = has_idle || (core->is_allowed && !core->is_taken && !core->ranks);
        has_slow = has_slow || core->is_slow;
        has_fast = has_fast || !core->is_slow;
    }
    if (has_reserved)
        put_key(page, &x, "fill=\"url(#hatch)\" stroke=\"#444\"", "reserved");
    if (has_idle)
        put_key(page, &x, "fill=\"" DRAW_IDLE "\" stroke=\"#444\"", "idle");
    if (has_taken)
        put_key(page, &x, "fill=\"" DRAW_TAKEN "\" stroke=\"#444\"", "held by another job");
    if (has_forbidden)
        put_key(page, &x, "fill=\"" DRAW_FORBIDDEN "\" stroke=\"#444\"", "not allowed");
    if (has_slow && has_fast)
        put_key(page, &x, "fill=\"#fff\" stroke=\"#444\" rx=\"7\"", "slower core");
    if (d->has_l3s)
        put_key(page, &x, "fill=\"" DRAW_L3 "\" rx=\"3\"", "cores of one L3");
    page->y += x > DRAW_MARGIN ? 28 : 6;
}

static void put_cell(struct page *page, int x, int y, size_t column, const char *more,
                     const char *words)
{
    bool is_number = column == LEGEND_COLUMNS - 1;
    struct svg_text text = {x + legend[column].x + (is_number ? legend[column].width : 0), y, 11,
                            is_number ? SVG_RIGHT : SVG_LEFT, more};
    svg_put_text(page->out, text, legend[column].width, *words ? words : "-");
}

static void put_set(struct page *page, int x, int y, size_t column, const char *before,
                    const struct shmrt_bitmap *set)
{
    char *numbers = launch_set_text(set), *words = NULL;
    if (numbers && asprintf(&words, "%s%s", before, numbers) >= 0) {
        put_cell(page, x, y, column, NULL, words);
        free(words);
    } else {
        page->failed = true;
    }
    free(numbers);
}

static void put_rank(struct page *page, size_t index, int x, int y)
{
    const struct launch_shown *shown = page->drawing->shown;
    const struct shmrt_plan_rank *rank = &shown->plan->ranks[index];
    const char *own = launch_own_threads();
    char words[64], attributes[64];
    snprintf(attributes, sizeof attributes, "class=\"legend\" fill=\"%s\" stroke=\"#444\"",
             draw_rank_colour(index));
    svg_rect(page->out, (struct svg_box){x, y - 7, 28, 14}, attributes);
    svg_print(page->out, (struct svg_text){x + 14, y, 11, SVG_MIDDLE, "font-weight=\"bold\""},
              "%zu", index);
    put_set(page, x, y, 1, "", &rank->cores);
    put_set(page, x, y, 2, "", &rank->cpus);
    snprintf(words, sizeof words, "%s ", launch_choice_word("mem", (int)rank->memory));
    if (rank->memory == SHMRT_MEMORY_LOCAL)
        put_cell(page, x, y, 3, NULL, "local");
    else
        put_set(page, x, y, 3, words, &rank->memory_nodes);
    snprintf(words, sizeof words, "node %zu", rank->segment_node);
    put_cell(page, x, y, 4, NULL, words);
    snprintf(words, sizeof words, "%zu", rank->threads);
    put_cell(page, x, y, 5, NULL, own ? own : words);
}

/* One below the other, or in two columns where that is long and the page wide. Returns the width.
 */
static int put_ranks(struct page *page)
{
    size_t ranks = page->drawing->shown->plan->rank_count, columns = 1;
    if (ranks > LEGEND_ROWS && page->width >= 2 * LEGEND_WIDTH + 3 * DRAW_MARGIN)
        columns = 2;
    size_t rows = (ranks + columns - 1) / columns;
    for (size_t i = 0; i < columns; i++)
        for (size_t column = 0; column < LEGEND_COLUMNS; column++)
            put_cell(page, DRAW_MARGIN + (int)i * (LEGEND_WIDTH + DRAW_MARGIN), page->y + 9, column,
                     "font-weight=\"bold\"", legend[column].title);
    for (size_t i = 0; i < ranks; i++)
        put_rank(page, i, DRAW_MARGIN + (int)(i / rows) * (LEGEND_WIDTH + DRAW_MARGIN),
                 page->y + 9 + ROW * (int)(i % rows + 1));
    page->y += ROW * (int)(rows + 1) + 10;
    return (int)columns * (LEGEND_WIDTH + DRAW_MARGIN);
}

/* The farther the darker, in four steps of what occurs. */
static const char *shade(unsigned distance, unsigned most)
{
    static const char *const shades[] = {"#ffffff", "#f1eee6", "#e2dbc8", "#d2c7a8"};
    return distance <= 10 || most <= 10 ? shades[0] : shades[1 + (distance - 11) * 3 / (most - 10)];
}

static void put_row(struct page *page, size_t node, int x, int y, unsigned most)
{
    const struct shmrt_machine *machine = page->drawing->shown->machine;
    svg_print(page->out,
              (struct svg_text){x + CELL_WIDTH / 2, y + 9, DRAW_SMALL, SVG_MIDDLE,
                                "font-weight=\"bold\""},
              "%zu", machine->nodes[node].number);
    for (size_t i = 0; i < machine->node_count; i++) {
        char attributes[64];
        unsigned distance = machine->distances[node * machine->node_count + i];
        if (!drawing_has_node(page->drawing, i))
            continue;
        x += CELL_WIDTH;
        snprintf(attributes, sizeof attributes, "fill=\"%s\" stroke=\"#bbb\"",
                 shade(distance, most));
        svg_rect(page->out, (struct svg_box){x, y, CELL_WIDTH, ROW}, attributes);
        svg_print(page->out,
                  (struct svg_text){x + CELL_WIDTH / 2, y + 9, DRAW_SMALL, SVG_MIDDLE,
                                    "class=\"distance\""},
                  "%u", distance);
    }
}

static void put_matrix(struct page *page, int x, int y)
{
    const struct shmrt_machine *machine = page->drawing->shown->machine;
    unsigned most = 10;
    int along = x;
    for (size_t i = 0; i < machine->node_count * machine->node_count; i++)
        if (drawing_has_node(page->drawing, i / machine->node_count) &&
            drawing_has_node(page->drawing, i % machine->node_count) &&
            machine->distances[i] > most)
            most = machine->distances[i];
    svg_print(page->out, (struct svg_text){x, y + 9, 11, SVG_LEFT, "font-weight=\"bold\""},
              "distances between nodes");
    y += ROW;
    for (size_t i = 0; i < machine->node_count; i++)
        if (drawing_has_node(page->drawing, i))
            svg_print(page->out,
                      (struct svg_text){(along += CELL_WIDTH) + CELL_WIDTH / 2, y + 9, DRAW_SMALL,
                                        SVG_MIDDLE, "font-weight=\"bold\""},
                      "%zu", machine->nodes[i].number);
    for (size_t i = 0; i < machine->node_count; i++)
        if (drawing_has_node(page->drawing, i))
            put_row(page, i, x, y += ROW, most);
}

static size_t shown_nodes(const struct drawing *d)
{
    size_t count = 0;
    for (size_t i = 0; i < d->shown->machine->node_count; i++)
        count += drawing_has_node(d, i);
    return d->has_edges && count <= MATRIX_MAX ? count : 0;
}

/* Beside the ranks where there is room, else below them. */
static void put_distances(struct page *page, int top, int legend_width)
{
    size_t count = shown_nodes(page->drawing);
    int width = CELL_WIDTH * (int)(count + 1), height = ROW * (int)(count + 2) + 10;
    int x = DRAW_MARGIN + legend_width;
    if (count == 0)
        return;
    bool is_beside = x + width + DRAW_MARGIN <= page->width;
    put_matrix(page, is_beside ? x : DRAW_MARGIN, is_beside ? top : page->y);
    int end = (is_beside ? top : page->y) + height;
    page->y = end > page->y ? end : page->y;
}

static void put_page(struct page *page)
{
    const struct drawing *d = page->drawing;
    const struct shmrt_plan *plan = d->shown->plan;
    put_title(page);
    draw_machine(page->out, d, DRAW_MARGIN, page->y);
    page->y += d->whole.height + 10;
    put_keys(page);
    int top = page->y;
    put_distances(page, top, put_ranks(page));
    for (size_t i = 0; i < plan->warning_count; i++)
        put_note(page, 11, plan->warnings[i]);
    page->y += DRAW_MARGIN - 6;
}

/* As wide as the widest part. */
static int page_width(const struct drawing *d)
{
    int columns = d->shown->plan->rank_count > 2 * LEGEND_ROWS ? 2 : 1;
    int legend_width = columns * (LEGEND_WIDTH + DRAW_MARGIN) - DRAW_MARGIN;
    int matrix_width = CELL_WIDTH * (int)(shown_nodes(d) + 1);
    int width = d->whole.width;
    width = legend_width > width ? legend_width : width;
    width = matrix_width > width ? matrix_width : width;
    return width + 2 * DRAW_MARGIN;
}

/* The body comes first, since the height that stands before it is known after it. */
static int draw(const struct launch_shown *shown, char **text_out, size_t *bytes_out)
{
    struct drawing d;
    char *body = NULL, title[64];
    size_t bytes = 0;
    int rc = drawing_make(shown, &d);
    if (rc)
        return rc;
    struct page page = {.drawing = &d, .y = DRAW_MARGIN, .width = page_width(&d)};
    page.out = open_memstream(&body, &bytes);
    if (page.out)
        put_page(&page);
    drawing_free(&d);
    FILE *whole = NULL;
    if (page.out && launch_close(page.out, &body) == 0 && !page.failed)
        whole = open_memstream(text_out, bytes_out);
    if (whole) {
        snprintf(title, sizeof title, "%zu rank%s placed by shm-launch", shown->plan->rank_count,
                 shown->plan->rank_count == 1 ? "" : "s");
        svg_begin(whole, page.width, page.y, title);
        fwrite(body, 1, bytes, whole);
        svg_end(whole);
    }
    free(body);
    return whole && launch_close(whole, text_out) == 0 ? 0 : -ENOMEM;
}

static int write_all(int fd, const char *text, size_t bytes)
{
    while (bytes > 0) {
        ssize_t wrote = write(fd, text, bytes);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return -errno;
        text += wrote;
        bytes -= (size_t)wrote;
    }
    return 0;
}

/* Into a new file beside @path, which then takes its name. */
static int replace_file(const char *path, const char *text, size_t bytes)
{
    char *name;
    mode_t mask = umask(0);
    umask(mask);
    if (asprintf(&name, "%s.XXXXXX", path) < 0)
        return -ENOMEM;
    int fd = mkostemp(name, O_CLOEXEC), rc = fd < 0 ? -errno : write_all(fd, text, bytes);
    if (rc == 0 && fchmod(fd, 0666 & ~mask))
        rc = -errno;
    if (fd >= 0 && close(fd) && rc == 0)
        rc = -errno;
    if (rc == 0 && rename(name, path))
        rc = -errno;
    if (fd >= 0 && rc)
        unlink(name);
    free(name);
    return rc;
}

/* A device or a pipe is written to, as any program would; a link is followed. */
static int write_file(const char *path, const char *text, size_t bytes)
{
    struct stat status;
    char *target;
    if (strcmp(path, "-") == 0)
        return write_all(STDOUT_FILENO, text, bytes);
    if (stat(path, &status) == 0 && !S_ISREG(status.st_mode)) {
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        int rc = fd < 0 ? -errno : write_all(fd, text, bytes);
        if (fd >= 0)
            close(fd);
        return rc;
    }
    target = realpath(path, NULL);
    int rc = replace_file(target ? target : path, text, bytes);
    free(target);
    return rc;
}

int launch_draw(const struct launch_shown *shown, const char *path, struct shmrt_error *error_out)
{
    char *text = NULL;
    size_t bytes = 0;
    int rc = draw(shown, &text, &bytes);
    if (rc == 0)
        rc = write_file(path, text, bytes);
    free(text);
    if (rc)
        return launch_error(error_out, rc, "--draw: %s can't be written: %s",
                            strcmp(path, "-") == 0 ? "standard output" : path, strerror(-rc));
    return 0;
}
