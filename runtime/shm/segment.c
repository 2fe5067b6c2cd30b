/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segment.c - life of a segment.
 *
 * The owner alone writes the header, before the descriptor leaves the process. The seals make the
 * size constant for ever, whoever holds the descriptor.
 */
#include "segment.h"

#include "layout.h"
#include "shared_file.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const struct shmrt_file_use use = {"segment", "a shared segment", "SHMRT_SEGMENT"};

static bool is_empty(const struct shmrt_nodeset *nodes)
{
    return memcmp(nodes, &(struct shmrt_nodeset){0}, sizeof *nodes) == 0;
}

static const char *hint(int rc, const struct shmrt_options *options)
{
    if (rc == -EPERM)
        return ": a container needs CAP_SYS_NICE, or a seccomp profile that allows mbind";
    if (rc == -EINVAL && !is_empty(&options->nodes))
        return ": are the nodes of SHMRT_NODES there, and allowed to this process?";
    return "";
}

static void bind_segment(struct shmrt_segment *segment, const struct shmrt_options *options,
                         const struct shmrt_logger *logger)
{
    int rc = 0;
    if (is_empty(&options->nodes))
        rc = shmrt_bind_own_nodes(&segment->nodes);
    else
        segment->nodes = options->nodes;
    if (rc || !options->bind)
        return;
    rc = shmrt_bind_memory(segment->base, segment->bytes, &segment->nodes);
    segment->bound = rc == 0;
    if (rc)
        shmrt_log(logger, SHMRT_LOG_WARNING,
                  "mbind of this rank's shared memory was refused (%s)%s; first touch places it "
                  "instead, SHMRT_BIND=0 silences this line",
                  strerror(-rc), hint(rc, options));
}

int shmrt_segment_create(int rank, const struct shmrt_options *options,
                         const struct shmrt_logger *logger, struct shmrt_segment *out,
                         struct shmrt_error *error_out)
{
    size_t bytes = options->segment_bytes;
    struct shmrt_segment segment = {.bytes = bytes};
    int rc = shmrt_file_create(&use, bytes, &segment.fd, &segment.base, error_out);
    if (rc)
        return rc;
    bind_segment(&segment, options, logger);
    if ((rc = shmrt_file_take(&use, segment.fd, 0, bytes, error_out)) != 0)
        goto err_take;
    *(struct shmrt_segment_header *)segment.base = (struct shmrt_segment_header){
        .magic = SHMRT_SEGMENT_MAGIC,
        .version = SHMRT_SEGMENT_VERSION,
        .rank = (uint32_t)rank,
        .segment_bytes = bytes,
        .users = 1,
    };
    if ((rc = shmrt_file_seal(segment.fd)) != 0) {
        shmrt_error_set(error_out, rc, "sealing a shared segment failed: %s", strerror(-rc));
        goto err_take;
    }
    *out = segment;
    return 0;

err_take:
    shmrt_segment_release(&segment, true);
    return rc;
}

int shmrt_segment_attach(int fd, int rank, size_t bytes, struct shmrt_segment *out,
                         struct shmrt_error *error_out)
{
    struct shmrt_segment segment = {.bytes = bytes, .fd = fd};
    int rc = -EPROTO;
    if (!shmrt_file_is_sealed(fd, bytes)) {
        shmrt_error_set(error_out, rc,
                        "rank %d sent a shared segment that is not sealed, or not of %zu bytes",
                        rank, bytes);
        goto err_segment;
    }
    if ((rc = shmrt_file_map(fd, bytes, &segment.base)) != 0) {
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
