/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine_xml.c - a topology file without its comments (L1). hwloc has two parsers of XML: one that
 * takes libxml2, which is a plugin and often not installed, and one of its own, which reads what
 * lstopo writes and stops at a comment. Without them a file means the same to both.
 */
#include "machine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX_BYTES ((size_t)64 << 20)

/* A pipe has no size, so it is read as long as there is more. Returns a string, NULL with errno set
 * otherwise. */
static char *read_all(FILE *file)
{
    size_t used = 0, room = 0;
    char *text = NULL;
    do {
        room = room ? 2 * room : 64 << 10;
        char *more = room <= FILE_MAX_BYTES ? realloc(text, room + 1) : NULL;
        if (!more) {
            free(text);
            errno = room <= FILE_MAX_BYTES ? ENOMEM : EFBIG;
            return NULL;
        }
        text = more;
        used += fread(text + used, 1, room - used, file);
    } while (used == room);
    if (ferror(file)) {
        free(text);
        return NULL;
    }
    text[used] = '\0';
    return text;
}

/* The line's end behind a comment goes too: hwloc's own parser wants headers in lines of their own.
 */
static void remove_comments(char *text)
{
    char *to = text;
    for (const char *from = text; *from;) {
        const char *end = strncmp(from, "<!--", 4) == 0 ? strstr(from + 4, "-->") : NULL;
        if (end)
            from = end[3] == '\n' ? end + 4 : end + 3;
        else
            *to++ = *from++;
    }
    *to = '\0';
}

char *shmrt_machine_xml_text(const char *path)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return NULL;
    char *text = read_all(file);
    int error = errno;
    fclose(file);
    errno = error;
    if (text)
        remove_comments(text);
    return text;
}
