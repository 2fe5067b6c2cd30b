/* SPDX-License-Identifier: Apache-2.0 */
/* verify_words.h - the table of --verify, line by line */
#ifndef LAUNCH_VERIFY_WORDS_H
#define LAUNCH_VERIFY_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct launch_judgement;
struct shmrt_bitmap;

/** "0", "12 KiB", "3.4 MiB". */
void launch_words_bytes(uint64_t bytes, char *text_out, size_t room);

/** A set as the kernel writes lists; one that is longer than @room ends in "...". */
void launch_words_set(const struct shmrt_bitmap *set, char *text_out, size_t room);

/**
 * launch_words_table - what was seen, a line a rank below a line of titles
 *
 * CPUs its threads may use; nodes its pages are on; amounts in each kind of memory, in brackets
 * how much of the kinds before it is in huge pages; elsewhere: how much of all is off the plan.
 * @judgements: NULL for a rank that was not looked at
 * @first:      the number of the first of them
 * @say:        takes each line
 */
void launch_words_table(const struct launch_judgement *const *judgements, size_t count,
                        size_t first, void (*say)(void *context, const char *line), void *context);

#endif
