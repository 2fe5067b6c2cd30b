/* SPDX-License-Identifier: Apache-2.0 */
/* bitmap.c - sets of CPUs, cores and nodes of any size. Bits beyond `bits` are never set. */
#include "bitmap.h"

#include "base/error.h"
#include "base/list.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBER_MOST = 65535 };

int shmrt_bitmap_alloc(size_t bits, struct shmrt_bitmap *out)
{
    uint64_t *words = calloc(bits / 64 + 1, sizeof *words);
    if (!words)
        return -ENOMEM;
    *out = (struct shmrt_bitmap){.bits = bits, .words = words};
    return 0;
}

void shmrt_bitmap_free(struct shmrt_bitmap *set)
{
    free(set->words);
    *set = (struct shmrt_bitmap){0};
}

size_t shmrt_bitmap_count(const struct shmrt_bitmap *set)
{
    size_t count = 0;
    for (size_t i = 0; i < set->bits; i += 64)
        count += (size_t)__builtin_popcountll(set->words[i / 64]);
    return count;
}

static int parse_error(const char *text, struct shmrt_error *error_out)
{
    return shmrt_error_set(error_out, -EINVAL,
                           "\"%s\" is not a list of numbers up to %d, such as 0-3,8", text,
                           NUMBER_MOST);
}

int shmrt_bitmap_parse(const char *text, struct shmrt_bitmap *set_out,
                       struct shmrt_error *error_out)
{
    struct shmrt_bitmap set;
    if (shmrt_bitmap_alloc(NUMBER_MOST + 1, &set))
        return shmrt_error_set(error_out, -ENOMEM, "no memory for a list of numbers");
    const char *at = text;
    do {
        size_t first, last;
        at = shmrt_list_next(at, NUMBER_MOST, &first, &last);
        if (!at) {
            shmrt_bitmap_free(&set);
            return parse_error(text, error_out);
        }
        for (size_t number = first; number <= last; number++)
            shmrt_bitmap_set(&set, number);
    } while (*at);
    *set_out = set;
    return 0;
}

size_t shmrt_bitmap_format(const struct shmrt_bitmap *set, char *buffer, size_t bytes)
{
    return shmrt_list_format(set->words, set->bits, buffer, bytes);
}

struct shmrt_bitmap_text shmrt_bitmap_text(const struct shmrt_bitmap *set)
{
    struct shmrt_bitmap_text out;
    shmrt_list_format_cut(set->words, set->bits, out.text, sizeof out.text);
    return out;
}
