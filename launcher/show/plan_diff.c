/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan_diff.c - compares two plans field by field and shows, as a table, only what differs. Ranks
 * that differ in the same way share a line. What a file is called, and which version wrote it, is
 * no difference.
 */
#include "plan_diff.h"

#include "common/say.h"
#include "show.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_BYTES = 1024, WHAT_BYTES = 32 };

struct row {
    uint64_t ranks; /* one bit each; 0: the machine, or the plan as a whole */
    char what[WHAT_BYTES];
    char *values[2];
};

struct difference {
    size_t count;
    struct row *rows;
    bool is_short; /* of memory: rows are missing */
};

static void add(struct difference *d, uint64_t ranks, const char *what, const char *a,
                const char *b)
{
    if (strcmp(a, b) == 0)
        return;
    for (size_t i = 0; ranks && i < d->count; i++) {
        struct row *row = &d->rows[i];
        if (strcmp(row->what, what) == 0 && strcmp(row->values[0], a) == 0 &&
            strcmp(row->values[1], b) == 0) {
            row->ranks |= ranks;
            return;
        }
    }
    struct row *rows = realloc(d->rows, (d->count + 1) * sizeof *rows);
    if (rows) {
        d->rows = rows;
        rows[d->count] = (struct row){.ranks = ranks, .values = {strdup(a), strdup(b)}};
        snprintf(rows[d->count].what, WHAT_BYTES, "%s", what);
    }
    if (rows && rows[d->count].values[0] && rows[d->count].values[1]) {
        d->count++;
        return;
    }
    for (size_t i = 0; rows && i < 2; i++)
        free(rows[d->count].values[i]);
    d->is_short = true;
}

/* A value as the table shows it; "-": none. */
static const char *text_of(const json_t *json, char text_out[TEXT_BYTES])
{
    const char *string = json_string_value(json);
    if (string && *string)
        return string;
    if (json_is_integer(json))
        snprintf(text_out, TEXT_BYTES, "%" JSON_INTEGER_FORMAT, json_integer_value(json));
    else if (json_is_boolean(json))
        snprintf(text_out, TEXT_BYTES, "%s", json_is_true(json) ? "yes" : "no");
    else
        snprintf(text_out, TEXT_BYTES, "-");
    return text_out;
}

static bool add_field(struct difference *d, uint64_t ranks, const char *what, const json_t *a,
                      const json_t *b)
{
    char texts[2][TEXT_BYTES];
    bool is_different = !json_equal(a, b);
    if (is_different)
        add(d, ranks, what, text_of(a, texts[0]), text_of(b, texts[1]));
    return is_different;
}

static const char *memory_of(const json_t *rank, char text_out[TEXT_BYTES])
{
    const json_t *memory = json_object_get(rank, "memory");
    const char *nodes = json_string_value(json_object_get(memory, "nodes"));
    snprintf(text_out, TEXT_BYTES, "%s%s%s", json_string_value(json_object_get(memory, "policy")),
             *nodes ? " " : "", nodes);
    return text_out;
}

/* In the order of the table; "in_short" names what says the same in one number. */
static const struct {
    const char *key, *what, *in_short;
} rank_fields[] = {
    {"packages", "packages", "package"},
    {"nodes", "nodes", "node"},
    {"cores", "cores", NULL},
    {"reserved", "reserved", NULL},
    {"cpus", "CPUs", NULL},
    {"segment_node", "segment's node", NULL},
    {"threads", "threads", NULL},
    {"node_group", "node group", NULL},
    {"package_group", "package group", NULL},
};

static void compare_ranks(struct difference *d, const json_t *a, const json_t *b, uint64_t rank)
{
    char texts[2][TEXT_BYTES];
    if (!a || !b) {
        add(d, rank, "there", a ? "yes" : "no", b ? "yes" : "no");
        return;
    }
    for (size_t i = 0; i < sizeof rank_fields / sizeof rank_fields[0]; i++) {
        const char *key = rank_fields[i].key, *in_short = rank_fields[i].in_short;
        bool is_told = add_field(d, rank, rank_fields[i].what, json_object_get(a, key),
                                 json_object_get(b, key));
        if (in_short && !is_told)
            add_field(d, rank, in_short, json_object_get(a, in_short),
                      json_object_get(b, in_short));
    }
    add(d, rank, "memory", memory_of(a, texts[0]), memory_of(b, texts[1]));
}

