/* SPDX-License-Identifier: Apache-2.0 */
/* hello.c - whether two ranks that meet fit each other. */
#include "hello.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static int compare_number(const char *what, const char *advice, uint64_t mine, uint64_t theirs,
                          const struct shmrt_hello *own, const struct shmrt_hello *peer,
                          struct shmrt_error *error_out)
{
    if (mine == theirs)
        return 0;
    return shmrt_error_set(error_out, -EPROTO,
                           "rank %d (pid %d) and rank %d (pid %d) differ in %s: %" PRIu64
                           " and %" PRIu64 "; %s",
                           own->rank, own->pid, peer->rank, peer->pid, what, mine, theirs, advice);
}

int shmrt_hello_compare(const struct shmrt_hello *own, const struct shmrt_hello *peer,
                        struct shmrt_error *error_out)
{
    if (shmrt_hello_is_foreign(peer) || strcmp(own->version, peer->version) != 0)
        return shmrt_error_set(
            error_out, -EPROTO,
            "rank %d (pid %d) runs shmrt %s (protocol %u), rank %d (pid %d) runs shmrt %s "
            "(protocol %u); install one version for all ranks",
            own->rank, own->pid, own->version, own->head.protocol, peer->rank, peer->pid,
            peer->version, peer->head.protocol);
    if (strncmp(own->job, peer->job, SHMRT_JOB_BYTES) != 0)
        return shmrt_error_set(
            error_out, -EPROTO,
            "the job keys %s and %.*s meet at one name; choose another SHMRT_JOB", own->job,
            SHMRT_JOB_BYTES - 1, peer->job);
    const char *same = "start all ranks with the same value";
    int rc = compare_number("the number of ranks", same, (uint64_t)own->size, (uint64_t)peer->size,
                            own, peer, error_out);
    if (!rc && (own->absent || peer->absent))
        return 0; /* there is nothing to be laid out, and all are going to hear why */
    if (!rc)
        rc = compare_number("SHMRT_SEGMENT", same, own->segment_bytes, peer->segment_bytes, own,
                            peer, error_out);
    if (!rc)
        rc = compare_number("SHMRT_POOL", same, own->pool_bytes, peer->pool_bytes, own, peer,
                            error_out);
    if (!rc)
        rc = compare_number("SHMRT_CHUNK", same, own->chunk_bytes, peer->chunk_bytes, own, peer,
                            error_out);
    if (!rc)
        rc = compare_number("SHMRT_ONESHOT_MAX", same, own->oneshot_max_bytes,
                            peer->oneshot_max_bytes, own, peer, error_out);
    if (!rc && strncmp(own->groups, peer->groups, SHMRT_GROUPS_BYTES) != 0)
        rc = shmrt_error_set(error_out, -EPROTO,
                             "rank %d (pid %d) and rank %d (pid %d) differ in SHMRT_GROUPS: %s and "
                             "%.*s; %s",
                             own->rank, own->pid, peer->rank, peer->pid, own->groups,
                             SHMRT_GROUPS_BYTES - 1, peer->groups, same);
    if (!rc && peer->lanes == 0) /* nobody says so who means well */
        rc = shmrt_error_set(error_out, -EPROTO, "rank %d (pid %d) says that it has no lanes",
                             peer->rank, peer->pid);
    return rc;
}
