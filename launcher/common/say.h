/* SPDX-License-Identifier: Apache-2.0 */
/* say.h - words for the person who started us */
#ifndef LAUNCH_SAY_H
#define LAUNCH_SAY_H

#include "shmrt.h"

#include <stdio.h>

/** One line on standard error, in one write, with our name in front. */
void launch_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** Make @text one line that does nothing to a terminal: it may hold names that others chose. */
void launch_clean(char *text);

/** Fill @error_out and hand back @code, for `return`. */
int launch_error(struct shmrt_error *error_out, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/** Close what open_memstream() has opened on @text, which is freed by the caller. Return: 0, or
 * -ENOMEM where it could not hold all. */
int launch_close(FILE *stream, char *const *text);

#endif
