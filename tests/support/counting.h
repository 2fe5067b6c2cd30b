/* SPDX-License-Identifier: Apache-2.0 */
/* counting.h - what a process or the machine has open, as /proc lists it */
#ifndef TEST_COUNTING_H
#define TEST_COUNTING_H

/** Entries of a folder, but for "." and ".."; 0 where it can't be read. */
int count_entries(const char *folder);

/** Lines of a file in which @words stand, all of them for ""; 0 where it can't be read. */
int count_lines(const char *path, const char *words);

#endif
