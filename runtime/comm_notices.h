/* SPDX-License-Identifier: Apache-2.0 */
/* comm_notices.h - warnings of a rank's creation, said once for all ranks (L4) */
#ifndef SHMRT_COMM_NOTICES_H
#define SHMRT_COMM_NOTICES_H

#include "base/error.h"
#include "shm/rendezvous.h"

/** Hashes of the warnings of a communicator and those that it is a part of; 0 where none is. A line
 * for which there is no room is said again by a part. */
struct shmrt_told {
    uint64_t hashes[4 * SHMRT_NOTICES_MOST];
};

/** Lines that were logged before the ranks met. Those that do not fit are passed on at once. */
struct shmrt_notices {
    struct shmrt_logger logger;    /* where they go in the end */
    const struct shmrt_told *told; /* lines that are not said again */
    int count;
    char lines[SHMRT_NOTICES_MOST][SHMRT_ERROR_TEXT_BYTES];
};

/** A logger that keeps warnings in @notices; what is no warning is passed on. */
struct shmrt_logger shmrt_notices_logger(struct shmrt_notices *notices);

/** What the others need to know of them: a hash of each line, 0 for none. */
void shmrt_notices_show(const struct shmrt_notices *notices, struct shmrt_hello *mine);

/**
 * shmrt_notices_tell - say each line, unless a lower rank has the same one and says it
 * @links: of all ranks, which have met
 */
void shmrt_notices_tell(const struct shmrt_notices *notices, const struct shmrt_hello *mine,
                        const struct shmrt_link *links);

/** The same where the ranks did not meet: all lines, for this rank alone. */
void shmrt_notices_tell_alone(const struct shmrt_notices *notices);

/** Add the lines to those that parts of this communicator need not say. */
void shmrt_notices_remember(const struct shmrt_notices *notices, struct shmrt_told *told);

#endif
