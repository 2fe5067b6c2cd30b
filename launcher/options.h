/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.h - every option of shm-launch, from ONE table
 *
 * The command line, the configuration files, --help and the error messages all read the table in
 * options.c, so they can't drift apart.
 */
#ifndef LAUNCH_OPTIONS_H
#define LAUNCH_OPTIONS_H

#include "shmrt_placement.h"

enum {
    LAUNCH_EXIT_USAGE = 2,
    LAUNCH_EXIT_TIMEOUT = 124,
    LAUNCH_EXIT_TROUBLE = 125, /* the launcher itself could not do its work */
    LAUNCH_EXIT_NOT_EXECUTABLE = 126,
    LAUNCH_EXIT_NOT_FOUND = 127,
    LAUNCH_EXIT_SIGNAL = 128, /* plus the signal's number */

    LAUNCH_OPTIONS_MAX = 32,
};

struct launch_options {
    struct shmrt_placement_request request;
    const char *config;
    const char *topology;
    size_t timeout_ms; /* 0: none */
    size_t grace_ms;
    size_t port; /* 0: any free one */
    bool dry_run, strict, no_bind, no_prefix, help, version;
    bool given[LAUNCH_OPTIONS_MAX]; /* by position in the table: on the command line */
    char **command;                 /* NULL-terminated; NULL: none */
};

enum launch_kind {
    LAUNCH_FLAG,
    LAUNCH_NUMBER,
    LAUNCH_SECONDS, /* kept in milliseconds */
    LAUNCH_TEXT,
    LAUNCH_PLACE,
    LAUNCH_MEMORY,
};

struct launch_option {
    const char *name; /* without the dashes */
    char letter;      /* 0: none */
    const char *value;
    enum launch_kind kind;
    size_t offset; /* in struct launch_options */
    size_t least, most;
    bool in_config;
    const char *help; /* lines of at most 54 characters */
};

/** The table; its end has no name. */
const struct launch_option *launch_option_table(void);

/** By long name or by letter; NULL: no such option. */
const struct launch_option *launch_option_find(const char *name, size_t length);
const struct launch_option *launch_option_find_letter(char letter);

/** The long name that @name may have been meant to be; NULL: nothing is close. */
const char *launch_option_guess(const char *name, size_t length, bool in_config);

/**
 * launch_option_set - parse @value and store it
 *
 * Return: 0, or -EINVAL with what is wrong with the value and what would do in @error_out.
 */
int launch_option_set(const struct launch_option *option, const char *value,
                      struct launch_options *options,
                      struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

/** Bytes of the option's field at its offset. */
size_t launch_option_bytes(const struct launch_option *option);

/** Everything as it is when nothing is said. */
struct launch_options launch_options_default(void);

/** --help, to standard output. */
void launch_options_help(void);

#endif
