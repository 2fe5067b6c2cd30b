/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_config.c - any bytes as a configuration: read without harm, or refused in one line that says
 * where. Entered by libFuzzer, or by replay.c with files.
 */
#include "options/config.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A refusal has a place and one line of text. */
static void check_refusal(int rc, const struct shmrt_error *error)
{
    if (rc >= 0 || error->code != rc || strncmp(error->text, "file:", strlen("file:")) != 0)
        abort();
    for (const char *c = error->text; *c; c++)
        if (iscntrl((unsigned char)*c))
            abort();
}

/* With nothing on the command line, or with all options there. */
static void parse(const char *text, size_t length, bool is_all_given)
{
    struct shmrt_error error = {0};
    struct launch_options options = launch_options_default();
    const struct launch_option *table = launch_option_table();
    for (const struct launch_option *o = table; is_all_given && o->name; o++) {
        options.given[o - table] = "";
        if (o->kind == LAUNCH_WORDS && launch_option_set(o, "A=b", &options, &error))
            abort();
    }
    size_t words = options.env.count;
    int rc = launch_config_parse("file", text, length, &options, &error);
    if (rc)
        check_refusal(rc, &error);
    for (size_t i = 0; i < words; i++)
        if (strcmp(options.env.words[i], "A=b") != 0)
            abort();
    if (is_all_given && options.preload.count != words)
        abort();
    launch_options_free(&options);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    parse((const char *)data, size, false);
    parse((const char *)data, size, true);
    return 0;
}
