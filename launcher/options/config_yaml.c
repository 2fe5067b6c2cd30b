/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_yaml.c - options from YAML: one mapping from long option names to values. It is read event
 * by event, so every complaint has its line and column. Whatever is not plainly such a mapping
 * (anchors, tags, merge keys, nesting, a second document) is refused rather than half understood.
 */
#include "common/say.h"
#include "config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct reader {
    const char *path;
    const char *text;
    size_t length;
    yaml_parser_t parser;
    yaml_event_t event;
    struct launch_options *options;
    size_t from_line[LAUNCH_OPTIONS_MAX]; /* how many words the command line gave */
    size_t line_of[LAUNCH_OPTIONS_MAX];   /* 0: not seen */
    size_t description_line;
    struct shmrt_error *error_out;
};

static int complain(struct reader *r, yaml_mark_t mark, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* What the file says may be in the text: a message stays one line all the same. */
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

/* The place of a byte, counted as libyaml does: columns are characters. */
static yaml_mark_t mark_of_byte(const struct reader *r, size_t offset)
{
    yaml_mark_t mark = {0};
    for (size_t i = 0; i < offset && i < r->length; i++) {
        mark.line += r->text[i] == '\n';
        mark.column += ((unsigned char)r->text[i] & 0xc0) != 0x80;
        mark.column *= r->text[i] != '\n';
    }
    return mark;
}

static bool is_tab_at(const struct reader *r, yaml_mark_t mark)
{
    size_t at = 0;
    for (size_t line = 0; at < r->length && line < mark.line; at++)
        line += r->text[at] == '\n';
    return at + mark.column < r->length && r->text[at + mark.column] == '\t';
}

/* libyaml's own complaints, with what is usually behind them. */
static int not_yaml(struct reader *r)
{
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_MEMORY_ERROR)
        return launch_error(r->error_out, -ENOMEM, "no memory to read %s", r->path);
    if (p->error == YAML_READER_ERROR)
        return complain(r, mark_of_byte(r, p->problem_offset),
                        "%s; a configuration is plain text in UTF-8", p->problem);
    if (is_tab_at(r, p->problem_mark))
        return complain(r, p->problem_mark, "a tab cannot stand here; indent with spaces");
    return complain(r, p->problem_mark, "this is not YAML: %s%s%s",
                    p->problem ? p->problem : "it cannot be read", p->context ? " " : "",
                    p->context ? p->context : "");
}

/* The next event into r->event, which frees the one before. */
static int next(struct reader *r)
{
    yaml_event_delete(&r->event);
    if (yaml_parser_parse(&r->parser, &r->event))
        return 0;
    memset(&r->event, 0, sizeof r->event);
    return not_yaml(r);
}

static int refuse_anchor_and_tag(struct reader *r, const yaml_char_t *anchor,
                                 const yaml_char_t *tag)
{
    if (anchor)
        return complain(r, r->event.start_mark,
                        "anchors (&%.40s) are not used here; write the value out", anchor);
    if (tag)
        return complain(r, r->event.start_mark,
                        "tags (%.40s) are not used here; write the value alone", tag);
    return 0;
}

/* Anchors, tags and aliases, on whatever they stand. */
static int check_plain(struct reader *r)
{
    const yaml_event_t *e = &r->event;
    if (e->type == YAML_ALIAS_EVENT)
        return complain(r, e->start_mark, "aliases (*%.40s) are not used here; write the value out",
                        e->data.alias.anchor);
    if (e->type == YAML_SCALAR_EVENT)
        return refuse_anchor_and_tag(r, e->data.scalar.anchor, e->data.scalar.tag);
    if (e->type == YAML_SEQUENCE_START_EVENT)
        return refuse_anchor_and_tag(r, e->data.sequence_start.anchor, e->data.sequence_start.tag);
    if (e->type == YAML_MAPPING_START_EVENT)
        return refuse_anchor_and_tag(r, e->data.mapping_start.anchor, e->data.mapping_start.tag);
    return 0;
}

static const char *word(const struct reader *r)
{
    return (const char *)r->event.data.scalar.value;
}

/* The event has to be one word, plain or quoted. */
static int check_word(struct reader *r, const char *what)
{
    const yaml_event_t *e = &r->event;
    int rc = check_plain(r);
    if (rc)
        return rc;
    if (e->type != YAML_SCALAR_EVENT)
        return complain(r, e->start_mark,
                        "%s has to be one word or number, not a list or a mapping", what);
    if (strlen(word(r)) != e->data.scalar.length)
        return complain(r, e->start_mark, "%s has a NUL character", what);
    return 0;
}

