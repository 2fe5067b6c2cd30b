/* SPDX-License-Identifier: Apache-2.0 */
/*
 * liveness.c - whether an awaited rank can still come.
 *
 * A pidfd tells a death within a millisecond, even when a forked worker of the dead rank still
 * holds its socket. The socket tells an orderly goodbye. Only the awaited rank is looked at: one
 * that took part to the end and then exited is no reason to fail.
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

int shmrt_check_peer(struct shmrt_sync *sync, const struct shmrt_wait *wait)
{
    const struct shmrt_sync_peer *peer = &sync->peers[wait->peer];
    bool hung_up = is_readable(peer->socket, 0);
    bool left = hung_up && shmrt_message_peek(peer->socket) == SHMRT_MESSAGE_BYE;
    bool died = !left && (is_readable(peer->pidfd, hung_up ? EXIT_GRACE_MS : 0) ||
                          (hung_up && peer->pidfd < 0));
    if (!left && !died && !hung_up)
        return 0;
    /* It may have set the flag, or said why it gave up, just before it went. */
    int rc = shmrt_check_aborts(sync);
    if (rc || shmrt_flag_reached(wait->flag, wait->value))
        return rc;
    char text[SHMRT_CALL_TEXT_BYTES];
    return shmrt_fail(sync, -ECONNABORTED, "rank %d (pid %d) %s; rank %d was waiting for it in %s",
                      wait->peer, peer->pid,
                      left   ? "has destroyed its communicator"
                      : died ? "died"
                             : "closed its communicator without a word",
                      sync->rank, shmrt_call_describe(wait->context, text));
}
