/* SPDX-License-Identifier: Apache-2.0 */
/* shared_file.h - anonymous files that ranks map: what segments and pools have in common (L1) */
#ifndef SHMRT_SHARED_FILE_H
#define SHMRT_SHARED_FILE_H

#include "base/error.h"

/** What a file is for, in messages. */
struct shmrt_file_use {
    const char *word;   /* "segment": a part of the file's name in /proc */
    const char *name;   /* "a shared segment" */
    const char *option; /* "SHMRT_SEGMENT" */
};

/**
 * shmrt_file_create - a file of @bytes, mapped here, of which no page is taken yet
 *
 * /proc/PID/maps and numa_maps show it as /memfd:shmrt-WORD-OWNER, OWNER being the process that
 * made it and whose nodes its pages belong on.
 * Return: 0, -EFBIG (`ulimit -f`), or a negative errno of the system; then nothing stays open.
 */
int shmrt_file_create(const struct shmrt_file_use *use, size_t bytes, int *fd_out, char **base_out,
                      struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

/** Map the file, kept from children. Return: 0 or a negative errno of the system. */
int shmrt_file_map(int fd, size_t bytes, char **base_out) SHMRT_WARN_UNUSED;

/**
 * shmrt_file_take - take the pages of [from, from + bytes) at once
 *
 * A shortage is then an error here and not a SIGBUS later. Binding has to come before.
 * Return: 0, -ENOMEM (with the limit that is too small), or a negative errno of fallocate.
 */
int shmrt_file_take(const struct shmrt_file_use *use, int fd, size_t from, size_t bytes,
                    struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

/** Make the size constant for ever, whoever holds the descriptor. Return: 0 or a negative errno. */
int shmrt_file_seal(int fd) SHMRT_WARN_UNUSED;

/** Whether a file that came from a peer is sealed and of @bytes. */
bool shmrt_file_is_sealed(int fd, size_t bytes);

#endif
