/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_list_options.c - the part of fuzz_list.c that knows communicators. */
#include "bytes.h"
#include "comm.h"
#include "fuzz_list.h"

#include <stdio.h>
#include <string.h>

void fuzz_check_words(int rc, const struct shmrt_error *error)
{
    must(rc <= 0 && (rc == 0 || (error->code == rc && error->text[0])));
}

/* Every rank comes to a group of its own accord, or all are refused. */
static void read_groups(const struct shmrt_options *options, int size)
{
    int refused = 0;
    if (options->groups[0] == 'a' || options->groups[0] == 'n' || options->groups[0] == 's')
        return; /* words that ask this machine */
    for (int r = 0; r < size; r++) {
        struct shmrt_error error = {0};
        int64_t group;
        int rc = shmrt_groups_own(options, r, size, &group, &error);
        fuzz_check_words(rc, &error);
        must(rc || (group >= 0 && group < SHMRT_GROUPS_BYTES));
        refused += rc != 0;
    }
    must(refused == 0 || refused == size);
}

void fuzz_read_option(const char *key, const char *text)
{
    char setting[FUZZ_TEXT_MOST + 32];
    const char *const settings[] = {setting, NULL};
    struct shmrt_options options;
    struct shmrt_error error = {0};
    snprintf(setting, sizeof setting, "%s%s%s", key, *key ? "=" : "", text);
    int rc = shmrt_options_load(settings, &options, &error);
    fuzz_check_words(rc, &error);
    if (rc == 0 && strcmp(key, "groups") == 0)
        for (int size = 1; size <= SHMRT_MAX_RANKS; size *= 4)
            read_groups(&options, size);
}
