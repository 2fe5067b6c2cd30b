/* SPDX-License-Identifier: Apache-2.0 */
/* bitmap.c - sets of CPUs, cores and nodes of any size. Bits beyond `bits` are never set. */
#include "bitmap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

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

size_t shmrt_bitmap_format(const struct shmrt_bitmap *set, char *buffer, size_t bytes)
{
    size_t at = 0;
    if (bytes)
        buffer[0] = '\0';
    for (size_t first = shmrt_bitmap_next(set, 0); first < set->bits;) {
        size_t last = first;
        while (shmrt_bitmap_has(set, last + 1))
            last++;
        char *to = at < bytes ? buffer + at : NULL;
        size_t room = at < bytes ? bytes - at : 0;
        const char *comma = at ? "," : "";
        int length = last > first ? snprintf(to, room, "%s%zu-%zu", comma, first, last)
                                  : snprintf(to, room, "%s%zu", comma, first);
        at += (size_t)length;
        first = shmrt_bitmap_next(set, last + 1);
    }
    return at;
}
