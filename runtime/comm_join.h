/* SPDX-License-Identifier: Apache-2.0 */
/* comm_join.h - how a rank with memory of its own becomes one of a communicator (L4) */
#ifndef SHMRT_COMM_JOIN_H
#define SHMRT_COMM_JOIN_H

#include "comm.h"

/** Whether the CPUs of the machine can't hold all ranks at once. */
bool shmrt_is_crowded(int size);

/** Room for what is shown at once; a threshold that is measured may use all of it. */
size_t shmrt_small_bytes(const struct shmrt_options *options);

/**
 * shmrt_comm_join - meet the other ranks, then agree with them; all of it or an error
 * @trouble: code 0, or why this rank won't go on: then the others are told, and it is returned
 *
 * Return: 0 or a negative errno; the links, the listener and what was mapped are @comm's all the
 * same.
 */
int shmrt_comm_join(struct shmrt_comm *comm, const struct shmrt_params *params,
                    const struct shmrt_notices *notices, const struct shmrt_error *trouble,
                    struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

/** shmrt_comm_attach - all ranks have met: map what they share, and fill what calls work on */
int shmrt_comm_attach(struct shmrt_comm *comm, const struct shmrt_params *params,
                      const struct shmrt_hello *mine,
                      struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

#endif
