/* SPDX-License-Identifier: Apache-2.0 */
/* job.c - what makes a job unlike every other on this machine: its key and its port. */
#include "job.h"

#include "common/say.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

int launch_job_make_key(char key_out[LAUNCH_KEY_BYTES])
{
    unsigned char bytes[(LAUNCH_KEY_BYTES - 1) / 2];
    ssize_t got;
    do
        got = getrandom(bytes, sizeof bytes, 0);
    while (got < 0 && errno == EINTR);
    if (got != (ssize_t)sizeof bytes)
        return got < 0 ? -errno : -EIO;
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(key_out + 2 * i, 3, "%02x", bytes[i]);
    return 0;
}

/* Return: a bound socket, or a negative errno. */
static int bind_any(int family, in_port_t port, int *port_out)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address = {0};
    socklen_t bytes = family == AF_INET6 ? sizeof address.v6 : sizeof address.v4;
    const int on = 1, off = 0;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    address.any.sa_family = (sa_family_t)family;
    /* Port and family have one place in both kinds of address. */
    address.v4.sin_port = htons(port);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (family == AF_INET6) /* for both protocols, as torch's server listens */
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, &address.any, bytes) != 0 || getsockname(fd, &address.any, &bytes) != 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    *port_out = ntohs(address.v4.sin_port);
    return fd;
}

int launch_port_hold(size_t wanted, int *port_out, int *fd_out, struct shmrt_error *error_out)
{
    int fd = bind_any(AF_INET6, (in_port_t)wanted, port_out);
    if (fd < 0 && fd != -EADDRINUSE && fd != -EACCES) /* a machine without IPv6 */
        fd = bind_any(AF_INET, (in_port_t)wanted, port_out);
    if (fd == -EADDRINUSE)
        return launch_error(
            error_out, fd,
            "port %zu is already used on this machine; choose another --master-port. In a job "
            "of one machine, without it and without MASTER_PORT, a free one is taken",
            wanted);
    if (fd < 0)
        return launch_error(error_out, fd, "no port for MASTER_PORT: %s", strerror(-fd));
    *fd_out = fd;
    return 0;
}
