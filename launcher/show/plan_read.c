/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan_read.c - a plan from a file that --json wrote, or from a configuration. Whatever comes out
 * has every field that is compared, in its type, so that nothing later has to ask.
 */
#include "common/say.h"
#include "options/parse.h"
#include "plan/plan.h"
#include "plan_diff.h"
#include "show.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A field and what it has to be; null is allowed where a machine may not tell. */
struct shape {
    const char *key;
    json_type type;
    bool is_nullable;
};

static const struct shape plan_shape[] = {
    {"bound", JSON_TRUE, false},     {"machine", JSON_OBJECT, false}, {"ranks", JSON_ARRAY, false},
    {"warnings", JSON_ARRAY, false}, {NULL, JSON_NULL, false},
};
static const struct shape machine_shape[] = {
    {"packages", JSON_INTEGER, false},
    {"l3_caches", JSON_INTEGER, false},
    {"cores", JSON_INTEGER, false},
    {"core_kinds", JSON_INTEGER, false},
    {"cpus", JSON_INTEGER, false},
    {"allowed_cpus", JSON_STRING, false},
    {"quota_milli_cpus", JSON_INTEGER, true},
    {"memory_denied", JSON_TRUE, false},
    {"nodes", JSON_ARRAY, false},
    {"distances", JSON_ARRAY, true},
    {NULL, JSON_NULL, false},
};
static const struct shape node_shape[] = {
    {"number", JSON_INTEGER, false}, {"package", JSON_INTEGER, false},
    {"tier", JSON_STRING, false},    {"memory_bytes", JSON_INTEGER, false},
    {"host", JSON_INTEGER, false},   {"has_cpus", JSON_TRUE, false},
    {"allowed", JSON_TRUE, false},   {NULL, JSON_NULL, false},
};
static const struct shape rank_shape[] = {
    {"rank", JSON_INTEGER, false},          {"package", JSON_INTEGER, false},
    {"node", JSON_INTEGER, false},          {"packages", JSON_STRING, false},
    {"nodes", JSON_STRING, false},          {"cores", JSON_STRING, false},
    {"cpus", JSON_STRING, false},           {"reserved", JSON_STRING, false},
    {"memory", JSON_OBJECT, false},         {"segment_node", JSON_INTEGER, false},
    {"threads", JSON_INTEGER, false},       {"node_group", JSON_INTEGER, false},
    {"package_group", JSON_INTEGER, false}, {NULL, JSON_NULL, false},
};
static const struct shape memory_shape[] = {
    {"policy", JSON_STRING, false},
    {"nodes", JSON_STRING, false},
    {NULL, JSON_NULL, false},
};

static const char *type_name(json_type type)
{
    switch (type) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        return "a text";
    case JSON_INTEGER:
        return "a whole number";
    default:
        return "true or false";
    }
}

static bool is_of(const json_t *json, json_type type)
{
    return type == JSON_TRUE ? json_is_boolean(json) : json && json_typeof(json) == type;
}

/* @where is "machine" or "ranks[3]"; "": the whole. */
static int check(const json_t *json, const struct shape *shape, const char *where,
                 struct shmrt_error *error_out)
{
    const char *dot = *where ? "." : "";
    if (!json_is_object(json))
        return launch_error(error_out, -EINVAL, "%s has to be an object", where);
    for (; shape->key; shape++) {
        const json_t *field = json_object_get(json, shape->key);
        if (!field)
            return launch_error(error_out, -EINVAL, "%s%s%s is missing", where, dot, shape->key);
        if (!is_of(field, shape->type) && !(shape->is_nullable && json_is_null(field)))
            return launch_error(error_out, -EINVAL, "%s%s%s has to be %s", where, dot, shape->key,
                                type_name(shape->type));
    }
    return 0;
}

static int check_list(const json_t *list, const struct shape *shape, const char *name,
                      struct shmrt_error *error_out)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < json_array_size(list); i++) {
        char where[64];
        snprintf(where, sizeof where, "%s[%zu]", name, i);
        rc = check(json_array_get(list, i), shape, where, error_out);
    }
    return rc;
}

static int check_ranks(const json_t *ranks, struct shmrt_error *error_out)
{
    int rc = check_list(ranks, rank_shape, "ranks", error_out);
    for (size_t i = 0; rc == 0 && i < json_array_size(ranks); i++) {
        char where[64];
        const json_t *rank = json_array_get(ranks, i);
        snprintf(where, sizeof where, "ranks[%zu].memory", i);
        rc = check(json_object_get(rank, "memory"), memory_shape, where, error_out);
        if (rc == 0 && json_integer_value(json_object_get(rank, "rank")) != (json_int_t)i)
            rc = launch_error(error_out, -EINVAL, "ranks[%zu].rank has to be %zu", i, i);
    }
    if (rc == 0 && json_array_size(ranks) > SHMRT_MAX_RANKS)
        rc = launch_error(error_out, -EINVAL, "%zu ranks are more than %d", json_array_size(ranks),
                          SHMRT_MAX_RANKS);
    return rc;
}

