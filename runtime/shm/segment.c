/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segment.c - life of a segment.
 *
 * The owner alone writes the header, before the descriptor leaves the process. The seals make the
 * size constant for ever, whoever holds the descriptor.
 */
#include "segment.h"

#include "bind.h"
#include "layout.h"

#include <errno.h>
#include <string.h>

static const struct shmrt_file_use use = {"segment", "a shared segment", "SHMRT_SEGMENT"};

static const char *hint(int rc, const struct shmrt_options *options)
{
    if (rc == -EPERM)
        return ": a container needs CAP_SYS_NICE, or a seccomp profile that allows mbind";
    if (rc == -EINVAL && !shmrt_nodeset_is_empty(&options->nodes))
        return ": are the nodes of SHMRT_NODES there, and allowed to this process?";
    return "";
}

/* Where the segment belongs. Return: whether that is known, and to be enforced. */
static bool find_nodes(struct shmrt_segment *segment, const struct shmrt_options *options,
                       const struct shmrt_logger *logger)
{
    int rc = shmrt_bind_own_nodes(&segment->cpu_nodes);
    segment->nodes = segment->cpu_nodes;
    if (!shmrt_nodeset_is_empty(&options->nodes)) {
        segment->nodes = options->nodes;
        rc = 0;
    }
    if (rc == -ENODEV && options->bind && shmrt_bind_nearest_node(&segment->nodes) == 0) {
        shmrt_log(logger, SHMRT_LOG_WARNING,
                  "none of the NUMA nodes of this rank's CPUs has memory that it may use: its "
                  "shared memory comes from node %s, the nearest; SHMRT_NODES can name another",
                  shmrt_nodeset_text(&segment->nodes).text);
        return true;
    }
    /* A kernel without NUMA places nothing badly. */
    if (rc && rc != -ENOSYS && options->bind)
        shmrt_log(logger, SHMRT_LOG_WARNING,
                  "the NUMA node of this rank's CPUs is not known (%s): first touch places its "
                  "shared memory; SHMRT_NODES can name it, SHMRT_BIND=0 silences this line",
                  rc == -ENODEV   ? "none of theirs has memory that it may use"
                  : rc == -ENOENT ? "there is no /sys/devices/system/node"
                                  : strerror(-rc));
    return rc == 0 && options->bind;
}

static void write_header(const struct shmrt_segment *segment, int rank)
{
    *(struct shmrt_segment_header *)segment->file.base = (struct shmrt_segment_header){
        .magic = SHMRT_SEGMENT_MAGIC,
        .version = SHMRT_SEGMENT_VERSION,
        .rank = (uint32_t)rank,
        .segment_bytes = segment->file.bytes,
        .mapped_bytes = segment->file.mapped_bytes,
        .users = 1,
    };
}

int shmrt_segment_create(int rank, const struct shmrt_options *options,
                         const struct shmrt_logger *logger, struct shmrt_segment *out,
                         struct shmrt_error *error_out)
{
    struct shmrt_segment segment = {.file = {.fd = -1}};
    bool binds = find_nodes(&segment, options, logger);
    const struct shmrt_file_wish wish = {
        .use = &use,
        .bytes = options->segment_bytes,
        .taken_bytes = options->segment_bytes,
        .kind = (enum shmrt_page_kind)options->huge_pages,
        .nodes = binds ? &segment.nodes : NULL,
    };
    int rc = shmrt_file_make(&wish, logger, &segment.file, error_out);
    if (rc)
        return rc;
    int refused = segment.file.bind_code;
    if (refused)
        shmrt_log(logger, SHMRT_LOG_WARNING,
                  "mbind of this rank's shared memory was refused (%s)%s; first touch places it "
                  "instead, SHMRT_BIND=0 silences this line",
                  strerror(-refused), hint(refused, options));
    write_header(&segment, rank);
    if ((rc = shmrt_file_seal(&segment.file)) != 0) {
        shmrt_error_set(error_out, rc, "sealing a shared segment failed: %s", strerror(-rc));
        shmrt_file_release(&segment.file, true);
        return rc;
    }
    *out = segment;
    return 0;
}

int shmrt_segment_attach(int fd, int rank, size_t bytes, bool hugetlb, struct shmrt_segment *out,
                         struct shmrt_error *error_out)
{
    struct shmrt_segment segment = {0};
    int rc = shmrt_file_attach(fd, bytes, hugetlb, &segment.file);
    if (rc == -EPROTO || rc == -EXDEV)
        return shmrt_file_refuse(rc, "a shared segment", bytes, rank, error_out);
    if (rc)
        return shmrt_error_set(error_out, rc, "mapping the %zu bytes of rank %d failed: %s", bytes,
                               rank, strerror(-rc));
    const struct shmrt_segment_header *header = (const void *)segment.file.base;
    if (header->magic != SHMRT_SEGMENT_MAGIC || header->version != SHMRT_SEGMENT_VERSION ||
        header->rank != (uint32_t)rank || header->segment_bytes != bytes) {
        shmrt_file_release(&segment.file, true);
        return shmrt_error_set(error_out, -EPROTO,
                               "the segment of rank %d has a header of another format or rank",
                               rank);
    }
    *out = segment;
    return 0;
}

void shmrt_segment_borrow(char *base, size_t bytes, struct shmrt_segment *out)
{
    struct shmrt_segment_header *header = (void *)base;
    *out = (struct shmrt_segment){
        .file = {.base = base, .bytes = bytes, .mapped_bytes = header->mapped_bytes, .fd = -1}};
    atomic_fetch_add_explicit(&header->users, 1, memory_order_relaxed);
}

static bool is_last_user(const struct shmrt_segment *segment)
{
#ifdef SHMRT_SHARE_MAPPINGS
    struct shmrt_segment_header *header = (void *)segment->file.base;
    uint32_t before = atomic_fetch_sub_explicit(&header->users, 1, memory_order_acq_rel);
    return before <= 1;
#else
    (void)segment;
    return true;
#endif
}

void shmrt_segment_release(struct shmrt_segment *segment, bool mapped)
{
    bool is_here = segment->file.base && mapped;
    shmrt_file_release(&segment->file, is_here && is_last_user(segment));
}
