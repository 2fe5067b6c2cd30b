/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_list.h - the two parts of fuzz_list.c, which cannot include each other's headers */
#ifndef FUZZ_LIST_H
#define FUZZ_LIST_H

#include "shmrt.h"

enum { FUZZ_TEXT_MOST = 600 };

/** A negative code has words. */
void fuzz_check_words(int rc, const struct shmrt_error *error);

/** @text as the value of an option; "": as a whole setting. Groups are found for every rank. */
void fuzz_read_option(const char *key, const char *text);

#endif