static int check_distances(const json_t *machine, struct shmrt_error *error_out)
{
    const json_t *rows = json_object_get(machine, "distances");
    size_t nodes = json_array_size(json_object_get(machine, "nodes"));
    bool is_square = json_is_null(rows) || json_array_size(rows) == nodes;
    for (size_t i = 0; is_square && i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        is_square = json_array_size(row) == nodes;
        for (size_t j = 0; is_square && j < nodes; j++)
            is_square = json_is_integer(json_array_get(row, j));
    }
    return is_square ? 0
                     : launch_error(error_out, -EINVAL,
                                    "machine.distances has to be %zu rows of %zu whole numbers, "
                                    "as there are nodes",
                                    nodes, nodes);
}

static int check_plan(const json_t *plan, struct shmrt_error *error_out)
{
    const json_t *format = json_object_get(plan, "shm_launch_plan");
    const json_t *machine = json_object_get(plan, "machine");
    if (!json_is_integer(format))
        return launch_error(error_out, -EINVAL,
                            "this is no plan that shm-launch plan --json has written");
    if (json_integer_value(format) != LAUNCH_PLAN_FORMAT)
        return launch_error(error_out, -EINVAL,
                            "this plan is of format %" JSON_INTEGER_FORMAT
                            ", and this shm-launch knows format %d: write it anew",
                            json_integer_value(format), LAUNCH_PLAN_FORMAT);
    int rc = check(plan, plan_shape, "", error_out);
    if (rc == 0)
        rc = check(machine, machine_shape, "machine", error_out);
    if (rc == 0)
        rc = check_list(json_object_get(machine, "nodes"), node_shape, "machine.nodes", error_out);
    if (rc == 0)
        rc = check_distances(machine, error_out);
    if (rc == 0)
        rc = check_ranks(json_object_get(plan, "ranks"), error_out);
    return rc;
}

static int read_saved(const char *name, json_t **plan_out, struct shmrt_error *error_out)
{
    bool is_stdin = strcmp(name, "-") == 0;
    const char *shown = is_stdin ? "standard input" : name;
    struct shmrt_error why;
    json_error_t problem;
    FILE *file = is_stdin ? stdin : fopen(name, "rbe");
    if (!file)
        return launch_error(error_out, -errno, "%s: %s", name, strerror(errno));
    errno = 0;
    json_t *plan = json_loadf(file, JSON_REJECT_DUPLICATES, &problem);
    int code = ferror(file) ? errno : 0;
    if (!is_stdin)
        fclose(file);
    if (code)
        return launch_error(error_out, -code, "%s: %s", shown, strerror(code));
    if (!plan)
        return launch_error(error_out, -EINVAL, "%s:%d:%d: %s", shown, problem.line, problem.column,
                            problem.text);
    if (check_plan(plan, &why)) {
        json_decref(plan);
        return launch_error(error_out, -EINVAL, "%s: %s", shown, why.text);
    }
    *plan_out = plan;
    return 0;
}

/* @options has everything but the configuration. */
static int plan_it(const char *name, struct launch_options *options, json_t **plan_out,
                   struct shmrt_error *error_out)
{
    struct shmrt_machine *machine;
    struct shmrt_plan *plan;
    int rc = launch_config_read(name, options, error_out);
    if (rc == 0)
        rc = launch_check(options, error_out);
    if (rc == 0)
        rc = launch_plan(options, &machine, &plan, error_out);
    if (rc)
        return rc;
    const struct launch_shown shown = {options, machine, plan, NULL};
    rc = launch_plan_json(&shown, plan_out);
    shmrt_plan_destroy(plan);
    shmrt_machine_destroy(machine);
    return rc ? launch_error(error_out, rc, "no memory for the plan of %s", name) : 0;
}

static int plan_config(const char *name, int argc, char **argv, json_t **plan_out,
                       struct shmrt_error *error_out)
{
    struct launch_options options = launch_options_default();
    struct shmrt_error why;
    int rc = launch_parse(argc, argv, &options, &why);
    for (size_t i = 0; i < 2; i++) {
        free(options.diff[i]);
        options.diff[i] = NULL;
    }
    if (rc == 0)
        rc = plan_it(name, &options, plan_out, &why);
    launch_options_free(&options);
    /* A mistake in the file has its name in front already. */
    if (rc && strstr(why.text, name))
        return launch_error(error_out, rc, "%s", why.text);
    return rc ? launch_error(error_out, rc, "%s: %s", name, why.text) : 0;
}

static bool ends_with(const char *name, const char *end)
{
    size_t length = strlen(name), end_length = strlen(end);
    return length > end_length && strcmp(name + length - end_length, end) == 0;
}

static bool is_file(const char *name)
{
    struct stat status;
    return stat(name, &status) == 0 && S_ISREG(status.st_mode);
}

int launch_plan_read(const char *name, int argc, char **argv, struct json_t **plan_out,
                     struct shmrt_error *error_out)
{
    bool is_config = ends_with(name, ".yaml") || ends_with(name, ".yml");
    bool is_saved = strcmp(name, "-") == 0 || ends_with(name, ".json") ||
                    (!is_config && (strchr(name, '/') || is_file(name)));
    if (is_saved)
        return read_saved(name, plan_out, error_out);
    return plan_config(name, argc, argv, plan_out, error_out);
}
