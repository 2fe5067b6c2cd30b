/* SPDX-License-Identifier: Apache-2.0 */
/* config.h - the text of a configuration, wherever it was found */
#ifndef LAUNCH_CONFIG_H
#define LAUNCH_CONFIG_H

#include "options.h"

/**
 * launch_config_parse - add what a configuration says and the command line does not
 * @path:   what messages call it
 * @text:   YAML in UTF-8, @length bytes; need not end in NUL
 *
 * Of an option that can be given several times, the command line's values replace those of the
 * configuration; of NAME=VALUE pairs, those with the same name.
 *
 * Return: 0, or a negative errno with path:line:column in @error_out.
 */
int launch_config_parse(const char *path, const char *text, size_t length,
                        struct launch_options *options,
                        struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

#endif
