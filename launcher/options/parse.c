/* SPDX-License-Identifier: Apache-2.0 */
/*
 * parse.c - the command line. The first word that is no option begins the command, so the command's
 * own options are never taken for ours.
 */
#include "parse.h"

#include "common/say.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

static int unknown(const char *word, const char *name, size_t length, struct shmrt_error *error_out)
{
    const char *guess = length > 1 ? launch_option_guess(name, length, false) : NULL;
    if (guess)
        return launch_error(error_out, -EINVAL, "unknown option %s; did you mean --%s?", word,
                            guess);
    return launch_error(error_out, -EINVAL,
                        "unknown option %s; shm-launch --help lists them, and -- stands before a "
                        "command that begins with a dash",
                        word);
}

/* "-np 2", as mpirun has it, would be the value "p". */
static bool is_other_launchers(const struct launch_option *option, const char *word)
{
    const char *guess = word[2] ? launch_option_guess(word + 1, strlen(word + 1), false) : NULL;
    return guess && isalpha((unsigned char)word[2]) && strcmp(guess, option->name) == 0;
}

static int set(const struct launch_option *option, const char *spelling, const char *value,
               struct launch_options *options, struct shmrt_error *error_out)
{
    struct shmrt_error why;
    size_t index = (size_t)(option - launch_option_table());
    const char *before = options->given[index];
    if (launch_option_set(option, value, options, &why))
        return launch_error(error_out, -EINVAL, "%s: %s", spelling, why.text);
    bool is_one = option->kind != LAUNCH_WORDS && option->kind != LAUNCH_PAIR;
    if (before && value && is_one && strcmp(before, value) != 0)
        return launch_error(error_out, -EINVAL,
                            "%s is given twice, with different values; keep one", spelling);
    options->given[index] = value ? value : "";
    return 0;
}

/* One option at argv[*at], and its value there or in the next word. */
static int parse_one(char **argv, int *at, struct launch_options *options,
                     struct shmrt_error *error_out)
{
    const char *word = argv[*at], *value = NULL;
    const struct launch_option *option;
    char spelling[64];
    if (word[1] == '-') {
        size_t length = strcspn(word + 2, "=");
        option = launch_option_find(word + 2, length);
        if (!option)
            return unknown(word, word + 2, length, error_out);
        value = word[2 + length] ? word + 3 + length : NULL;
        snprintf(spelling, sizeof spelling, "--%s", option->name);
    } else {
        option = launch_option_find_letter(word[1]);
        if (!option || (!option->value && word[2]))
            return unknown(word, word + 1, strlen(word + 1), error_out);
        if (option->value && is_other_launchers(option, word))
            return launch_error(error_out, -EINVAL, "unknown option %s; did you mean -%c %s?", word,
                                option->letter, argv[*at + 1] ? argv[*at + 1] : option->value);
        value = word[2] ? word + 2 : NULL;
        snprintf(spelling, sizeof spelling, "-%c", option->letter);
    }
    /* So that a configuration's can be taken back. */
    bool is_switch = value && option->kind == LAUNCH_FLAG &&
                     (strcmp(value, "true") == 0 || strcmp(value, "false") == 0);
    if (value && !option->value && !is_switch)
        return launch_error(error_out, -EINVAL, "%s takes no value, but has \"%s\"", spelling,
                            value);
    if (!value && option->value && !(value = argv[*at + 1]))
        return launch_error(error_out, -EINVAL, "%s needs a value: %s %s", spelling, spelling,
                            option->value);
    *at += option->value && value == argv[*at + 1] ? 2 : 1;
    int rc = set(option, spelling, value, options, error_out);
    if (rc || option->kind != LAUNCH_PAIR)
        return rc;
    if (!argv[*at])
        return launch_error(error_out, -EINVAL, "%s needs two values: %s %s", spelling, spelling,
                            option->value);
    return set(option, spelling, argv[(*at)++], options, error_out);
}

