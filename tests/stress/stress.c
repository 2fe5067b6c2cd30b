/* SPDX-License-Identifier: Apache-2.0 */
/* stress.c - arguments, clock and seed of programs that run for as long as they are asked to. */
#include "stress.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static _Noreturn void usage(const char *program, const struct stress_option *options, int status)
{
    FILE *out = status ? stderr : stdout;
    fprintf(out, "usage: %s [--option number]...\n", program);
    for (const struct stress_option *o = options; o->name; o++)
        fprintf(out, "  %-12s %s (%llu)\n", o->name, o->meaning, (unsigned long long)*o->value);
    exit(status);
}

/* What stands after "--name=", or in the next argument; NULL: @arg is not this option. */
static const char *value_of(const char *name, char **argv, int argc, int *at)
{
    size_t length = strlen(name);
    const char *arg = argv[*at];
    if (strncmp(arg, name, length) != 0)
        return NULL;
    if (arg[length] == '=')
        return arg + length + 1;
    return arg[length] == '\0' && *at + 1 < argc ? argv[++*at] : NULL;
}

void stress_parse(int argc, char **argv, const struct stress_option *options)
{
    for (int at = 1; at < argc; at++) {
        const char *text = NULL;
        const struct stress_option *o = options;
        if (strcmp(argv[at], "--help") == 0)
            usage(argv[0], options, 0);
        while (o->name && !(text = value_of(o->name, argv, argc, &at)))
            o++;
        char *end = NULL;
        errno = 0;
        uint64_t value = text ? strtoull(text, &end, 10) : 0;
        if (!text || end == text || *end || errno) {
            fprintf(stderr, "%s: %s is no option with a number\n", argv[0], argv[at]);
            usage(argv[0], options, 2);
        }
        *o->value = value;
    }
}

uint64_t stress_fresh_seed(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t seed = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    return seed ^ (uint64_t)getpid() << 20;
}
