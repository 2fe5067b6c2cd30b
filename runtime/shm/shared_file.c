/* SPDX-License-Identifier: Apache-2.0 */
/* shared_file.c - memfds: created, sized, mapped, sealed; their pages taken ahead of their use. */
#include "shared_file.h"

#include "memory_limit.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL };

static int open_file(const struct shmrt_file_use *use)
{
    char name[64];
    snprintf(name, sizeof name, "shmrt-%s-%d", use->word, (int)getpid());
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
}

int shmrt_file_map(int fd, size_t bytes, char **base_out)
{
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return -errno;
    /* A forked child must not write into a protocol in which its parent takes part. */
    if (madvise(base, bytes, MADV_DONTFORK) != 0) {
        int rc = -errno;
        munmap(base, bytes);
        return rc;
    }
    *base_out = base;
    return 0;
}

int shmrt_file_create(const struct shmrt_file_use *use, size_t bytes, int *fd_out, char **base_out,
                      struct shmrt_error *error_out)
{
    const char *step = "memfd_create";
    struct rlimit files;
    /* Past this limit ftruncate would not fail but raise SIGXFSZ. */
    if (getrlimit(RLIMIT_FSIZE, &files) == 0 && bytes > files.rlim_cur)
        return shmrt_error_set(error_out, -EFBIG,
                               "%s of %zu bytes is more than `ulimit -f` allows (%" PRIu64
                               "); raise it, or lower %s",
                               use->name, bytes, (uint64_t)files.rlim_cur, use->option);
    int fd = open_file(use);
    int rc = fd < 0 ? -errno : 0;
    if (rc == 0) {
        step = "ftruncate";
        rc = ftruncate(fd, (off_t)bytes) == 0 ? 0 : -errno;
    }
    if (rc == 0) {
        step = "mmap";
        rc = shmrt_file_map(fd, bytes, base_out);
    }
    if (rc == 0) {
        *fd_out = fd;
        return 0;
    }
    if (fd >= 0)
        close(fd);
    return shmrt_error_set(error_out, rc,
                           "creating %s of %zu bytes failed in %s: %s (%s sets its size)",
                           use->name, bytes, step, strerror(-rc), use->option);
}

int shmrt_file_take(const struct shmrt_file_use *use, int fd, size_t from, size_t bytes,
                    struct shmrt_error *error_out)
{
    const char *limit;
    uint64_t room = shmrt_memory_headroom("/proc", "/sys/fs/cgroup", &limit);
    if (bytes > room)
        return shmrt_error_set(error_out, -ENOMEM,
                               "%s of %zu bytes does not fit: %s has %" PRIu64
                               " left; free memory, raise the limit, or lower %s",
                               use->name, bytes, limit, room, use->option);
    int rc;
    do
        rc = fallocate(fd, 0, (off_t)from, (off_t)bytes) == 0 ? 0 : -errno;
    while (rc == -EINTR);
    if (rc)
        return shmrt_error_set(error_out, rc,
                               "taking %zu bytes of shared memory failed (%s); free memory, or "
                               "lower %s",
                               bytes, strerror(-rc), use->option);
    return 0;
}

int shmrt_file_seal(int fd)
{
    return fcntl(fd, F_ADD_SEALS, SEALS) == 0 ? 0 : -errno;
}

bool shmrt_file_is_sealed(int fd, size_t bytes)
{
    struct stat status;
    int seals = fcntl(fd, F_GET_SEALS);
    return seals >= 0 && (seals & SEALS) == SEALS && fstat(fd, &status) == 0 &&
           (uint64_t)status.st_size == bytes;
}
