/* SPDX-License-Identifier: Apache-2.0 */
/* comm_who.h - who is where, in words (L4) */
#ifndef SHMRT_COMM_WHO_H
#define SHMRT_COMM_WHO_H

#include "comm.h"

/** "pid 7, died, in all-reduce #12 (sum of 1000 float32), 1 behind, waiting 0.3 s for rank 1". */
void shmrt_who_describe(const struct shmrt_comm *comm, int rank, char *out, size_t bytes);

/** One warning that says it of all ranks. */
void shmrt_who_log(const struct shmrt_comm *comm);

#endif
