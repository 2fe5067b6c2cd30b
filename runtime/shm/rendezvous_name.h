/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rendezvous_name.h - the abstract socket names at which ranks meet (L1)
 *
 * A name is made of the user id, a hash of the job key, the rank and a suffix. Another user may
 * have taken a name: then the next suffix serves, and connecting ranks look at all of them. Where
 * others have taken all four, the suffix is a random number, which connecting ranks find in the
 * kernel's list. Abstract names belong to the network namespace and vanish with their holder.
 *
 * Descriptors can be sent through a connection only when the other end has seen whose it is; until
 * then sending them is -EPERM, and to be tried again (Linux 6.16; before, they are taken at once).
 */
#ifndef SHMRT_RENDEZVOUS_NAME_H
#define SHMRT_RENDEZVOUS_NAME_H

#include "base/error.h"

struct shmrt_name_list;
enum { SHMRT_NAME_BYTES = 107 };

/** The name, without the zero byte in front that makes it abstract; returns as snprintf does. */
int shmrt_name_format(const char *job, int rank, int suffix, char *out, size_t bytes);

/**
 * shmrt_name_listen - listen where the higher ranks will look for @rank
 *
 * Another user who holds such a name is told to @logger. Return: a non-blocking socket, or
 * -EADDRINUSE (this user already has such a rank: two jobs share a key, or two ranks a number), or
 * another negative errno; the text in @error_out.
 */
int shmrt_name_listen(const char *job, int rank, const struct shmrt_logger *logger,
                      struct shmrt_error *error_out) SHMRT_WARN_UNUSED;

/** Let go of the name, also where a forked child still holds a copy of @listener. -1 is ignored. */
void shmrt_name_close(int listener);

/** The names of all ranks of @job that are not agreed on: a look at all sockets of the machine. */
void shmrt_name_look(const char *job, struct shmrt_name_list *list_out);

/**
 * shmrt_name_connect - a connection to @rank of this user
 * @list: of shmrt_name_look(), to try too, or NULL
 *
 * Return: a socket, -ECONNREFUSED (not there yet), -EACCES (and others hold all names that are
 * agreed on), -EAGAIN (more wait there than fit), other errno.
 */
int shmrt_name_connect(const char *job, int rank,
                       const struct shmrt_name_list *list) SHMRT_WARN_UNUSED;

/**
 * The next connection of this user; other users' are closed, so many at once. -EAGAIN: none is
 * there, or not yet; another negative errno, as -EMFILE.
 */
int shmrt_name_accept(int listener) SHMRT_WARN_UNUSED;

#endif