static const char *node_of(const json_t *node, char text_out[TEXT_BYTES])
{
    char size[32], host[64] = "";
    if (!node)
        return "-";
    launch_bytes_text((uint64_t)json_integer_value(json_object_get(node, "memory_bytes")), size,
                      sizeof size);
    if (!json_is_true(json_object_get(node, "has_cpus")))
        snprintf(host, sizeof host, ", nearest to node %" JSON_INTEGER_FORMAT,
                 json_integer_value(json_object_get(node, "host")));
    snprintf(text_out, TEXT_BYTES, "%s %s, package %" JSON_INTEGER_FORMAT "%s%s", size,
             json_string_value(json_object_get(node, "tier")),
             json_integer_value(json_object_get(node, "package")), host,
             json_is_true(json_object_get(node, "allowed")) ? "" : ", not allowed");
    return text_out;
}

static const json_t *find_node(const json_t *machine, json_int_t number, size_t *at_out)
{
    const json_t *nodes = json_object_get(machine, "nodes");
    for (*at_out = 0; *at_out < json_array_size(nodes); ++*at_out) {
        const json_t *node = json_array_get(nodes, *at_out);
        if (json_integer_value(json_object_get(node, "number")) == number)
            return node;
    }
    return NULL;
}

/* How far it is to the others, in their order. */
static const char *distances_of(const json_t *machine, size_t at, char text_out[TEXT_BYTES])
{
    const json_t *row = json_array_get(json_object_get(machine, "distances"), at);
    size_t length = 0;
    snprintf(text_out, TEXT_BYTES, "-");
    for (size_t i = 0; i < json_array_size(row) && length < TEXT_BYTES; i++)
        length +=
            (size_t)snprintf(text_out + length, TEXT_BYTES - length, "%s%" JSON_INTEGER_FORMAT,
                             i ? " " : "", json_integer_value(json_array_get(row, i)));
    return text_out;
}

static void compare_nodes(struct difference *d, const json_t *a, const json_t *b)
{
    const json_t *machines[2] = {a, b};
    for (size_t side = 0; side < 2; side++)
        for (size_t i = 0; i < json_array_size(json_object_get(machines[side], "nodes")); i++) {
            char texts[2][TEXT_BYTES], what[WHAT_BYTES];
            const json_t *node = json_array_get(json_object_get(machines[side], "nodes"), i);
            json_int_t number = json_integer_value(json_object_get(node, "number"));
            size_t at[2];
            const json_t *nodes[2] = {find_node(a, number, &at[0]), find_node(b, number, &at[1])};
            if (side && nodes[0])
                continue;
            snprintf(what, sizeof what, "node %" JSON_INTEGER_FORMAT, number);
            add(d, 0, what, node_of(nodes[0], texts[0]), node_of(nodes[1], texts[1]));
            if (!nodes[0] || !nodes[1])
                continue;
            snprintf(what, sizeof what, "distances of node %" JSON_INTEGER_FORMAT, number);
            add(d, 0, what, distances_of(a, at[0], texts[0]), distances_of(b, at[1], texts[1]));
        }
}

