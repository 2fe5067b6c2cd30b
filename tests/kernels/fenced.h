/* SPDX-License-Identifier: Apache-2.0 */
/* fenced.h - memory between two pages that fault: an access past either end is a crash */
#ifndef TEST_FENCED_H
#define TEST_FENCED_H

#include <stddef.h>

struct fenced {
    char *begin;
    size_t bytes;
};

/** At least @bytes, in whole pages. */
struct fenced fenced_open(size_t bytes);
void fenced_close(struct fenced *fenced);

/**
 * fenced_place - where @bytes of a vector start
 * @offset: bytes from the beginning, or -1: the vector ends with the last byte
 */
char *fenced_place(const struct fenced *fenced, size_t bytes, int offset);

/** Fill all of it with a pattern. */
void fenced_paint(const struct fenced *fenced);

/** Fail the test unless the pattern stands everywhere but in @bytes at @at. */
void fenced_check_paint(const struct fenced *fenced, const char *at, size_t bytes);

#endif
