/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rendezvous_name.c - abstract Unix sockets, and SO_PEERCRED on both ends of each connection.
 *
 * Any user of the machine can take such a name, connect to it, and read all of them in
 * /proc/net/unix. So a name proves nothing, a stranger gets no word, and where strangers hold all
 * names that are agreed on, a rank takes one that nobody can guess and its peers read the list.
 */
#include "rendezvous_name.h"

#include "base/clock.h"
#include "name_list.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* Linux 6.16 */
#endif

enum {
    SUFFIXES = 4,
    PATIENCE_MS = 1000,
    NAP_MS = 10,
    STRANGERS_AT_ONCE = 64, /* closed before the caller looks at its clock again */
};

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

static socklen_t make_address(const char *name, struct sockaddr_un *out)
{
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    int length = snprintf(out->sun_path + 1, sizeof out->sun_path - 1, "%s", name);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
}

/*
 * A stranger's message is never read, but closing its socket closes the descriptors in it, and that
 * can take as long as he likes (SO_LINGER). So none may come before it is known who is there.
 */
static int let_descriptors_in(int socket, bool in)
{
    const int on = in;
    if (setsockopt(socket, SOL_SOCKET, SO_PASSRIGHTS, &on, sizeof on) == 0)
        return 0;
    int code = -errno, is_in = 1;
    socklen_t bytes = sizeof is_in;
    /* Not known before Linux 6.16, nor to some sandboxes, whatever they answer; docs/security.md
     * says what that leaves open. */
    if (getsockopt(socket, SOL_SOCKET, SO_PASSRIGHTS, &is_in, &bytes) < 0 || is_in)
        return 0;
    return in ? code : 0;
}

static int open_socket(void)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    (void)let_descriptors_in(fd, false); /* they are still looked at when they come */
    return fd;
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

/* One attempt at one name. -EACCES: somebody answers there, but another user, or nobody who
 * will ever accept. */
static int connect_name(const char *name, struct ucred *peer_out)
{
    struct sockaddr_un address;
    socklen_t bytes = make_address(name, &address);
    int fd = open_socket();
    if (fd < 0)
        return fd;
    int rc;
    do
        rc = connect(fd, (struct sockaddr *)&address, bytes) == 0 ? 0 : -errno;
    while (rc == -EINTR);
    if (rc == 0 && (!is_same_user(fd, peer_out) || is_dead(peer_out->pid)))
        rc = -EACCES;
    if (rc == 0)
        rc = let_descriptors_in(fd, true);
    if (rc) {
        close(fd);
        return rc;
    }
    return fd;
}

static int connect_suffix(const char *job, int rank, int suffix, struct ucred *peer_out)
{
    char name[SHMRT_NAME_BYTES];
    shmrt_name_format(job, rank, suffix, name, sizeof name);
    return connect_name(name, peer_out);
}

/* What all names of @rank begin with, whatever their suffix. */
static void format_stem(const char *job, int rank, char out[SHMRT_NAME_BYTES])
{
    snprintf(out, SHMRT_NAME_BYTES, "shmrt/%u/%016" PRIx64 "/%d/", (unsigned)geteuid(),
             hash_of(job), rank);
}

/* At the names of this rank that are not agreed on. */
static int connect_listed(const char *job, int rank, const struct shmrt_name_list *list,
                          struct ucred *peer_out)
{
    char stem[SHMRT_NAME_BYTES];
    int fd = -ECONNREFUSED;
    format_stem(job, rank, stem);
    for (int i = 0; i < list->n && fd < 0; i++)
        if (strncmp(list->names[i], stem, strlen(stem)) == 0)
            fd = connect_name(list->names[i], peer_out);
    return fd < 0 ? -ECONNREFUSED : fd;
}

void shmrt_name_look(const char *job, struct shmrt_name_list *list_out)
{
    char stem[SHMRT_NAME_BYTES];
    snprintf(stem, sizeof stem, "shmrt/%u/%016" PRIx64 "/", (unsigned)geteuid(), hash_of(job));
    shmrt_name_list_read(list_out, stem);
}

int shmrt_name_connect(const char *job, int rank, const struct shmrt_name_list *list)
{
    struct ucred peer;
    bool is_full = false;
    int strangers = 0;
    for (int suffix = 0; suffix < SUFFIXES; suffix++) {
        int fd = connect_suffix(job, rank, suffix, &peer);
        /* EAGAIN: its backlog is full, as that of a squatter who never accepts. */
        if (fd >= 0 || (fd != -ECONNREFUSED && fd != -EACCES && fd != -EAGAIN))
            return fd;
        is_full = is_full || fd == -EAGAIN;
        strangers += fd != -ECONNREFUSED;
    }
    int fd = list ? connect_listed(job, rank, list, &peer) : -ECONNREFUSED;
    if (fd >= 0)
        return fd;
    return is_full ? -EAGAIN : strangers == SUFFIXES ? -EACCES : -ECONNREFUSED;
}

