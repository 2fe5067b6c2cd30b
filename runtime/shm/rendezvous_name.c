/* SPDX-License-Identifier: Apache-2.0 */
/* rendezvous_name.c - abstract Unix sockets, and SO_PEERCRED on both ends of each connection. */
#include "rendezvous_name.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum { SUFFIXES = 4, PATIENCE_MS = 1000, NAP_MS = 10 };

/* FNV-1a (Fowler, Noll, Vo), 64 bits: the key itself may be longer than a name. */
static uint64_t hash_of(const char *text)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    return hash;
}

int shmrt_name_format(const char *job, int rank, int suffix, char *out, size_t bytes)
{
    return snprintf(out, bytes, "shmrt/%u/%016" PRIx64 "/%d/%d", (unsigned)geteuid(), hash_of(job),
                    rank, suffix);
}

static socklen_t make_address(const char *job, int rank, int suffix, struct sockaddr_un *out)
{
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    int length = shmrt_name_format(job, rank, suffix, out->sun_path + 1, sizeof out->sun_path - 1);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
}

static int open_socket(void)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return fd < 0 ? -errno : fd;
}

static bool is_same_user(int socket, struct ucred *peer_out)
{
    socklen_t bytes = sizeof *peer_out;
    return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, peer_out, &bytes) == 0 &&
           peer_out->uid == geteuid();
}

/* A child of a dead rank may still hold its name. @pid 0 is another PID namespace's: not known. */
static bool is_dead(pid_t pid)
{
    if (pid == 0)
        return false;
    struct pollfd p = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
    if (p.fd < 0)
        return errno == ESRCH;
    bool dead = poll(&p, 1, 0) > 0; /* also before its parent has reaped it */
    close(p.fd);
    return dead;
}

/* One attempt at one suffix. -EACCES: somebody answers there, but another user, or nobody who
 * will ever accept. */
static int connect_suffix(const char *job, int rank, int suffix, struct ucred *peer_out)
{
    struct sockaddr_un address;
    socklen_t bytes = make_address(job, rank, suffix, &address);
    int fd = open_socket();
    if (fd < 0)
        return fd;
    int rc = connect(fd, (struct sockaddr *)&address, bytes) == 0 ? 0 : -errno;
    if (rc == 0 && (!is_same_user(fd, peer_out) || is_dead(peer_out->pid)))
        rc = -EACCES;
    if (rc) {
        close(fd);
        return rc;
    }
    return fd;
}

int shmrt_name_connect(const char *job, int rank)
{
    for (int suffix = 0; suffix < SUFFIXES; suffix++) {
        struct ucred peer;
        int fd = connect_suffix(job, rank, suffix, &peer);
        /* EAGAIN: its backlog is full, as that of a squatter who never accepts. */
        if (fd >= 0 || (fd != -ECONNREFUSED && fd != -EACCES && fd != -EAGAIN))
            return fd;
    }
    return -ECONNREFUSED;
}

static int bind_suffix(const char *job, int rank, int suffix)
{
    struct sockaddr_un address;
    socklen_t bytes = make_address(job, rank, suffix, &address);
    int fd = open_socket();
    if (fd < 0)
        return fd;
    if (bind(fd, (struct sockaddr *)&address, bytes) == 0 && listen(fd, SOMAXCONN) == 0)
        return fd;
    int rc = -errno;
    close(fd);
    return rc;
}

/* Whether a process of this user holds the name, and keeps it: after a failure ranks may be
 * numbered anew, and another one still be about to destroy its communicator. */
static bool is_held_by_us(const char *job, int rank, int suffix, pid_t *pid_out)
{
    int64_t until_ns = shmrt_now_ns() + PATIENCE_MS * INT64_C(1000000);
    do {
        struct ucred peer = {0};
        int fd = connect_suffix(job, rank, suffix, &peer);
        if (fd >= 0)
            close(fd);
        *pid_out = fd >= 0 ? peer.pid : 0;
        if (fd < 0)
            return false;
        struct timespec nap = shmrt_timespec_from_ns(NAP_MS * INT64_C(1000000));
        nanosleep(&nap, NULL);
        int probe = bind_suffix(job, rank, suffix);
        if (probe >= 0) { /* free again: the caller binds anew */
            close(probe);
            return false;
        }
    } while (shmrt_now_ns() < until_ns);
    return true;
}

int shmrt_name_listen(const char *job, int rank, struct shmrt_error *error_out)
{
    int fd = -EADDRINUSE;
    pid_t holder = 0;
    for (int suffix = 0; suffix < SUFFIXES && fd == -EADDRINUSE; suffix++) {
        fd = bind_suffix(job, rank, suffix);
        if (fd != -EADDRINUSE)
            break;
        if (is_held_by_us(job, rank, suffix, &holder))
            break;
        holder = 0;
        fd = bind_suffix(job, rank, suffix);
    }
    if (fd >= 0)
        return fd;
    if (fd == -EADDRINUSE && holder)
        return shmrt_error_set(error_out, fd,
                               "rank %d of job \"%s\" is already taken by pid %d of the same "
                               "user: two jobs share this key, or two ranks this number; give each "
                               "job its own MASTER_PORT or SHMRT_JOB",
                               rank, job, (int)holder);
    if (fd == -EADDRINUSE)
        return shmrt_error_set(error_out, fd,
                               "other users hold all %d names of rank %d of job \"%s\"; choose "
                               "another SHMRT_JOB or MASTER_PORT",
                               SUFFIXES, rank, job);
    return shmrt_error_set(error_out, fd, "listening for the other ranks failed: %s",
                           strerror(-fd));
}

void shmrt_name_close(int listener)
{
    if (listener < 0)
        return;
    shutdown(listener, SHUT_RDWR);
    close(listener);
}

int shmrt_name_accept(int listener)
{
    for (;;) {
        struct ucred peer;
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0)
            return -errno;
        if (is_same_user(fd, &peer))
            return fd;
        close(fd);
    }
}
