/* SPDX-License-Identifier: Apache-2.0 */
/*
 * show_json.c - a plan as JSON. Sets are texts in the kernel's notation ("0-3,8"), nodes are named
 * by the kernel's numbers everywhere. Whoever changes what a field means, or takes one away, raises
 * LAUNCH_PLAN_FORMAT.
 */
#include "show.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static json_t *any_text(const char *text)
{
    char *clean = launch_utf8(text);
    json_t *json = clean ? json_string(clean) : NULL;
    free(clean);
    return json;
}

static json_t *set_json(const struct shmrt_bitmap *set)
{
    char *text = launch_set_text(set);
    json_t *json = text ? json_string(text) : NULL;
    free(text);
    return json;
}

static json_t *number_json(size_t number)
{
    return json_integer((json_int_t)number);
}

/* CPUs are in order of nearness, so their numbers make a set, not a list. */
static json_t *allowed_json(const struct shmrt_machine *machine)
{
    struct shmrt_bitmap set = {0};
    for (size_t i = 0; i < machine->cpu_count; i++)
        if (machine->cpus[i].number >= set.bits)
            set.bits = machine->cpus[i].number + 1;
    set.words = calloc(set.bits / 64 + 1, sizeof *set.words);
    if (!set.words)
        return NULL;
    for (size_t i = 0; i < machine->cpu_count; i++) {
        size_t number = machine->cpus[i].number;
        if (machine->cpus[i].allowed)
            set.words[number / 64] |= UINT64_C(1) << (number % 64);
    }
    json_t *json = set_json(&set);
    free(set.words);
    return json;
}

static json_t *node_json(const struct shmrt_machine *machine, const struct shmrt_machine_node *node)
{
    return json_pack("{s:o, s:o, s:s, s:o, s:o, s:b, s:b}", "number", number_json(node->number),
                     "package", number_json(node->package), "tier",
                     launch_choice_word("tier", (int)node->tier), "memory_bytes",
                     number_json(node->memory_bytes), "host",
                     number_json(machine->nodes[node->host].number), "has_cpus", node->has_cpus,
                     "allowed", node->allowed);
}

/* Adds @item, and gives the whole list up where there is no memory for it. */
static void append(json_t **list, json_t *item)
{
    if (json_array_append_new(*list, item)) {
        json_decref(*list);
        *list = NULL;
    }
}

static json_t *nodes_json(const struct shmrt_machine *machine)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < machine->node_count; i++)
        append(&list, node_json(machine, &machine->nodes[i]));
    return list;
}

/* Rows and columns in the order of the nodes beside it. */
static json_t *distances_json(const struct shmrt_machine *machine)
{
    size_t count = machine->node_count;
    json_t *rows = machine->distances ? json_array() : json_null();
    for (size_t i = 0; machine->distances && rows && i < count; i++) {
        json_t *row = json_array();
        for (size_t j = 0; row && j < count; j++)
            append(&row, number_json(machine->distances[i * count + j]));
        append(&rows, row);
    }
    return rows;
}

static json_t *machine_json(const struct launch_options *options,
                            const struct shmrt_machine *machine)
{
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:o}", "topology",
        options->topology ? any_text(options->topology) : json_null(), "packages",
        number_json(machine->package_count), "nodes", nodes_json(machine), "l3_caches",
        number_json(machine->l3_count), "cores", number_json(machine->core_count), "core_kinds",
        number_json(machine->kind_count), "cpus", number_json(machine->cpu_count), "allowed_cpus",
        allowed_json(machine), "quota_milli_cpus",
        machine->quota_milli ? number_json(machine->quota_milli) : json_null(), "memory_denied",
        machine->is_memory_denied, "distances", distances_json(machine));
}

static json_t *rank_json(const struct shmrt_plan_rank *rank, size_t index)
{
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:{s:s, s:o}, s:o, s:o, s:o, s:o}", "rank",
        number_json(index), "package", number_json(rank->package), "node", number_json(rank->node),
        "packages", set_json(&rank->packages), "nodes", set_json(&rank->nodes), "cores",
        set_json(&rank->cores), "cpus", set_json(&rank->cpus), "reserved",
        set_json(&rank->reserved), "memory", "policy", launch_choice_word("mem", (int)rank->memory),
        "nodes", set_json(&rank->memory_nodes), "segment_node", number_json(rank->segment_node),
        "threads", number_json(rank->threads), "node_group", number_json(rank->node_group),
        "package_group", number_json(rank->package_group));
}

static json_t *ranks_json(const struct shmrt_plan *plan)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < plan->rank_count; i++)
        append(&list, rank_json(&plan->ranks[i], i));
    return list;
}

static json_t *warnings_json(const struct launch_shown *shown)
{
    const struct shmrt_plan *plan = shown->plan;
    json_t *list = json_array();
    for (size_t i = 0; list && i < plan->warning_count; i++)
        append(&list, any_text(plan->warnings[i]));
    for (size_t i = 0; list && shown->notes && i < shown->notes->count; i++)
        append(&list, any_text(shown->notes->words[i]));
    return list;
}

int launch_plan_json(const struct launch_shown *shown, struct json_t **json_out)
{
    json_t *json =
        json_pack("{s:i, s:s, s:b, s:o, s:o, s:o}", "shm_launch_plan", LAUNCH_PLAN_FORMAT,
                  "version", shmrt_version(), "bound", !shown->options->no_bind, "machine",
                  machine_json(shown->options, shown->machine), "ranks", ranks_json(shown->plan),
                  "warnings", warnings_json(shown));
    if (!json)
        return -ENOMEM;
    *json_out = json;
    return 0;
}

char *launch_plan_json_line(const struct launch_options *options,
                            const struct shmrt_machine *machine, const struct shmrt_plan *plan)
{
    const struct launch_shown shown = {options, machine, plan, NULL};
    json_t *json;
    if (launch_plan_json(&shown, &json))
        return NULL;
    char *line = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    return line;
}

static int put(FILE *out, json_t *json, size_t depth);

/* Each item on a line of its own. */
static int put_items(FILE *out, json_t *json, size_t depth)
{
    bool is_object = json_is_object(json);
    const char *key, *between = "\n";
    json_t *item;
    size_t i;
    int rc = 0;
    fputs(is_object ? "{" : "[", out);
    if (is_object)
        json_object_foreach(json, key, item)
        {
            fprintf(out, "%s%*s\"%s\": ", between, (int)(2 * depth + 2), "", key);
            rc = rc ? rc : put(out, item, depth + 1);
            between = ",\n";
        }
    else
        json_array_foreach(json, i, item)
        {
            fprintf(out, "%s%*s", between, (int)(2 * depth + 2), "");
            rc = rc ? rc : put(out, item, depth + 1);
            between = ",\n";
        }
    fprintf(out, "\n%*s%s", (int)(2 * depth), "", is_object ? "}" : "]");
    return rc;
}

/* What a person wants to compare by eye stays on one line: a rank, a node, a row of distances. */
static int put(FILE *out, json_t *json, size_t depth)
{
    bool is_long = json_is_object(json)
                       ? depth < 2
                       : json_array_size(json) > 0 && !json_is_number(json_array_get(json, 0));
    if (is_long)
        return put_items(out, json, depth);
    return json_dumpf(json, out, JSON_ENCODE_ANY) ? -ENOMEM : 0;
}

int launch_show_json(const struct launch_shown *shown, FILE *out)
{
    json_t *json;
    int rc = launch_plan_json(shown, &json);
    if (rc)
        return rc;
    rc = put(out, json, 0);
    fputc('\n', out);
    json_decref(json);
    return rc;
}