static int bind_name(const char *name)
{
    struct sockaddr_un address;
    socklen_t bytes = make_address(name, &address);
    int fd = open_socket();
    if (fd < 0)
        return fd;
    if (bind(fd, (struct sockaddr *)&address, bytes) == 0 && listen(fd, SOMAXCONN) == 0)
        return fd;
    int rc = -errno;
    close(fd);
    return rc;
}

static int bind_suffix(const char *job, int rank, int suffix)
{
    char name[SHMRT_NAME_BYTES];
    shmrt_name_format(job, rank, suffix, name, sizeof name);
    return bind_name(name);
}

/* Nobody takes in advance a name that he can't guess. */
static int bind_unguessable(const char *job, int rank)
{
    char name[SHMRT_NAME_BYTES];
    uint64_t suffix;
    if (getrandom(&suffix, sizeof suffix, 0) != (ssize_t)sizeof suffix)
        return -EADDRINUSE;
    format_stem(job, rank, name);
    size_t length = strlen(name);
    snprintf(name + length, sizeof name - length, "%016" PRIx64, suffix);
    return bind_name(name);
}

/* Whether a process of this user holds the name, and keeps it: after a failure ranks may be
 * numbered anew, and another one still be about to destroy its communicator. */
static bool is_held_by_us(const char *job, int rank, int suffix, struct ucred *holder_out)
{
    int64_t until_ns = shmrt_now_ns() + PATIENCE_MS * INT64_C(1000000);
    do {
        int fd = connect_suffix(job, rank, suffix, holder_out);
        if (fd < 0)
            return false;
        close(fd);
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

static int already_taken(const char *job, int rank, pid_t holder, struct shmrt_error *error_out)
{
    return shmrt_error_set(error_out, -EADDRINUSE,
                           "rank %d of job \"%s\" is already taken by pid %d of the same "
                           "user: two jobs share this key, or two ranks this number; give each "
                           "job its own MASTER_PORT or SHMRT_JOB",
                           rank, job, (int)holder);
}

/* "user 1001 (pid 4711)", as far as it is known. */
static void describe(const struct ucred *holder, char *out, size_t bytes)
{
    if (holder->uid == (uid_t)-1)
        snprintf(out, bytes, "a process that does not answer");
    else if (holder->pid <= 0)
        snprintf(out, bytes, "user %u", (unsigned)holder->uid);
    else
        snprintf(out, bytes, "user %u (pid %d)", (unsigned)holder->uid, (int)holder->pid);
}

/* A process that does not listen, or whose door is full, can't be asked. */
static bool find_squatter(const char *job, int rank, struct ucred *squatter)
{
    char name[SHMRT_NAME_BYTES];
    shmrt_name_format(job, rank, 0, name, sizeof name);
    if (squatter->uid == (uid_t)-1)
        (void)shmrt_name_owner(name, &squatter->uid);
    return squatter->uid != (uid_t)-1 && squatter->uid != geteuid();
}

static void name_squatter(const char *job, int rank, int held, const struct ucred *squatter,
                          const struct shmrt_logger *logger)
{
    char who[64];
    describe(squatter, who, sizeof who);
    shmrt_log(logger, SHMRT_LOG_WARNING,
              "%s holds %d of the %d names of rank %d of job \"%s\"; this rank listens at another "
              "one, but whoever does that means to disturb: tell the machine's administrator",
              who, held, SUFFIXES, rank, job);
}

int shmrt_name_listen(const char *job, int rank, const struct shmrt_logger *logger,
                      struct shmrt_error *error_out)
{
    int fd = -EADDRINUSE, held = 0;
    struct ucred squatter = {.uid = (uid_t)-1}, holder;
    for (int suffix = 0; suffix < SUFFIXES && fd == -EADDRINUSE; suffix++) {
        fd = bind_suffix(job, rank, suffix);
        if (fd != -EADDRINUSE)
            break;
        holder = (struct ucred){.uid = (uid_t)-1};
        if (is_held_by_us(job, rank, suffix, &holder))
            return already_taken(job, rank, holder.pid, error_out);
        if ((fd = bind_suffix(job, rank, suffix)) != -EADDRINUSE)
            break;
        held++;
        if (holder.uid != (uid_t)-1 && holder.uid != geteuid())
            squatter = holder;
    }
    if (fd == -EADDRINUSE) {
        struct shmrt_name_list list;
        shmrt_name_look(job, &list);
        int twin = connect_listed(job, rank, &list, &holder);
        if (twin >= 0) {
            close(twin);
            return already_taken(job, rank, holder.pid, error_out);
        }
        fd = bind_unguessable(job, rank);
    }
    if (fd < 0)
        return shmrt_error_set(error_out, fd, "listening for the other ranks failed: %s",
                               strerror(-fd));
    if (held && (find_squatter(job, rank, &squatter) || held == SUFFIXES))
        name_squatter(job, rank, held, &squatter, logger);
    return fd;
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
    for (int i = 0; i < STRANGERS_AT_ONCE; i++) {
        struct ucred peer;
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0)
            return -errno;
        if (is_same_user(fd, &peer) && let_descriptors_in(fd, true) == 0)
            return fd; /* another one, closed, comes again */
        close(fd);
    }
    return -EAGAIN;
}
