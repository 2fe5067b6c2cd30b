/* SPDX-License-Identifier: Apache-2.0 */
/* hello.h - whether two ranks that meet fit each other (L1) */
#ifndef SHMRT_HELLO_H
#define SHMRT_HELLO_H

#include "message.h"

/**
 * shmrt_hello_compare - everything that has to be equal before segments can be laid out alike
 * (pure)
 * @own:  this rank's
 * @peer: another's; its texts end in a zero byte
 *
 * Return: 0, or -EPROTO with words that name both.
 */
int shmrt_hello_compare(const struct shmrt_hello *own, const struct shmrt_hello *peer,
                        struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

#endif
