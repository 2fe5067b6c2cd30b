/* SPDX-License-Identifier: Apache-2.0 */
/* preload.h - --preload: from the name of a library to LD_PRELOAD */
#ifndef LAUNCH_PRELOAD_H
#define LAUNCH_PRELOAD_H

#include "options/options.h"

/**
 * launch_preload_find - the ranks' LD_PRELOAD: the libraries asked for, then @own
 * @words: paths, file names such as libtcmalloc.so.4, or short names such as tcmalloc
 * @own:   the user's LD_PRELOAD, or NULL
 * @out:   free() it; NULL where neither has anything
 *
 * Each library is tried by the dynamic linker, in a process of its own that never gets to run.
 *
 * Return: 0, or a negative errno with what is missing, and where it was looked for, in @error_out.
 */
int launch_preload_find(const struct launch_words *words, const char *own, char **out,
                        struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

#endif
