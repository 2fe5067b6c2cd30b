/* SPDX-License-Identifier: Apache-2.0 */
/* list.c - reads and writes lists of numbers and ranges, range by range. */
#include "list.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Digits at @text; longer numbers end at SIZE_MAX, which is more than any limit. */
static const char *read_number(const char *text, size_t *number_out)
{
    char *end;
    if (!isdigit((unsigned char)*text))
        return NULL;
    *number_out = strtoul(text, &end, 10);
    return end;
}

const char *shmrt_list_next(const char *text, size_t most, size_t *first_out, size_t *last_out)
{
    const char *at = read_number(text, first_out);
    *last_out = *first_out;
    if (at && *at == '-')
        at = read_number(at + 1, last_out);
    if (!at || *first_out > *last_out || *last_out > most)
        return NULL;
    if (*at == ',' && at[1])
        return at + 1;
    return *at ? NULL : at;
}

static bool has(const uint64_t *words, size_t bits, size_t number)
{
    return number < bits && (words[number / 64] >> (number % 64) & 1);
}

size_t shmrt_list_format(const uint64_t *words, size_t bits, char *buffer, size_t bytes)
{
    size_t at = 0;
    if (bytes)
        buffer[0] = '\0';
    for (size_t first = 0; first < bits; first++) {
        size_t last = first;
        if (!has(words, bits, first))
            continue;
        while (has(words, bits, last + 1))
            last++;
        char *to = at < bytes ? buffer + at : NULL;
        size_t room = at < bytes ? bytes - at : 0;
        const char *comma = at ? "," : "";
        int length = last > first ? snprintf(to, room, "%s%zu-%zu", comma, first, last)
                                  : snprintf(to, room, "%s%zu", comma, first);
        at += (size_t)length;
        first = last;
    }
    return at;
}

void shmrt_list_format_cut(const uint64_t *words, size_t bits, char *buffer, size_t bytes)
{
    static const char more[] = ",...";
    if (shmrt_list_format(words, bits, buffer, bytes) < bytes)
        return;
    /* What stands before a comma is whole. */
    size_t end = bytes - sizeof more;
    while (end > 0 && buffer[end] != ',')
        end--;
    memcpy(buffer + end, end ? more : more + 1, end ? sizeof more : sizeof more - 1);
}

struct shmrt_nodes_text shmrt_nodeset_text(const struct shmrt_nodeset *set)
{
    struct shmrt_nodes_text out;
    shmrt_list_format_cut(set->words, SHMRT_NODES_MAX, out.text, sizeof out.text);
    return out;
}
