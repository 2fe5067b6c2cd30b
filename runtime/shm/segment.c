/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segment.c - life of a segment.
 *
 * The owner alone writes the header, before the descriptor leaves the process. The seals make the
 * size constant for ever, whoever holds the descriptor.
 */
#include "segment.h"

#include "layout.h"
#include "memory_limit.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL };

static int create_file(void)
{
    int fd = memfd_create("shmrt", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
        fd = memfd_create("shmrt", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
}

static int map_file(struct shmrt_segment *segment)
{
    void *base = mmap(NULL, segment->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, segment->fd, 0);
    if (base == MAP_FAILED)
        return -errno;
    segment->base = base;
    /* A forked child must not write into a protocol in which its parent takes part. */
    return madvise(base, segment->bytes, MADV_DONTFORK) == 0 ? 0 : -errno;
}

static void bind_segment(struct shmrt_segment *segment, bool bind,
                         const struct shmrt_logger *logger)
{
    int rc = shmrt_bind_own_nodes(&segment->nodes);
    if (rc || !bind)
        return;
    rc = shmrt_bind_memory(segment->base, segment->bytes, &segment->nodes);
    segment->bound = rc == 0;
    if (rc)
        shmrt_log(logger, SHMRT_LOG_WARNING,
                  "mbind of this rank's shared memory was refused (%s)%s; first touch places it "
                  "instead, SHMRT_BIND=0 silences this line",
                  strerror(-rc),
                  rc == -EPERM ? ": a container needs CAP_SYS_NICE, or a seccomp profile that "
                                 "allows mbind"
                               : "");
}

static int allocate(struct shmrt_segment *segment, struct shmrt_error *error_out)
{
    const char *limit;
    uint64_t room = shmrt_memory_headroom("/proc", "/sys/fs/cgroup", &limit);
    if (segment->bytes > room)
        return shmrt_error_set(error_out, -ENOMEM,
                               "a shared segment of %zu bytes does not fit: %s has %" PRIu64
                               " left; free memory, raise the limit, or lower SHMRT_SEGMENT",
                               segment->bytes, limit, room);
    int rc;
    do
        rc = fallocate(segment->fd, 0, 0, (off_t)segment->bytes) == 0 ? 0 : -errno;
    while (rc == -EINTR);
    if (rc)
        return shmrt_error_set(error_out, rc,
                               "taking %zu bytes of shared memory failed (%s); free memory, or "
                               "lower SHMRT_SEGMENT",
                               segment->bytes, strerror(-rc));
    return 0;
}

int shmrt_segment_create(int rank, size_t bytes, bool bind, const struct shmrt_logger *logger,
                         struct shmrt_segment *out, struct shmrt_error *error_out)
{
    struct shmrt_segment segment = {.bytes = bytes};
    const char *step = "memfd_create";
    struct rlimit files;
    int rc;
    /* Past this limit ftruncate would not fail but raise SIGXFSZ. */
    if (getrlimit(RLIMIT_FSIZE, &files) == 0 && bytes > files.rlim_cur)
        return shmrt_error_set(error_out, -EFBIG,
                               "a shared segment of %zu bytes is more than `ulimit -f` allows "
                               "(%" PRIu64 "); raise it, or lower SHMRT_SEGMENT",
                               bytes, (uint64_t)files.rlim_cur);
    segment.fd = create_file();
    if (segment.fd < 0) {
        rc = -errno;
        goto err_create;
    }
    step = "ftruncate";
    if (ftruncate(segment.fd, (off_t)bytes) != 0) {
        rc = -errno;
        goto err_map;
    }
    step = "mmap";
    if ((rc = map_file(&segment)) != 0)
        goto err_map;
    bind_segment(&segment, bind, logger);
    if ((rc = allocate(&segment, error_out)) != 0) {
        shmrt_segment_release(&segment, true);
        return rc;
    }
    *(struct shmrt_segment_header *)segment.base = (struct shmrt_segment_header){
        .magic = SHMRT_SEGMENT_MAGIC,
        .version = SHMRT_SEGMENT_VERSION,
        .rank = (uint32_t)rank,
        .segment_bytes = bytes,
        .users = 1,
    };
    step = "sealing";
    if (fcntl(segment.fd, F_ADD_SEALS, SEALS) != 0) {
        rc = -errno;
        goto err_map;
    }
    *out = segment;
    return 0;

err_map:
    shmrt_segment_release(&segment, true);
err_create:
    return shmrt_error_set(error_out, rc, "creating a shared segment of %zu bytes failed in %s: %s",
                           bytes, step, strerror(-rc));
}

int shmrt_segment_attach(int fd, int rank, size_t bytes, struct shmrt_segment *out,
                         struct shmrt_error *error_out)
{
    struct shmrt_segment segment = {.bytes = bytes, .fd = fd};
    struct stat status;
    int rc = -EPROTO;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & SEALS) != SEALS || fstat(fd, &status) != 0 ||
        (uint64_t)status.st_size != bytes) {
        shmrt_error_set(error_out, rc,
                        "rank %d sent a shared segment that is not sealed, or not of %zu bytes",
                        rank, bytes);
        goto err_segment;
    }
    if ((rc = map_file(&segment)) != 0) {
        shmrt_error_set(error_out, rc, "mapping the %zu bytes of rank %d failed: %s", bytes, rank,
                        strerror(-rc));
        goto err_segment;
    }
    const struct shmrt_segment_header *header = (const void *)segment.base;
    if (header->magic != SHMRT_SEGMENT_MAGIC || header->version != SHMRT_SEGMENT_VERSION ||
        header->rank != (uint32_t)rank || header->segment_bytes != bytes) {
        rc = shmrt_error_set(error_out, -EPROTO,
                             "the segment of rank %d has a header of another format or rank", rank);
        goto err_segment;
    }
    *out = segment;
    return 0;

err_segment:
    shmrt_segment_release(&segment, true);
    return rc;
}

void shmrt_segment_close_fd(struct shmrt_segment *segment)
{
    if (segment->fd >= 0)
        close(segment->fd);
    segment->fd = -1;
}

void shmrt_segment_borrow(char *base, size_t bytes, struct shmrt_segment *out)
{
    *out = (struct shmrt_segment){.base = base, .bytes = bytes, .fd = -1};
    struct shmrt_segment_header *header = (void *)base;
    atomic_fetch_add_explicit(&header->users, 1, memory_order_relaxed);
}

static bool is_last_user(const struct shmrt_segment *segment)
{
#ifdef SHMRT_SHARE_MAPPINGS
    struct shmrt_segment_header *header = (void *)segment->base;
    uint32_t before = atomic_fetch_sub_explicit(&header->users, 1, memory_order_acq_rel);
    return before <= 1;
#else
    (void)segment;
    return true;
#endif
}

void shmrt_segment_release(struct shmrt_segment *segment, bool mapped)
{
    if (segment->base && mapped && is_last_user(segment))
        munmap(segment->base, segment->bytes);
    segment->base = NULL;
    shmrt_segment_close_fd(segment);
}
