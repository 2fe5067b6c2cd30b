/* SPDX-License-Identifier: Apache-2.0 */
/*
 * comm_create.c - from parameters to a communicator: options, own segment, then the others
 * (comm_join.c). Whatever fails is undone; and the end of a communicator.
 */
#include "comm_join.h"

#include "shm/rendezvous_name.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int check_params(const struct shmrt_params *params, struct shmrt_error *error_out)
{
    if (params->size < 1 || params->size > SHMRT_MAX_RANKS)
        return shmrt_error_set(error_out, -EINVAL, "size %d is not from 1 to %d ranks",
                               params->size, SHMRT_MAX_RANKS);
    if (params->rank < 0 || params->rank >= params->size)
        return shmrt_error_set(error_out, -EINVAL, "rank %d is not from 0 to %d (size %d)",
                               params->rank, params->size - 1, params->size);
    return 0;
}

static int choose_kernels(struct shmrt_comm *comm, struct shmrt_error *error_out)
{
    char rungs[128] = "";
    int rc = shmrt_kernels_choose(comm->options.kernel, &comm->group.kernels);
    if (rc == 0)
        return 0;
    for (int i = 0; shmrt_kernels_rung(i); i++) {
        size_t at = strlen(rungs);
        snprintf(rungs + at, sizeof rungs - at, ", %s", shmrt_kernels_rung(i));
    }
    return shmrt_error_set(error_out, rc, "SHMRT_KERNEL=%s %s; known are auto%s",
                           comm->options.kernel,
                           rc == -ENOTSUP ? "asks for instructions that this CPU does not have"
                                          : "is not a rung of kernels",
                           rungs);
}

static int make_fork_guard(struct shmrt_comm *comm, struct shmrt_error *error_out)
{
    size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
    void *page = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return shmrt_error_set(error_out, -errno, "mapping one page failed: %s", strerror(errno));
    comm->fork_guard = page;
    comm->fork_guard[0] = 1;
    /* Kernels before 4.14 lack it; a use after fork then meets the missing mappings instead. */
    (void)madvise(page, bytes, MADV_WIPEONFORK);
    return 0;
}

/* On the nodes of the segment; where those could not be had, that has been said. */
static int create_pool(struct shmrt_comm *comm, const struct shmrt_params *params,
                       const struct shmrt_logger *logger, struct shmrt_error *error_out)
{
    const struct shmrt_segment *own = &comm->segments[params->rank];
    return shmrt_pool_create(comm->options.pool_bytes,
                             (enum shmrt_page_kind)comm->options.huge_pages,
                             shmrt_nodeset_is_empty(&own->file.bound_nodes) ? NULL : &own->nodes,
                             logger, &comm->pools[params->rank], error_out);
}

/* What is shared with the others; nothing where that is switched off. */
static int take_memory(struct shmrt_comm *comm, const struct shmrt_params *params,
                       const struct shmrt_logger *logger, struct shmrt_error *error_out)
{
    if (comm->options.disable)
        return 0;
    int rc = shmrt_segment_create(params->rank, &comm->options, logger,
                                  &comm->segments[params->rank], error_out);
    return rc ? rc : create_pool(comm, params, logger, error_out);
}

/* All that a rank needs before it meets the others. */
static int prepare(struct shmrt_comm *comm, const struct shmrt_params *params,
                   struct shmrt_notices *notices, struct shmrt_error *error_out)
{
    const struct shmrt_logger logger = shmrt_notices_logger(notices);
    int rc = choose_kernels(comm, error_out);
    if (rc == 0)
        rc = make_fork_guard(comm, error_out);
    return rc ? rc : take_memory(comm, params, &logger, error_out);
}

static void free_comm(struct shmrt_comm *comm, bool bye)
{
    bool forked = comm->fork_guard && comm->fork_guard[0] == 0;
    int size = SHMRT_MAX_RANKS;
    struct shmrt_error failure;
    /* However it was found out: between calls, in a split, while measuring. */
    if (!forked && comm->group.sync.size && shmrt_has_failed(&comm->group.sync, &failure))
        shmrt_record_file_fail(&comm->file, &failure);
    /* A child only closes its copy: the name is its parent's. */
    if (forked && comm->listener >= 0)
        close(comm->listener);
    else
        shmrt_name_close(comm->listener);
    shmrt_links_close(comm->links, size, bye && !forked);
    for (int r = 0; r < size; r++) {
        shmrt_segment_release(&comm->segments[r], !forked);
        shmrt_pool_release(comm->pools[r], !forked);
    }
    if (comm->fork_guard)
        munmap(comm->fork_guard, (size_t)sysconf(_SC_PAGESIZE));
    shmrt_record_file_close(&comm->file, !forked);
    shmrt_requests_free(comm);
    free(comm->group.lanes);
    free(comm->group.pairs);
    free(comm->group.sync.stats);
    free(comm);
}

static struct shmrt_comm *allocate_comm(void)
{
    struct shmrt_comm *comm = calloc(1, sizeof *comm);
    if (comm)
        comm->listener = -1;
    for (int r = 0; comm && r < SHMRT_MAX_RANKS; r++) {
        comm->links[r] = (struct shmrt_link){.socket = -1, .memfd = -1, .poolfd = -1, .pidfd = -1};
        comm->segments[r].file.fd = -1;
    }
    return comm;
}

int shmrt_comm_build(const struct shmrt_params *params, const struct shmrt_options *options,
                     const struct shmrt_error *trouble, const struct shmrt_told *told,
                     struct shmrt_comm **comm_out, struct shmrt_error *error_out)
{
    struct shmrt_comm *comm = allocate_comm();
    if (!comm)
        return shmrt_error_set(error_out, -ENOMEM, "no memory for a communicator");
    struct shmrt_notices notices = {.logger = {params->log, params->log_arg}, .told = &comm->told};
    comm->options = *options;
    if (told)
        comm->told = *told;
    shmrt_order_make(&comm->group.order, NULL, params->size);
    comm->group.sum_order = comm->group.order;
    /* A rank that can't take part meets the others all the same, so that they hear of it. */
    struct shmrt_error why = *trouble;
    if (!why.code)
        why.code = prepare(comm, params, &notices, &why);
    int rc = shmrt_comm_join(comm, params, &notices, &why, error_out);
    if (rc) {
        shmrt_notices_tell_alone(&notices);
        free_comm(comm, false);
        return rc;
    }
    shmrt_comm_word_refusal(comm);
    shmrt_notices_remember(&notices, &comm->told);
    *comm_out = comm;
    return 0;
}

int shmrt_comm_create(const struct shmrt_params *params, struct shmrt_comm **comm_out,
                      struct shmrt_error *error_out)
{
    struct shmrt_options options;
    struct shmrt_error trouble = {0};
    int rc = check_params(params, error_out);
    if (rc)
        return rc;
    trouble.code = shmrt_options_load(params->settings, &options, &trouble);
    return shmrt_comm_build(params, &options, &trouble, NULL, comm_out, error_out);
}

void shmrt_comm_destroy(struct shmrt_comm *comm)
{
    if (comm)
        free_comm(comm, true);
}
