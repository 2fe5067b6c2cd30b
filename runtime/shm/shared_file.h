/* SPDX-License-Identifier: Apache-2.0 */
/* shared_file.h - anonymous files that ranks map: what segments and pools have in common (L1) */
#ifndef SHMRT_SHARED_FILE_H
#define SHMRT_SHARED_FILE_H

#include "base/error.h"
#include "base/list.h"

/** What a file is for, in messages. */
struct shmrt_file_use {
    const char *word;   /* "segment": a part of the file's name in /proc */
    const char *name;   /* "a shared segment" */
    const char *option; /* "SHMRT_SEGMENT" */
};

enum shmrt_page_kind {
    SHMRT_PAGES_ORDINARY,
    SHMRT_PAGES_TRANSPARENT, /* huge ones where the kernel finds room */
    SHMRT_PAGES_HUGETLB,     /* huge ones out of the kernel's pool of them */
};

/** A file and its mapping here. */
struct shmrt_file {
    char *base;          /* NULL: not mapped */
    size_t bytes;        /* that were asked for */
    size_t mapped_bytes; /* of the file and the mapping: up to a whole page of its kind */
    size_t page_bytes;   /* of hugetlb, else of the system */
    enum shmrt_page_kind kind;
    int fd;        /* -1 once closed; the mapping stays */
    int bind_code; /* what mbind said, of the owner's file: 0 or a negative errno */
    struct shmrt_nodeset bound_nodes; /* by it; empty: none */
};

/**
 * struct shmrt_file_wish - a file to be made
 * @taken_bytes: whose pages are taken at once
 * @nodes:       where they have to come from; NULL: wherever first touch puts them
 */
struct shmrt_file_wish {
    const struct shmrt_file_use *use;
    size_t bytes;
    size_t taken_bytes;
    enum shmrt_page_kind kind;
    const struct shmrt_nodeset *nodes;
};

/**
 * shmrt_file_make - a file, mapped here, bound, and some of its pages taken
 *
 * /proc/PID/maps and numa_maps show it as /memfd:shmrt-WORD-OWNER, OWNER being the process that
 * made it and whose nodes its pages belong on. With hugetlb all of its pages are promised by the
 * kernel at once. Where it has too few, or no transparent ones, one line goes to @logger, and
 * ordinary ones serve. A mbind that is refused is left in bind_code.
 *
 * Return: 0, -EFBIG (`ulimit -f`), -ENOMEM (with the limit that is too small), or a negative errno
 * of the system; then nothing stays open.
 */
int shmrt_file_make(const struct shmrt_file_wish *wish, const struct shmrt_logger *logger,
                    struct shmrt_file *file_out, struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

/**
 * shmrt_file_attach - map a peer's file, kept from children; takes @fd over, also on failure
 *
 * Return: 0, -EPROTO (it is not sealed, or not of @bytes), -EXDEV (it is of hugetlb pages, and not
 * @hugetlb), or a negative errno of the system.
 */
int shmrt_file_attach(int fd, size_t bytes, bool hugetlb,
                      struct shmrt_file *file_out) SHMRT_WARN_UNUSED;

/** The words for a file of @rank, @name, that was not taken for reason @code. Return: -EPROTO. */
int shmrt_file_refuse(int code, const char *name, size_t bytes, int rank,
                      struct shmrt_error *error_out);

/**
 * shmrt_file_take - take the pages of [from, from + bytes) at once, and map them here
 * @from: at the begin of a page
 *
 * A shortage is then an error here and not a SIGBUS later. Binding has to come before.
 * Return: 0, -ENOMEM (with the limit that is too small), or another negative errno.
 */
int shmrt_file_take(const struct shmrt_file_use *use, const struct shmrt_file *file, size_t from,
                    size_t bytes, struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

/** Make the size constant for ever, whoever holds the descriptor. Return: 0 or a negative errno. */
int shmrt_file_seal(const struct shmrt_file *file) SHMRT_WARN_UNUSED;

/** @mapped: false in a forked child, which never had the mapping (MADV_DONTFORK). */
void shmrt_file_release(struct shmrt_file *file, bool mapped);

/** The descriptor is needed only to hand the file out, and to grow. */
void shmrt_file_close_fd(struct shmrt_file *file);

#endif
