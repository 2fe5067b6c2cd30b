/* SPDX-License-Identifier: Apache-2.0 */
/*
 * show_table.c - a plan as a table, a rank a row. Lists are in the kernel's notation; where the
 * CPUs are numbered in turn over the sockets they stay long all the same, and such a cell goes on
 * in the next lines, so that the table is never wider than its reader's terminal.
 */
#include "plan/plan.h"
#include "show.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 9, GAP = 2, LEAST_WIDTH = 12 };

/* What may be broken at its commas, and stands to the left. */
static const struct {
    const char *title;
    bool is_list;
} columns[COLUMNS] = {
    {"rank", false}, {"package", true}, {"nodes", true},    {"cores", true},    {"reserved", true},
    {"CPUs", true},  {"memory", true},  {"segment", false}, {"threads", false},
};

struct table {
    size_t rows; /* the first has the titles */
    char *(*cells)[COLUMNS];
    size_t widths[COLUMNS];
};

static char *number(const char *before, size_t value)
{
    char *text;
    return asprintf(&text, "%s%zu", before, value) < 0 ? NULL : text;
}

static char *list(const char *before, const struct shmrt_bitmap *set)
{
    char *numbers = launch_set_text(set), *text = NULL;
    if (numbers && asprintf(&text, "%s%s", *numbers ? before : "", *numbers ? numbers : "-") < 0)
        text = NULL;
    free(numbers);
    return text;
}

static char *memory(const struct shmrt_plan_rank *rank)
{
    char before[32];
    const char *policy = launch_choice_word("mem", (int)rank->memory);
    if (rank->memory == SHMRT_MEMORY_LOCAL)
        return strdup(policy);
    snprintf(before, sizeof before, "%s ", policy);
    return list(before, &rank->memory_nodes);
}

static void fill_row(const struct launch_shown *shown, size_t index, char *cells_out[COLUMNS])
{
    const struct shmrt_plan_rank *rank = &shown->plan->ranks[index];
    const char *own = launch_own_threads();
    bool is_free = shown->options->no_bind;
    char *cells[COLUMNS] = {
        number("", index),
        list("", &rank->packages),
        list("", &rank->nodes),
        list("", &rank->cores),
        list("", &rank->reserved),
        is_free ? strdup("any") : list("", &rank->cpus),
        is_free ? strdup("any") : memory(rank),
        is_free ? strdup("any") : number("node ", rank->segment_node),
        own ? strdup(own) : number("", rank->threads),
    };
    memcpy(cells_out, cells, sizeof cells);
}

/* Takes from the widest list until all fit, or no list is wide any more. */
static void fit(struct table *table, size_t width)
{
    size_t total = GAP * (COLUMNS - 1);
    for (size_t column = 0; column < COLUMNS; column++)
        total += table->widths[column];
    for (; total > width; total--) {
        size_t widest = 0;
        for (size_t column = 1; column < COLUMNS; column++)
            if (columns[column].is_list && table->widths[column] > table->widths[widest])
                widest = column;
        if (!columns[widest].is_list || table->widths[widest] <= LEAST_WIDTH)
            return;
        table->widths[widest]--;
    }
}

static void measure(struct table *table, size_t width)
{
    for (size_t row = 0; row < table->rows; row++)
        for (size_t column = 0; column < COLUMNS; column++) {
            size_t length = strlen(table->cells[row][column]);
            if (length > table->widths[column])
                table->widths[column] = length;
        }
    fit(table, width);
}

/* How much of @text goes into this line: all, or up to the last comma that fits. */
static size_t piece(const char *text, size_t width)
{
    size_t length = strlen(text);
    if (length <= width)
        return length;
    for (length = width; length > 0 && text[length - 1] != ',';)
        length--;
    return length ? length : width;
}

/* One line of a row, which takes what it prints off the front of @rests. */
static bool print_line(const struct table *table, const char *rests[COLUMNS], FILE *out)
{
    char line[LAUNCH_WIDTH_MAX];
    size_t at = 0;
    bool is_more = false;
    for (size_t column = 0; column < COLUMNS; column++) {
        size_t width = table->widths[column], length = piece(rests[column], width);
        bool is_left = columns[column].is_list || column == COLUMNS - 2;
        size_t before = is_left ? 0 : width - length;
        if (at + width + GAP >= sizeof line)
            break;
        memset(line + at, ' ', width + GAP);
        memcpy(line + at + before, rests[column], length);
        at += width + GAP;
        rests[column] += length;
        is_more = is_more || *rests[column];
    }
    while (at > 0 && line[at - 1] == ' ')
        at--;
    fprintf(out, "%.*s\n", (int)at, line);
    return is_more;
}

static void print_table(const struct table *table, FILE *out)
{
    for (size_t row = 0; row < table->rows; row++) {
        const char *rests[COLUMNS];
        for (size_t column = 0; column < COLUMNS; column++)
            rests[column] = table->cells[row][column];
        while (print_line(table, rests, out))
            continue;
    }
}

static int show_ranks(const struct launch_shown *shown, FILE *out, size_t width)
{
    struct table table = {.rows = shown->plan->rank_count + 1};
    bool complete = true;
    table.cells = calloc(table.rows, sizeof *table.cells);
    if (!table.cells)
        return -ENOMEM;
    for (size_t column = 0; column < COLUMNS; column++)
        table.cells[0][column] = strdup(columns[column].title);
    for (size_t i = 0; i < shown->plan->rank_count; i++)
        fill_row(shown, i, table.cells[i + 1]);
    for (size_t row = 0; row < table.rows; row++)
        for (size_t column = 0; column < COLUMNS; column++)
            complete = complete && table.cells[row][column];
    if (complete) {
        measure(&table, width);
        print_table(&table, out);
    }
    for (size_t row = 0; row < table.rows; row++)
        for (size_t column = 0; column < COLUMNS; column++)
            free(table.cells[row][column]);
    free(table.cells);
    return complete ? 0 : -ENOMEM;
}

static void show_notes(const struct launch_shown *shown, FILE *out)
{
    const char *own = launch_own_threads();
    const size_t notes = shown->notes ? shown->notes->count : 0;
    if (shown->plan->warning_count || own || notes)
        fputc('\n', out);
    if (own)
        fprintf(out, "note: OMP_NUM_THREADS=%s is set and stays; the plan would set %zu%s\n", own,
                shown->plan->ranks[0].threads, shown->plan->rank_count > 1 ? " for rank 0" : "");
    for (size_t i = 0; i < shown->plan->warning_count; i++)
        fprintf(out, "note: %s\n", shown->plan->warnings[i]);
    for (size_t i = 0; i < notes; i++)
        fprintf(out, "note: %s\n", shown->notes->words[i]);
}

int launch_show_table(const struct launch_shown *shown, size_t width, FILE *out)
{
    launch_put_machine(shown, out);
    fputs("\n\n", out);
    int rc = show_ranks(shown, out, width);
    if (rc == 0)
        show_notes(shown, out);
    return rc;
}
