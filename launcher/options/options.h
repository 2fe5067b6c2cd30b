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

    LAUNCH_OPTIONS_MAX = 64,
    LAUNCH_WORDS_MAX = 64,
};

/** Values of an option that may be given several times, in order. */
struct launch_words {
    size_t count;
    char *words[LAUNCH_WORDS_MAX];
};

/** Who reads what is typed: ranks counted over all machines. */
enum { LAUNCH_STDIN_NONE = -1, LAUNCH_STDIN_ALL = -2 };

struct launch_options {
    struct shmrt_placement_request request; /* its cpus and nodes are those below */
    struct shmrt_bitmap cpus, nodes;        /* no words: all */
    char *config;
    char *topology;
    size_t timeout_ms; /* 0: none */
    size_t grace_ms;
    size_t restarts;
    int stdin_rank; /* a rank of this machine, or one of the enum above */
    char *log_dir;  /* NULL: none */
    struct launch_words env, preload;
    size_t machines; /* --nnodes; 0: as the environment says, else 1 */
    size_t machine;  /* --node-rank */
    char *address;   /* --master-addr; NULL: as the environment says, else this machine */
    size_t port;     /* --master-port; 0: any free one */
    bool is_plan;    /* the word after shm-launch is "plan": show, never start */
    char *diff[2];   /* plan --diff A B */
    char *draw;      /* the file to draw to */
    bool dry_run, report, json, verify, strict, no_bind, no_prefix, timestamps, help, version;
    /* By position in the table: the value on the command line, "" of a flag; NULL: not there. */
    const char *given[LAUNCH_OPTIONS_MAX];
    char **command; /* NULL-terminated; NULL: none */
};

enum launch_kind {
    LAUNCH_FLAG,
    LAUNCH_NUMBER,
    LAUNCH_SECONDS, /* kept in milliseconds */
    LAUNCH_TEXT,
    LAUNCH_WORDS, /* texts, one each time the option is given */
    LAUNCH_PAIR,  /* two texts, one word each */
    LAUNCH_LIST,  /* a set of numbers */
    LAUNCH_CHOICE,
    LAUNCH_READER, /* a rank, all or none */
};

/** A word and what it stands for; the list's end has no word. */
struct launch_choice {
    const char *word;
    int value;
};

struct launch_option {
    const char *name; /* without the dashes */
    char letter;      /* 0: none */
    const char *value;
    enum launch_kind kind;
    size_t offset; /* in struct launch_options */
    size_t least, most;
    const struct launch_choice *choices;
    bool in_config;
    const char *help; /* one line of at most 68 characters */
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

/** Everything as it is when nothing is said. */
struct launch_options launch_options_default(void);

/** Release what the values hold. */
void launch_options_free(struct launch_options *options);

/** --help, to standard output. */
void launch_options_help(void);

#endif
