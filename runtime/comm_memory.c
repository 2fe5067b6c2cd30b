/* SPDX-License-Identifier: Apache-2.0 */
/* comm_memory.c - the entry points of a communicator's pool. */
#include "comm.h"

static struct shmrt_pool *own_pool(const struct shmrt_comm *comm)
{
    return comm->pools[comm->group.sync.rank];
}

int shmrt_alloc(struct shmrt_comm *comm, size_t bytes, void **out)
{
    void *memory = NULL;
    int rc = shmrt_comm_check(comm);
    if (rc == 0)
        rc = shmrt_pool_alloc(own_pool(comm), bytes, &memory, &comm->error);
    if (rc)
        return rc;
    /* A block of a collective that failed may have been freed since the first look, and be this
     * one; its freeing came after the failure, so the failure shows here. */
    rc = shmrt_comm_check(comm);
    if (rc)
        shmrt_pool_free(memory);
    else
        *out = memory;
    return rc;
}

void shmrt_free(void *memory)
{
    shmrt_pool_free(memory);
}

void shmrt_comm_pool_stats(const struct shmrt_comm *comm, struct shmrt_pool_stats *out)
{
    *out = (struct shmrt_pool_stats){0};
    if (!shmrt_comm_is_forked(comm)) /* whose parent may have held the mutex */
        shmrt_pool_stats_of(own_pool(comm), out);
}
