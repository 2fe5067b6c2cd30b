/* SPDX-License-Identifier: Apache-2.0 */
/* parse.h - from the command line and a configuration file to options that make sense together */
#ifndef LAUNCH_PARSE_H
#define LAUNCH_PARSE_H

#include "options.h"

/** Read argv; notes in given[] what stands there. Return: 0 or -EINVAL. */
int launch_parse(int argc, char **argv, struct launch_options *options,
                 struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

/** Refuse what contradicts itself. Return: 0 or -EINVAL with what would work. */
int launch_check(const struct launch_options *options,
                 struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

/**
 * launch_config_read - add what a configuration says and the command line does not
 * @name: a path when it has a slash or ends in .yaml or .yml; else looked up in the folders of
 *        configurations
 *
 * Return: 0, or a negative errno with file:line:column in @error_out.
 */
int launch_config_read(const char *name, struct launch_options *options,
                       struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

#endif
