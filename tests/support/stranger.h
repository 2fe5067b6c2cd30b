/* SPDX-License-Identifier: Apache-2.0 */
/* stranger.h - a rank 0 that is made up, and answers the hello of rank 1 with what no rank sends */
#ifndef TEST_STRANGER_H
#define TEST_STRANGER_H

#include "shm/message.h"

#include <stddef.h>

/** A memfd; -1, with errno: it can't be made here. @flags: besides those that any has. */
int stranger_memfd(unsigned flags, size_t bytes, int seals);

/**
 * stranger_answer - be rank 0 of @job, and meet rank 1
 * @shown:  instead of a segment and a pool; closed at the end
 * @change: NULL, or what becomes of rank 1's own hello, which it is sent back
 *
 * Says that all is well, too, and goes when rank 1 has said how it went there. Asserts (cmocka)
 * that rank 1 comes.
 */
void stranger_answer(const char *job, const int shown[2],
                     void (*change)(struct shmrt_hello *hello));

#endif
