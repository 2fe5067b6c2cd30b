/* SPDX-License-Identifier: Apache-2.0 */
/*
 * comm_split.c - subgroups: the ranks tell each other their colors, then each group meets as a
 * communicator of its own, at a key made of its parent's. So it has its own segments, epoch and
 * failures: what happens in one group does not reach another.
 */
#include "comm.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

struct wish {
    int32_t color;
    int32_t key;
};

/* Fills rank and size of the new communicator: by key, then by rank here. */
static void take_place(const struct wish *wishes, int size, int rank, struct shmrt_params *params)
{
    const struct wish *own = &wishes[rank];
    for (int r = 0; r < size; r++) {
        if (wishes[r].color != own->color)
            continue;
        params->size++;
        params->rank += wishes[r].key < own->key || (wishes[r].key == own->key && r < rank);
    }
}

int shmrt_comm_split(struct shmrt_comm *comm, int color, int key, struct shmrt_comm **comm_out)
{
    struct wish own = {color, key}, all[SHMRT_MAX_RANKS];
    char name[48];
    int rc = shmrt_allgather(comm, &own, all, sizeof own, SHMRT_UINT8);
    if (rc)
        return rc;
    unsigned number = ++comm->splits;
    if (color < 0) {
        *comm_out = NULL;
        return 0;
    }
    const struct shmrt_sync *sync = &comm->group.sync;
    struct shmrt_params params = {.job = comm->key,
                                  .name = name,
                                  .log = sync->logger.log,
                                  .log_arg = sync->logger.arg,
                                  .interrupt = sync->interrupt.check,
                                  .interrupt_arg = sync->interrupt.arg};
    snprintf(name, sizeof name, "split-%u-%d", number, color);
    take_place(all, sync->size, sync->rank, &params);
    return shmrt_comm_build(&params, &comm->options, comm_out, &comm->error);
}
