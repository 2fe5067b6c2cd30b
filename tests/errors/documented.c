/* SPDX-License-Identifier: Apache-2.0 */
/* documented.c - reads the tables anew each time: a row is a line "| `message` | when | code |
 * ...". */
#include "documented.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = 4096 };

/* Cut the message out of a line; the rest, from " | when", or NULL where the line is no row. */
static char *cut_message(char *line, char **message_out)
{
    if (strncmp(line, "| `", 3) != 0)
        return NULL;
    char *start = line + 2, end[16] = "";
    size_t fence = strspn(start, "`");
    memcpy(end, "````", fence < 4 ? fence : 4);
    strcat(end, " | ");
    start += fence;
    char *rest = strstr(start, end);
    if (!rest)
        return NULL;
    *rest = '\0';
    *message_out = start;
    return rest + strlen(end);
}

/* Whether @text is @pattern, where {name} stands for any text. */
static bool matches(const char *pattern, const char *text)
{
    for (; *pattern && *pattern != '{'; pattern++, text++)
        if (*pattern != *text)
            return false;
    if (!*pattern)
        return !*text;
    pattern = strchr(pattern, '}') + 1;
    for (;; text++) {
        if (matches(pattern, text))
            return true;
        if (!*text)
            return false;
    }
}

/* Whether the third cell, after "when", names @code among others. */
static bool has_code(const char *rest, int code)
{
    /* Linux has two names for it. */
    const char *name = code == -ENOTSUP ? "ENOTSUP" : strerrorname_np(-code),
               *cell = strstr(rest, " | "), *end;
    if (!name || !cell || !(end = strstr(cell + 3, " | ")))
        return false;
    for (const char *at = cell + 3; at < end;) {
        size_t length = strcspn(at, ", ");
        if (length == strlen(name) && strncmp(at, name, length) == 0)
            return true;
        at += length + strspn(at + length, ", ");
    }
    return strncmp(cell + 3, "the errno", strlen("the errno")) == 0;
}

/* Behind what ends a meeting stands how long this rank had waited, as the section's note says. */
static bool is_message(const char *pattern, const char *text)
{
    char own[SHMRT_ERROR_TEXT_BYTES];
    snprintf(own, sizeof own, "%s", text);
    char *end = strstr(own, " had waited ");
    while (end && end > own && *end != ';')
        end--;
    if (matches(pattern, text))
        return true;
    if (end)
        *end = '\0';
    return end && matches(pattern, own);
}

bool is_documented(const struct shmrt_error *error, const char *words)
{
    char line[LINE_BYTES], *message = NULL;
    FILE *doc = fopen(SHMRT_ERRORS_DOC, "r");
    bool is_there = false, found = false;
    while (doc && !found && fgets(line, sizeof line, doc)) {
        const char *rest = cut_message(line, &message);
        if (!rest || !strstr(message, words))
            continue;
        is_there = true;
        found = is_message(message, error->text) && has_code(rest, error->code);
    }
    if (doc)
        fclose(doc);
    if (!found)
        fprintf(stderr, "code %d: \"%s\" is not %s row of docs/errors.md with \"%s\"\n",
                error->code, error->text, is_there ? "the" : "a", words);
    return found;
}
