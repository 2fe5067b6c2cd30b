/* SPDX-License-Identifier: Apache-2.0 */
/* show.h - a machine and a plan, for people (table, drawing, difference) and for programs (JSON) */
#ifndef LAUNCH_SHOW_H
#define LAUNCH_SHOW_H

#include "options/options.h"

#include <stdio.h>

/** What every picture of a plan is made from. */
struct launch_shown {
    const struct launch_options *options;
    const struct shmrt_machine *machine;
    const struct shmrt_plan *plan;
    const struct launch_words *notes; /* besides the plan's own; NULL: none */
};

struct json_t;

/** Raised when a field of the JSON goes, or changes its meaning; not for a new one. */
enum { LAUNCH_PLAN_FORMAT = 1 };

/** Columns where nobody says how many, and the most that are used. */
enum { LAUNCH_PAPER_WIDTH = 100, LAUNCH_WIDTH_MAX = 512 };

/** How many columns @fd's terminal has; LAUNCH_PAPER_WIDTH where it is none. */
size_t launch_terminal_width(int fd);

/** What --topology says, or which machine it is without. */
const char *launch_machine_name(const struct launch_shown *shown);

/** The machine in one sentence without an end: its name, what it has, what may be used. */
void launch_put_machine(const struct launch_shown *shown, FILE *out);

/** The same without its name. */
void launch_put_parts(const struct launch_shown *shown, FILE *out);

/** The set in the kernel's notation, "" when empty. Return: text to free(), or NULL: no memory. */
char *launch_set_text(const struct shmrt_bitmap *set);

/** "1.5 TiB" */
void launch_bytes_text(uint64_t bytes, char *text_out, size_t size);

/** @text as UTF-8, since paths are just bytes: where it is none, question marks take the place of
 * what is not ASCII. Return: text to free(), or NULL: no memory. */
char *launch_utf8(const char *text);

/** The word that option @name has for @value; "?": none. */
const char *launch_choice_word(const char *name, int value);

/**
 * launch_plan_json - the plan as docs/launcher.md describes it ("Showing a plan")
 *
 * Return: 0, and an object to json_decref(); or -ENOMEM.
 */
int launch_plan_json(const struct launch_shown *shown, struct json_t **json_out) SHMRT_WARN_UNUSED;

/** The same as one line without a newline, for SHM_LAUNCH_PLAN. Return: text to free(), or NULL. */
char *launch_plan_json_line(const struct launch_options *options,
                            const struct shmrt_machine *machine, const struct shmrt_plan *plan);

/** --json: the same in a layout for people too, one rank a line. Return: 0 or a negative errno. */
int launch_show_json(const struct launch_shown *shown, FILE *out) SHMRT_WARN_UNUSED;

/** The plan as a table of at most @width columns, and its notes. Return: 0 or -ENOMEM. */
int launch_show_table(const struct launch_shown *shown, size_t width, FILE *out) SHMRT_WARN_UNUSED;

/** --draw: the machine and the ranks as SVG, to a file, or to standard output when @path is "-". */
int launch_draw(const struct launch_shown *shown, const char *path,
                struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

#endif
