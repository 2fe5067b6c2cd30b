/* SPDX-License-Identifier: Apache-2.0 */
/* logs.h - --log-dir: what each rank writes, byte for byte, in files of its own */
#ifndef LAUNCH_LOGS_H
#define LAUNCH_LOGS_H

#include "options/options.h"

#include <stddef.h>

/** One file, such as DIR/rank-3.err. */
struct launch_log {
    int fd;    /* -1: none, or lost */
    int error; /* errno of the write that failed; nothing is written after it */
    bool is_mid_line;
};

struct launch_logs {
    size_t ranks;
    struct launch_log out[SHMRT_MAX_RANKS], err[SHMRT_MAX_RANKS];
};

/**
 * launch_logs_open - create @dir where it is missing, but not its parents, and empty files in it
 * @first: the number in the first file's name
 *
 * Return: 0, or a negative errno with a sentence in @error_out.
 */
int launch_logs_open(const char *dir, size_t first, size_t ranks, struct launch_logs **logs_out,
                     struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

/** Put all of it into the file, or none of what follows either. */
void launch_log_write(struct launch_log *log, const char *bytes, size_t count);

/** Begin a line of its own in all files: what follows is of another attempt. */
void launch_logs_say(struct launch_logs *logs, const char *line);

/** errno of the first file that could not take it all; 0: none. */
int launch_logs_error(const struct launch_logs *logs);

/** Close the files. What only shows then (a quota of a file server) counts too. Return: as above.
 */
int launch_logs_close(struct launch_logs *logs);

#endif
