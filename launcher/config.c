/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.c - options from a YAML file: one mapping from long option names to values. It is read
 * event by event, so every complaint has its line and column. Whatever is not plainly such a
 * mapping (anchors, tags, lists, a second document) is refused rather than half understood.
 */
#include "parse.h"
#include "say.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

#ifndef LAUNCH_CONFIG_DIR
#error "LAUNCH_CONFIG_DIR has to name the installed folder of configurations"
#endif

struct reader {
    const char *path;
    yaml_parser_t parser;
    yaml_event_t event;
    struct launch_options *options;
    size_t line_of[LAUNCH_OPTIONS_MAX]; /* 0: not seen */
    size_t description_line;
    struct shmrt_error *error_out;
};

static int complain(struct reader *r, yaml_mark_t mark, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int complain(struct reader *r, yaml_mark_t mark, const char *format, ...)
{
    char text[SHMRT_ERROR_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return launch_error(r->error_out, -EINVAL, "%s:%zu:%zu: %s", r->path, mark.line + 1,
                        mark.column + 1, text);
}

/* The next event into r->event, which frees the one before. */
static int next(struct reader *r)
{
    yaml_event_delete(&r->event);
    if (yaml_parser_parse(&r->parser, &r->event))
        return 0;
    memset(&r->event, 0, sizeof r->event);
    const char *problem = r->parser.problem ? r->parser.problem : "this is not YAML";
    yaml_mark_t mark = r->parser.problem_mark;
    if (r->parser.error == YAML_READER_ERROR)
        return launch_error(r->error_out, -EINVAL, "%s: byte %zu: %s", r->path,
                            r->parser.problem_offset, problem);
    return complain(r, mark, "%s", problem);
}

/* The event has to be a plain or quoted word. */
static int check_scalar(struct reader *r, const char *what)
{
    yaml_mark_t mark = r->event.start_mark;
    switch (r->event.type) {
    case YAML_SCALAR_EVENT:
        if (r->event.data.scalar.anchor)
            return complain(r, mark, "anchors (&%s) are not used here; write the value out",
                            r->event.data.scalar.anchor);
        if (r->event.data.scalar.tag)
            return complain(r, mark, "tags (%s) are not used here; write the value alone",
                            r->event.data.scalar.tag);
        if (strlen((char *)r->event.data.scalar.value) != r->event.data.scalar.length)
            return complain(r, mark, "there is a NUL character in the %s", what);
        return 0;
    case YAML_ALIAS_EVENT:
        return complain(r, mark, "aliases (*%s) are not used here; write the value out",
                        r->event.data.alias.anchor);
    default:
        return complain(r, mark, "the %s has to be one word or number, not a list or a mapping",
                        what);
    }
}

static int next_value(struct reader *r)
{
    int rc = next(r);
    return rc ? rc : check_scalar(r, "value");
}

static int unknown_key(struct reader *r, const char *key)
{
    const struct launch_option *option = launch_option_find(key, strlen(key));
    const char *guess = launch_option_guess(key, strlen(key), true);
    if (option && !option->in_config)
        return complain(r, r->event.start_mark, "\"%s\" belongs on the command line only", key);
    if (guess)
        return complain(r, r->event.start_mark, "unknown key \"%s\"; did you mean \"%s\"?", key,
                        guess);
    return complain(r, r->event.start_mark,
                    "unknown key \"%s\"; known are description, ranks, per, cores-per-rank, "
                    "threads-per-core, reserve and other long options of shm-launch",
                    key);
}

/* A key has been read and its value comes. What the command line says stays. */
static int read_value(struct reader *r, const struct launch_option *option)
{
    struct shmrt_error why;
    size_t index = (size_t)(option - launch_option_table());
    int rc = next_value(r);
    if (rc)
        return rc;
    const char *value = (const char *)r->event.data.scalar.value;
    struct launch_options unused = launch_options_default();
    rc = launch_option_set(option, value, r->options->given[index] ? &unused : r->options, &why);
    launch_options_free(&unused);
    return rc ? complain(r, r->event.start_mark, "%s: %s", option->name, why.text) : 0;
}

/* The event at hand is a key. */
static int read_pair(struct reader *r)
{
    int rc = check_scalar(r, "key");
    if (rc)
        return rc;
    const char *key = (const char *)r->event.data.scalar.value;
    bool is_description = strcmp(key, "description") == 0;
    const struct launch_option *option = launch_option_find(key, strlen(key));
    if (!is_description && (!option || !option->in_config))
        return unknown_key(r, key);
    size_t *line =
        is_description ? &r->description_line : &r->line_of[option - launch_option_table()];
    if (*line)
        return complain(r, r->event.start_mark, "\"%s\" is here again; line %zu has it too", key,
                        *line);
    *line = r->event.start_mark.line + 1;
    return is_description ? next_value(r) : read_value(r, option);
}

static int open_mapping(struct reader *r)
{
    int rc = next(r); /* the stream */
    if (rc == 0)
        rc = next(r);
    if (rc)
        return rc;
    if (r->event.type == YAML_STREAM_END_EVENT)
        return complain(r, r->event.start_mark,
                        "the file says nothing; a line like \"per: socket\" is expected");
    rc = next(r);
    if (rc)
        return rc;
    if (r->event.type != YAML_MAPPING_START_EVENT)
        return complain(r, r->event.start_mark,
                        "lines like \"per: socket\" are expected, one option each");
    if (r->event.data.mapping_start.anchor || r->event.data.mapping_start.tag)
        return complain(r, r->event.start_mark, "anchors and tags are not used here");
    return 0;
}

static int read_stream(struct reader *r)
{
    int rc = open_mapping(r);
    while (rc == 0 && (rc = next(r)) == 0 && r->event.type != YAML_MAPPING_END_EVENT)
        rc = read_pair(r);
    if (rc == 0)
        rc = next(r); /* the document's end */
    if (rc == 0)
        rc = next(r);
    if (rc == 0 && r->event.type != YAML_STREAM_END_EVENT)
        rc = complain(r, r->event.start_mark, "a second document begins here; only one is read");
    return rc;
}

static int read_file(const char *path, struct launch_options *options,
                     struct shmrt_error *error_out)
{
    struct reader r = {.path = path, .options = options, .error_out = error_out};
    FILE *file = fopen(path, "rbe");
    if (!file)
        return launch_error(error_out, -errno, "%s: %s", path, strerror(errno));
    if (!yaml_parser_initialize(&r.parser)) {
        fclose(file);
        return launch_error(error_out, -ENOMEM, "no memory to read %s", path);
    }
    yaml_parser_set_input_file(&r.parser, file);
    int rc = read_stream(&r);
    yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    fclose(file);
    return rc;
}

enum { FOLDERS = 3 };

/* Where configurations lie: the user's choice, next to the program, the installation. */
static void list_folders(char folders_out[FOLDERS][PATH_MAX])
{
    const char *chosen = getenv("SHMRT_CONFIG_DIR");
    snprintf(folders_out[0], PATH_MAX, "%s", chosen ? chosen : "");
    char program[PATH_MAX / 2];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    program[length > 0 ? length : 0] = '\0';
    char *slash = strrchr(program, '/');
    if (slash)
        snprintf(folders_out[1], PATH_MAX, "%.*s/../share/shmrt/configs", (int)(slash - program),
                 program);
    else
        folders_out[1][0] = '\0';
    snprintf(folders_out[2], PATH_MAX, "%s", LAUNCH_CONFIG_DIR);
}

/* Adds the names of a folder's configurations to a list for a person. */
static void add_names(const char *folder, char *list, size_t bytes)
{
    DIR *dir = *folder ? opendir(folder) : NULL;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        const char *dot = strrchr(entry->d_name, '.');
        size_t used = strlen(list);
        if (dot && strcmp(dot, ".yaml") == 0)
            snprintf(list + used, bytes - used, "%s%.*s", used ? ", " : "",
                     (int)(dot - entry->d_name), entry->d_name);
    }
    if (dir)
        closedir(dir);
}

int launch_config_read(const char *name, struct launch_options *options,
                       struct shmrt_error *error_out)
{
    const char *dot = strrchr(name, '.');
    if (strchr(name, '/') || (dot && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0)))
        return read_file(name, options, error_out);
    char folders[FOLDERS][PATH_MAX], known[256] = "";
    list_folders(folders);
    for (size_t i = 0; i < FOLDERS; i++) {
        char *path;
        if (!folders[i][0] || asprintf(&path, "%s/%s.yaml", folders[i], name) < 0)
            continue;
        bool is_there = access(path, F_OK) == 0;
        int rc = is_there ? read_file(path, options, error_out) : 0;
        free(path);
        if (is_there)
            return rc;
        /* The next folders hold other copies of the same names. */
        if (!*known)
            add_names(folders[i], known, sizeof known);
    }
    return launch_error(error_out, -ENOENT,
                        "there is no configuration named \"%s\"; known are %s; a file of your own "
                        "is given as a path, ./%s.yaml",
                        name, *known ? known : "none (set SHMRT_CONFIG_DIR to their folder)", name);
}