int launch_parse(int argc, char **argv, struct launch_options *options,
                 struct shmrt_error *error_out)
{
    options->is_plan = options->dry_run = argc > 1 && strcmp(argv[1], "plan") == 0;
    int at = 1 + options->is_plan;
    while (at < argc && argv[at][0] == '-' && argv[at][1] && strcmp(argv[at], "--") != 0) {
        int rc = parse_one(argv, &at, options, error_out);
        if (rc)
            return rc;
    }
    if (at < argc && strcmp(argv[at], "--") == 0)
        at++;
    options->command = at < argc ? argv + at : NULL;
    return 0;
}

static int check_diff(const struct launch_options *options, struct shmrt_error *error_out)
{
    if (!options->is_plan)
        return launch_error(error_out, -EINVAL,
                            "--diff compares plans and starts nothing: shm-launch plan --diff %s "
                            "%s",
                            options->diff[0], options->diff[1]);
    if (options->config)
        return launch_error(error_out, -EINVAL,
                            "--diff has its own configurations: put %s in the place of %s or %s, "
                            "and leave --config out",
                            options->config, options->diff[0], options->diff[1]);
    if (options->json || options->draw)
        return launch_error(error_out, -EINVAL,
                            "%s shows one plan and --diff compares two: keep one",
                            options->json ? "--json" : "--draw");
    return 0;
}

/* What stands there already may be a device or a pipe, but no file of another kind is lost. */
static int check_draw(const struct launch_options *options, struct shmrt_error *error_out)
{
    const char *path = options->draw, *dot = strrchr(path, '.');
    struct stat status;
    if (path[0] == '-' && path[1])
        return launch_error(error_out, -EINVAL,
                            "--draw needs a file, and \"%s\" looks like an option: --draw FILE.svg",
                            path);
    if (strcmp(path, "-") == 0 && (!options->dry_run || options->json))
        return launch_error(error_out, -EINVAL,
                            "--draw - and %s would both go to standard output: draw to a file",
                            options->json ? "--json" : "what the ranks write");
    if (strcmp(path, "-") == 0 || (dot && strcasecmp(dot, ".svg") == 0) ||
        (stat(path, &status) == 0 && !S_ISREG(status.st_mode)))
        return 0;
    return launch_error(error_out, -EINVAL,
                        "--draw writes SVG, and \"%.200s\" does not end in .svg: name it so, or "
                        "give - for standard output",
                        path);
}

int launch_check(const struct launch_options *options, struct shmrt_error *error_out)
{
    if (options->diff[0])
        return check_diff(options, error_out);
    if (options->topology && !options->dry_run)
        return launch_error(error_out, -EINVAL,
                            "--topology describes another machine, where nothing can be started "
                            "from here: add --dry-run to see the plan, or leave it out");
    if (options->json && !options->dry_run)
        return launch_error(error_out, -EINVAL,
                            "--json shows a plan, and nothing is shown when a job runs: add "
                            "--dry-run, or leave it out");
    if (options->draw && check_draw(options, error_out))
        return -EINVAL;
    if (options->no_bind && options->strict)
        return launch_error(error_out, -EINVAL,
                            "--strict wants everything bound and --no-bind nothing: keep one");
    if (options->no_bind && options->verify)
        return launch_error(error_out, -EINVAL,
                            "--verify compares with what is bound, and --no-bind binds nothing: "
                            "keep one");
    if (options->request.ranks == 0 && options->request.per == SHMRT_PLACE_SPREAD)
        return launch_error(error_out, -EINVAL,
                            "how many ranks? -n 2 for two, or --per socket for one on each socket");
    if (!options->command && !options->dry_run)
        return launch_error(error_out, -EINVAL,
                            "what shall the ranks run? For example: shm-launch -n 2 python "
                            "infer.py; or add --dry-run to see the plan only");
    return 0;
}