static void compare_machines(struct difference *d, const json_t *a, const json_t *b)
{
    static const char *const fields[][2] = {
        {"packages", "packages"},
        {"l3_caches", "L3 caches"},
        {"cores", "cores"},
        {"core_kinds", "kinds of cores"},
        {"cpus", "CPUs"},
        {"allowed_cpus", "allowed CPUs"},
        {"quota_milli_cpus", "quota (CPUs / 1000)"},
        {"memory_denied", "memory denied"},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        add_field(d, 0, fields[i][1], json_object_get(a, fields[i][0]),
                  json_object_get(b, fields[i][0]));
    compare_nodes(d, a, b);
}

static bool has_warning(const json_t *plan, const json_t *warning)
{
    const json_t *warnings = json_object_get(plan, "warnings");
    for (size_t i = 0; i < json_array_size(warnings); i++)
        if (json_equal(json_array_get(warnings, i), warning))
            return true;
    return false;
}

/* Notes follow from the rest: they are shown, but are no difference of their own. */
static void show_notes(const json_t *plan, const json_t *other, const char *name)
{
    const json_t *warnings = json_object_get(plan, "warnings");
    for (size_t i = 0; i < json_array_size(warnings); i++) {
        const json_t *warning = json_array_get(warnings, i);
        if (!has_warning(other, warning))
            printf("note, of %s only: %s\n", name, json_string_value(warning));
    }
}

static void name_row(const struct row *row, char *text_out, size_t bytes)
{
    uint64_t word = row->ranks;
    const struct shmrt_bitmap set = {.bits = SHMRT_MAX_RANKS, .words = &word};
    char numbers[TEXT_BYTES / 2]; /* at most 64 numbers of two digits */
    shmrt_bitmap_format(&set, numbers, sizeof numbers);
    if (row->ranks)
        snprintf(text_out, bytes, "rank %s", numbers);
    else
        snprintf(text_out, bytes, "machine");
}

static void show_rows(const struct difference *d, char *const names[2])
{
    int widths[3] = {0, 0, (int)strlen(names[0])};
    for (size_t i = 0; i < d->count; i++) {
        char where[TEXT_BYTES];
        name_row(&d->rows[i], where, sizeof where);
        const char *const cells[3] = {where, d->rows[i].what, d->rows[i].values[0]};
        for (size_t column = 0; column < 3; column++)
            if ((int)strlen(cells[column]) > widths[column])
                widths[column] = (int)strlen(cells[column]);
    }
    printf("%*s  %-*s  %s\n", widths[0] + 2 + widths[1], "", widths[2], names[0], names[1]);
    for (size_t i = 0; i < d->count; i++) {
        char where[TEXT_BYTES];
        name_row(&d->rows[i], where, sizeof where);
        printf("%-*s  %-*s  %-*s  %s\n", widths[0], where, widths[1], d->rows[i].what, widths[2],
               d->rows[i].values[0], d->rows[i].values[1]);
    }
}

static void compare(struct difference *d, const json_t *a, const json_t *b)
{
    const json_t *ranks[2] = {json_object_get(a, "ranks"), json_object_get(b, "ranks")};
    for (size_t i = 0; i < json_array_size(ranks[0]) || i < json_array_size(ranks[1]); i++)
        compare_ranks(d, json_array_get(ranks[0], i), json_array_get(ranks[1], i),
                      UINT64_C(1) << i);
    add_field(d, 0, "ranks are bound", json_object_get(a, "bound"), json_object_get(b, "bound"));
    compare_machines(d, json_object_get(a, "machine"), json_object_get(b, "machine"));
}

static int show(const struct difference *d, const json_t *const plans[2], char *const names[2],
                struct shmrt_error *error_out)
{
    size_t ranks = json_array_size(json_object_get(plans[0], "ranks"));
    if (d->is_short) {
        launch_error(error_out, -ENOMEM, "no memory for what differs");
        return LAUNCH_EXIT_USAGE;
    }
    if (d->count)
        show_rows(d, names);
    else
        printf("%s and %s give the same plan for %zu rank%s\n", names[0], names[1], ranks,
               ranks == 1 ? "" : "s");
    if (d->count) {
        show_notes(plans[0], plans[1], names[0]);
        show_notes(plans[1], plans[0], names[1]);
    }
    if (fflush(stdout) || ferror(stdout)) {
        launch_error(error_out, -errno, "the difference cannot be shown: %s", strerror(errno));
        return LAUNCH_EXIT_USAGE;
    }
    return d->count ? LAUNCH_EXIT_DIFFERENT : LAUNCH_EXIT_SAME;
}

int launch_plan_diff(char *const names[2], int argc, char **argv, struct shmrt_error *error_out)
{
    struct difference d = {0};
    json_t *a = NULL, *b = NULL;
    int code = LAUNCH_EXIT_USAGE;
    if (strcmp(names[0], "-") == 0 && strcmp(names[1], "-") == 0) {
        launch_error(error_out, -EINVAL, "--diff - -: standard input holds one plan only");
    } else if (launch_plan_read(names[0], argc, argv, &a, error_out) == 0 &&
               launch_plan_read(names[1], argc, argv, &b, error_out) == 0) {
        const json_t *const plans[2] = {a, b};
        compare(&d, a, b);
        code = show(&d, plans, names, error_out);
    }
    for (size_t i = 0; i < d.count; i++)
        for (size_t side = 0; side < 2; side++)
            free(d.rows[i].values[side]);
    free(d.rows);
    json_decref(a);
    json_decref(b);
    return code;
}
