/* SPDX-License-Identifier: Apache-2.0 */
/* documented.h - whether an error is a row of docs/errors.md, from its first to its last character
 */
#ifndef TEST_DOCUMENTED_H
#define TEST_DOCUMENTED_H

#include "shmrt.h"

#include <stdbool.h>

/**
 * is_documented - whether the row with @words is @error's whole message, and has its code
 *
 * What a row has in braces stands for any text. Says on stderr what is wrong.
 */
bool is_documented(const struct shmrt_error *error, const char *words);

/** Inside a test of cmocka, or a body of ranks.h: the error of a communicator or of making one. */
#define assert_documented(error, words) assert_true(is_documented(error, words))
#define CHECK_DOCUMENTED(error, words)  CHECK(is_documented(error, words))

#endif
