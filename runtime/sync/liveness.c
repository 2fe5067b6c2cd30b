/* SPDX-License-Identifier: Apache-2.0 */
/*
 * liveness.c - whether every rank can still do its part in the call that is waited in.
 *
 * A pidfd tells a death within a millisecond, even when a forked worker of the dead rank still
 * holds its socket. The socket tells an orderly goodbye.
 *
 * All ranks are looked at for a death, not only the awaited one, which may be slow for long. A rank
 * that said goodbye is missed only by who waits for it: it may have done its part of what the
 * others are still in (the root of a broadcast has, long before they have read it).
 */
#include "sync.h"

#include "shm/message.h"

#include <errno.h>
#include <poll.h>

/* An exiting process closes its sockets a moment before its pidfd fires. */
enum { EXIT_GRACE_MS = 200 };

static bool is_readable(int fd, int wait_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return fd >= 0 && poll(&p, 1, wait_ms) > 0;
}

/* A rank that died, or the @awaited one when it left; -1 when there is none. */
static int find_gone(const struct shmrt_sync *sync, int awaited)
{
    struct pollfd fds[2 * SHMRT_MAX_RANKS];
    for (int r = 0; r < sync->size; r++) { /* poll skips negative descriptors */
        fds[2 * r] = (struct pollfd){.fd = sync->peers[r].socket, .events = POLLIN};
        fds[2 * r + 1] = (struct pollfd){.fd = sync->peers[r].pidfd, .events = POLLIN};
    }
    if (poll(fds, 2 * (nfds_t)sync->size, 0) <= 0)
        return -1;
    for (int r = 0; r < sync->size; r++)
        if ((fds[2 * r].revents || fds[2 * r + 1].revents) &&
            (r == awaited || shmrt_message_peek(sync->peers[r].socket) != SHMRT_MESSAGE_BYE))
            return r;
    return -1;
}

/* How it went, in words. */
static const char *how_gone(const struct shmrt_sync_peer *peer)
{
    bool hung_up = is_readable(peer->socket, 0);
    if (hung_up && shmrt_message_peek(peer->socket) == SHMRT_MESSAGE_BYE)
        return "has destroyed its communicator";
    if (is_readable(peer->pidfd, hung_up ? EXIT_GRACE_MS : 0) || peer->pidfd < 0)
        return "died";
    return "closed its communicator without a word";
}

enum shmrt_presence shmrt_presence_of(const struct shmrt_sync *sync, int rank)
{
    const struct shmrt_sync_peer *peer = &sync->peers[rank];
    bool hung_up = is_readable(peer->socket, 0);
    if (hung_up && shmrt_message_peek(peer->socket) == SHMRT_MESSAGE_BYE)
        return SHMRT_LEFT;
    return hung_up || is_readable(peer->pidfd, 0) ? SHMRT_GONE : SHMRT_HERE;
}

int shmrt_check_peers(struct shmrt_sync *sync, const struct shmrt_awaited *awaited,
                      int64_t waited_ns)
{
    int gone = find_gone(sync, awaited->peer);
    if (gone < 0)
        return 0;
    const char *how = how_gone(&sync->peers[gone]);
    /* The flag may have come meanwhile, or a rank may have said why it gave up before it went. */
    int rc = shmrt_check_aborts(sync, awaited, waited_ns);
    if (rc || shmrt_is_here(awaited))
        return rc;
    return shmrt_fail_waiting(sync, -ECONNABORTED, awaited, waited_ns, "rank %d (pid %d) %s", gone,
                              sync->peers[gone].pid, how);
}