/* A word that means what it says: a plain one has one line, and is none that YAML reads as nothing.
 */
static int check_value(struct reader *r, const char *name)
{
    static const char *const nulls[] = {"~", "null", "Null", "NULL"};
    int rc = check_word(r, name);
    yaml_mark_t start = r->event.start_mark;
    if (rc || r->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return rc;
    if (r->event.end_mark.line > start.line)
        return complain(r, start,
                        "%s goes on in line %zu: is that line indented too far, or a bracket open?",
                        name, start.line + 2);
    for (size_t i = 0; i < sizeof nulls / sizeof nulls[0]; i++)
        if (strcmp(word(r), nulls[i]) == 0)
            return complain(r, start,
                            "%s: %s is YAML's word for nothing; leave the line out, or quote it",
                            name, nulls[i]);
    return 0;
}

/* "a, b, c": all keys that there are. */
static void list_keys(char *text_out, size_t bytes)
{
    snprintf(text_out, bytes, "description");
    for (const struct launch_option *o = launch_option_table(); o->name; o++) {
        size_t used = strlen(text_out);
        if (o->in_config)
            snprintf(text_out + used, bytes - used, ", %s", o->name);
    }
}

static int unknown_key(struct reader *r)
{
    char known[SHMRT_ERROR_TEXT_BYTES];
    const char *key = word(r);
    const char *guess = launch_option_guess(key, strlen(key), true);
    yaml_mark_t mark = r->event.start_mark;
    if (strcmp(key, "<<") == 0)
        return complain(r, mark, "merge keys (<<) are not used here; write the options out");
    if (launch_option_find(key, strlen(key)))
        return complain(r, mark, "\"%s\" belongs on the command line only", key);
    if (guess)
        return complain(r, mark, "unknown key \"%.40s\"; did you mean \"%s\"?", key, guess);
    list_keys(known, sizeof known);
    return complain(r, mark, "unknown key \"%.40s\"; known are %s", key, known);
}

/* Whether the option's words are NAME=VALUE. */
static bool has_pairs(const struct launch_option *option)
{
    return option->kind == LAUNCH_WORDS && strchr(option->value, '=');
}

/* The word of the same name, from @from on; words.count: none. */
static size_t find_pair(const struct launch_words *words, size_t from, size_t to, const char *pair)
{
    size_t length = strcspn(pair, "=");
    while (from < to && (strncmp(words->words[from], pair, length) != 0 ||
                         strcspn(words->words[from], "=") != length))
        from++;
    return from;
}

/* What the command line says stays. */
static int set(struct reader *r, const struct launch_option *option, const char *value)
{
    struct shmrt_error why;
    struct launch_options unused = launch_options_default();
    size_t index = (size_t)(option - launch_option_table());
    struct launch_words *words = (void *)((char *)r->options + option->offset);
    bool is_given = r->options->given[index] != NULL;
    if (has_pairs(option)) {
        size_t given = r->from_line[index];
        if (find_pair(words, given, words->count, value) < words->count)
            return complain(r, r->event.start_mark, "%s: %.*s is here again", option->name,
                            (int)strcspn(value, "="), value);
        is_given = find_pair(words, 0, given, value) < given;
    }
    int rc = launch_option_set(option, value, is_given ? &unused : r->options, &why);
    launch_options_free(&unused);
    return rc ? complain(r, r->event.start_mark, "%s: %s", option->name, why.text) : 0;
}

static int read_word(struct reader *r, const struct launch_option *option)
{
    if (option->kind == LAUNCH_LIST && r->event.type == YAML_SEQUENCE_START_EVENT)
        return complain(r, r->event.start_mark, "%s: write them as one word, such as 0-3,8",
                        option->name);
    int rc = check_value(r, option->name);
    return rc ? rc : set(r, option, word(r));
}

/* After [ or the first dash. */
static int read_list(struct reader *r, const struct launch_option *option)
{
    int rc = next(r);
    while (rc == 0 && r->event.type != YAML_SEQUENCE_END_EVENT) {
        rc = read_word(r, option);
        if (rc == 0)
            rc = next(r);
    }
    return rc;
}

/* NAME: VALUE, whose name has been read. */
static int read_pair_value(struct reader *r, const struct launch_option *option, const char *name)
{
    char *pair;
    int rc = next(r);
    if (rc == 0)
        rc = check_value(r, name);
    if (rc)
        return rc;
    if (asprintf(&pair, "%s=%s", name, word(r)) < 0)
        return launch_error(r->error_out, -ENOMEM, "no memory to read %s", r->path);
    rc = set(r, option, pair);
    free(pair);
    return rc;
}

/* After { or before the first name. */
static int read_pairs(struct reader *r, const struct launch_option *option)
{
    int rc = next(r);
    while (rc == 0 && r->event.type != YAML_MAPPING_END_EVENT) {
        rc = check_word(r, "a name");
        if (rc)
            return rc;
        if (!*word(r) || strchr(word(r), '='))
            return complain(r, r->event.start_mark,
                            "%s: \"%.40s\" is no name of a variable; lines here are NAME: value",
                            option->name, word(r));
        char *name = strdup(word(r));
        rc = name ? read_pair_value(r, option, name)
                  : launch_error(r->error_out, -ENOMEM, "no memory to read %s", r->path);
        free(name);
        if (rc == 0)
            rc = next(r);
    }
    return rc;
}

/* The key of @option has been read and its value comes. */
static int read_value(struct reader *r, const struct launch_option *option)
{
    int rc = next(r);
    if (rc == 0)
        rc = check_plain(r);
    if (rc)
        return rc;
    if (option->kind == LAUNCH_WORDS && r->event.type == YAML_SEQUENCE_START_EVENT)
        return read_list(r, option);
    if (has_pairs(option) && r->event.type == YAML_MAPPING_START_EVENT)
        return read_pairs(r, option);
    return read_word(r, option);
}

static int read_description(struct reader *r)
{
    int rc = next(r);
    return rc ? rc : check_word(r, "description");
}

/* The event at hand is a key. */
static int read_line(struct reader *r)
{
    int rc = check_word(r, "a key");
    if (rc)
        return rc;
    const char *key = word(r);
    bool is_description = strcmp(key, "description") == 0;
    const struct launch_option *option = launch_option_find(key, strlen(key));
    if (!is_description && (!option || !option->in_config))
        return unknown_key(r);
    size_t *line =
        is_description ? &r->description_line : &r->line_of[option - launch_option_table()];
    if (*line)
        return complain(r, r->event.start_mark, "\"%s\" is here again; line %zu has it too", key,
                        *line);
    *line = r->event.start_mark.line + 1;
    return is_description ? read_description(r) : read_value(r, option);
}

static int open_document(struct reader *r)
{
    int rc = next(r); /* the stream */
    if (rc == 0)
        rc = next(r);
    if (rc)
        return rc;
    if (r->event.type == YAML_STREAM_END_EVENT)
        return complain(r, r->event.start_mark,
                        "the file says nothing; a line like \"per: socket\" is expected");
    if (r->event.data.document_start.tag_directives.start !=
        r->event.data.document_start.tag_directives.end)
        return complain(r, r->event.start_mark, "tags (%%TAG) are not used here");
    rc = next(r);
    if (rc == 0)
        rc = check_plain(r);
    if (rc == 0 && r->event.type != YAML_MAPPING_START_EVENT)
        rc =
            complain(r, r->event.start_mark,
                     "lines like \"per: socket\" are expected, one option each, with a blank after "
                     "the colon");
    return rc;
}

static int read_stream(struct reader *r)
{
    int rc = open_document(r);
    while (rc == 0 && (rc = next(r)) == 0 && r->event.type != YAML_MAPPING_END_EVENT)
        rc = read_line(r);
    if (rc == 0)
        rc = next(r); /* the document's end */
    if (rc == 0)
        rc = next(r);
    if (rc == 0 && r->event.type != YAML_STREAM_END_EVENT)
        rc = complain(r, r->event.start_mark, "a second document begins here; only one is read");
    return rc;
}

/* Of a list, the command line's words are there already. */
static void note_given(struct reader *r)
{
    for (const struct launch_option *o = launch_option_table(); o->name; o++) {
        const struct launch_words *words = (void *)((char *)r->options + o->offset);
        if (o->kind == LAUNCH_WORDS)
            r->from_line[o - launch_option_table()] = words->count;
    }
}

int launch_config_parse(const char *path, const char *text, size_t length,
                        struct launch_options *options, struct shmrt_error *error_out)
{
    static const char bom[] = "\xef\xbb\xbf";
    size_t skip = length >= strlen(bom) && memcmp(text, bom, strlen(bom)) == 0 ? strlen(bom) : 0;
    struct reader r = {.path = path,
                       .text = text + skip,
                       .length = length - skip,
                       .options = options,
                       .error_out = error_out};
    if (!yaml_parser_initialize(&r.parser))
        return launch_error(error_out, -ENOMEM, "no memory to read %s", path);
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)r.text, r.length);
    note_given(&r);
    int rc = read_stream(&r);
    yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    return rc;
}
