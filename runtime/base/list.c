/* SPDX-License-Identifier: Apache-2.0 */
/* list.c - reads lists of numbers and ranges, range by range. */
#include "list.h"

#include <ctype.h>
#include <stdlib.h>

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
