/* SPDX-License-Identifier: Apache-2.0 */
/* message.c - whole messages with descriptors over a SOCK_SEQPACKET Unix socket. */
#include "message.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

struct shmrt_message_head shmrt_message_head_make(enum shmrt_message_kind kind)
{
    return (struct shmrt_message_head){
        .magic = SHMRT_MESSAGE_MAGIC, .kind = (uint32_t)kind, .protocol = SHMRT_PROTOCOL_VERSION};
}

static size_t bytes_of_kind(uint32_t kind)
{
    switch (kind) {
    case SHMRT_MESSAGE_HELLO:
        return sizeof(struct shmrt_hello);
    case SHMRT_MESSAGE_VERDICT:
        return sizeof(struct shmrt_verdict);
    case SHMRT_MESSAGE_BYE:
        return sizeof(struct shmrt_message_head);
    default:
        return 0;
    }
}

int shmrt_message_send(int socket, const void *message, size_t bytes, const int *fds, int n)
{
    int sent[SHMRT_MESSAGE_FDS];
    int count = 0;
    for (int i = 0; i < n && i < SHMRT_MESSAGE_FDS; i++)
        if (fds[i] >= 0)
            sent[count++] = fds[i];
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof sent)] = {0};
    struct iovec part = {.iov_base = (void *)(uintptr_t)message, .iov_len = bytes};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    if (count) {
        header.msg_control = control;
        header.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&header);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
        memcpy(CMSG_DATA(c), sent, (size_t)count * sizeof(int));
    }
    ssize_t done;
    do
        done = sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (done < 0 && errno == EINTR);
    if (done < 0)
        return -errno;
    return (size_t)done == bytes ? 0 : -EMSGSIZE;
}

/* Takes the first descriptors into @out and closes any beyond. */
static void collect_fds(struct msghdr *header, struct shmrt_received *out)
{
    int taken = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (taken < SHMRT_MESSAGE_FDS)
                out->fds[taken++] = fd;
            else
                close(fd);
        }
    }
}

/* Whether a receive that failed is to be tried again. A peer that closes before it has read all
 * that we sent is told as ECONNRESET, once, and ahead of its own last words. */
static bool is_passing(int *resets)
{
    return errno == EINTR || (errno == ECONNRESET && (*resets)++ == 0);
}

/* The first protocol whose hello has its version where ours has it. */
enum { NAMED_PROTOCOL = 4 };

/* A hello of another protocol: keeps what all have in common. */
static bool take_foreign(struct shmrt_received *received, size_t got)
{
    struct shmrt_hello *hello = &received->message.hello;
    size_t common = offsetof(struct shmrt_hello, version) + sizeof hello->version;
    if (hello->head.kind != SHMRT_MESSAGE_HELLO || !shmrt_hello_is_foreign(hello) || got < common)
        return false;
    memset((char *)hello + common, 0, sizeof *hello - common);
    if (hello->head.protocol < NAMED_PROTOCOL)
        memcpy(hello->version, "(older)", sizeof "(older)");
    shmrt_received_close(received);
    return true;
}

int shmrt_message_receive(int socket, struct shmrt_received *out)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(SHMRT_MESSAGE_FDS * sizeof(int))];
    struct iovec part = {.iov_base = &out->message, .iov_len = sizeof out->message};
    struct msghdr header = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = control,
                            .msg_controllen = sizeof control};
    for (int i = 0; i < SHMRT_MESSAGE_FDS; i++)
        out->fds[i] = -1;
    ssize_t got;
    int resets = 0;
    do
        got = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (got < 0 && is_passing(&resets));
    if (got < 0)
        return errno == ECONNRESET ? -ENODATA : -errno;
    collect_fds(&header, out);
    if (got == 0)
        return -ENODATA;
    int rc = 0;
    if ((size_t)got < sizeof out->message.head || out->message.head.magic != SHMRT_MESSAGE_MAGIC)
        rc = -EBADMSG;
    else if (take_foreign(out, (size_t)got))
        return 0;
    else if ((header.msg_flags & MSG_TRUNC) || (size_t)got != bytes_of_kind(out->message.head.kind))
        rc = -EBADMSG;
    else if (header.msg_flags & MSG_CTRUNC)
        rc = -EMFILE;
    if (rc)
        shmrt_received_close(out);
    return rc;
}

int shmrt_message_peek(int socket)
{
    struct shmrt_message_head head;
    ssize_t got;
    int resets = 0;
    do
        got = recv(socket, &head, sizeof head, MSG_DONTWAIT | MSG_PEEK);
    while (got < 0 && is_passing(&resets));
    if (got < 0)
        return errno == EAGAIN ? -EAGAIN : -ENODATA;
    if (got == 0)
        return -ENODATA;
    bool good = (size_t)got == sizeof head && head.magic == SHMRT_MESSAGE_MAGIC;
    return good ? (int)head.kind : -EBADMSG;
}

void shmrt_received_close(struct shmrt_received *received)
{
    for (int i = 0; i < SHMRT_MESSAGE_FDS; i++) {
        if (received->fds[i] >= 0)
            close(received->fds[i]);
        received->fds[i] = -1;
    }
}
