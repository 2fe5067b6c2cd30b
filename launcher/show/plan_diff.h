/* SPDX-License-Identifier: Apache-2.0 */
/* plan_diff.h - plan --diff: two plans, each saved or made from a configuration, and what differs
 */
#ifndef LAUNCH_PLAN_DIFF_H
#define LAUNCH_PLAN_DIFF_H

#include "options/options.h"

/** As diff(1) exits; trouble is LAUNCH_EXIT_USAGE. */
enum { LAUNCH_EXIT_SAME = 0, LAUNCH_EXIT_DIFFERENT = 1 };

struct json_t;

/**
 * launch_plan_read - the plan that @name stands for, with all fields in their types
 * @name: "-", FILE.json or a path to what --json wrote; else a configuration, which is planned with
 *        the options of @argv
 *
 * Return: 0, and an object to json_decref(); or a negative errno with what is wrong and where.
 */
int launch_plan_read(const char *name, int argc, char **argv, struct json_t **plan_out,
                     struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

/** Show what differs, to standard output. Return: an exit code, with a sentence for trouble. */
int launch_plan_diff(char *const names[2], int argc, char **argv, struct shmrt_error *error_out);

#endif
