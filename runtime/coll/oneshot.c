/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oneshot.c - small vectors: each rank shows its term once, and reads all others'.
 *
 * The own term comes straight from private memory. Reuse of the payload slots is safe for the
 * reason given in call.c.
 */
#include "group.h"

int shmrt_oneshot_allreduce(struct shmrt_group *group, const struct shmrt_reduction *reduction)
{
    size_t bytes = reduction->count * reduction->element_bytes;
    struct shmrt_call_context context =
        shmrt_call_begin(group, shmrt_call_of(reduction), reduction->in, bytes);
    const void *terms[SHMRT_MAX_RANKS];
    for (int r = 0; r < group->sync.size; r++) {
        terms[r] = reduction->in;
        if (r == group->sync.rank)
            continue;
        int rc = shmrt_call_check(group, &context, r, 0);
        if (rc)
            return rc;
        terms[r] = shmrt_call_payload(group, r, bytes);
    }
    shmrt_kernels_reduce(&group->kernels, reduction->dtype, reduction->op, reduction->out, terms,
                         group->sync.size, reduction->count);
    return 0;
}

int shmrt_oneshot_barrier(struct shmrt_group *group)
{
    struct shmrt_call call = {.collective = SHMRT_BARRIER};
    struct shmrt_call_context context = shmrt_call_begin(group, call, NULL, 0);
    return shmrt_call_check_all(group, &context, 0);
}
