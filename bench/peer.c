/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer.c - a rank of another library in a run of shm-bench.
 *
 * Writes nothing of the page but its own bench_peer_rank, `answered`, the peers' barrier and, as
 * rank 0, `setting`. Between turns it sleeps in a futex, so it takes no CPU from the others.
 */
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LOOK_MS = 500 };

struct seat {
    struct bench_peer_page *page;
    const struct bench_peer_ops *ops;
    int rank;
    struct bench_party party;
    struct bench_task task; /* a copy: the page is rewritten only between commands, but by others */
    void *in;
    void *out;
};

/* Nobody waits for answers of a run that is gone. */
static int owner_is_gone(void *arg)
{
    const struct bench_peer_page *page = (const struct bench_peer_page *)arg;
    return kill(page->owner_pid, 0) != 0 && errno == ESRCH ? -ECONNABORTED : 0;
}

static int map_page(const char *path, int rank, struct bench_peer_page **page_out)
{
    path = path ? path : getenv(BENCH_PEER_VARIABLE);
    if (!path)
        return -ENOENT;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct stat status;
    if (fd < 0)
        return -errno;
    int rc = fstat(fd, &status) ? -errno : 0;
    void *memory = MAP_FAILED;
    if (rc == 0 && (size_t)status.st_size >= sizeof **page_out)
        memory = mmap(NULL, sizeof **page_out, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (rc || memory == MAP_FAILED)
        return rc ? rc : -EPROTO;
    struct bench_peer_page *page = (struct bench_peer_page *)memory;
    if (page->magic != BENCH_PEER_MAGIC || page->version != BENCH_PEER_VERSION ||
        page->bytes != sizeof *page || rank < 0 || (uint32_t)rank >= page->ranks) {
        munmap(memory, sizeof *page);
        return -EPROTO;
    }
    *page_out = page;
    return 0;
}

int bench_peer_pin(const char *control, int rank)
{
    struct bench_peer_page *page = NULL;
    int rc = map_page(control, rank, &page);
    if (rc)
        return rc;
    rc = bench_pin(page->cpus[rank], BENCH_CPU_WORDS);
    munmap(page, sizeof *page);
    return rc;
}

/* The larger of a buffer and a page, so that a barrier's buffers are real too; touched. */
static int take_buffer(const struct seat *seat, void **out)
{
    size_t bytes = seat->page->buffer_bytes > 4096 ? (size_t)seat->page->buffer_bytes : 4096;
    if (seat->ops->alloc)
        *out = seat->ops->alloc(seat->ops->arg, bytes);
    else if (posix_memalign(out, 4096, bytes) != 0)
        *out = NULL;
    if (!*out)
        return -ENOMEM;
    memset(*out, 0, bytes);
    return 0;
}

static int run_calls(void *arg, int calls)
{
    struct seat *seat = (struct seat *)arg;
    return seat->ops->run(seat->ops->arg, &seat->task, seat->in, seat->out, calls);
}

static int prepare_call(void *arg)
{
    struct seat *seat = (struct seat *)arg;
    bench_prepare(&seat->task, (uint32_t)seat->rank, seat->in, seat->out);
    return 0;
}

static int verify(struct seat *seat)
{
    struct bench_peer_rank *self = &seat->page->rank[seat->rank];
    bench_fill(&seat->task, (uint32_t)seat->rank, seat->in, seat->out);
    int rc = bench_meet(&seat->party, BENCH_SPIN);
    rc = rc ? rc : run_calls(seat, 1);
    if (rc)
        return rc;
    int64_t wrong = bench_check(&seat->task, (uint32_t)seat->rank, seat->out);
    if (wrong >= 0)
        snprintf(self->text, sizeof self->text, "element %lld of its output is wrong",
                 (long long)wrong);
    bench_clear(&seat->task, seat->in, seat->out);
    return wrong >= 0 ? -EBADMSG : 0;
}

static int run_samples(struct seat *seat)
{
    struct bench_peer_page *page = seat->page;
    struct bench_batch batch = {run_calls, seat->task.buffers == BENCH_WARM ? NULL : prepare_call,
                                seat};
    int calls = (int)page->batch, samples = (int)page->samples;
    double us = 0;
    /* The first one finds other contenders' data in the caches: not counted. */
    int rc = bench_time_batch(&seat->party, &batch, calls, &us);
    for (int i = 0; i < samples && i < BENCH_MAX_SAMPLES && rc == 0; i++) {
        rc = bench_time_batch(&seat->party, &batch, calls, &us);
        page->rank[seat->rank].us[i] = us / calls;
    }
    return rc;
}

static int obey(struct seat *seat)
{
    struct bench_peer_page *page = seat->page;
    struct bench_peer_rank *self = &page->rank[seat->rank];
    void *spare = seat->out;
    int rc = 0;
    seat->task = page->task;
    self->text[0] = '\0';
    if (seat->task.in_place)
        seat->out = seat->in;
    if (page->command == BENCH_COMMAND_VERIFY)
        rc = verify(seat);
    else if (page->command == BENCH_COMMAND_RUN)
        rc = run_samples(seat);
    seat->out = spare;
    if (rc && !self->text[0])
        snprintf(self->text, sizeof self->text, "%s", strerror(-rc));
    self->status = rc;
    return rc;
}

static void answer(struct bench_peer_page *page)
{
    __atomic_fetch_add(&page->answered, 1, __ATOMIC_SEQ_CST);
    bench_wake(&page->answered);
}

static int sit_down(struct seat *seat, const char *control)
{
    int rc = map_page(control, seat->rank, &seat->page);
    if (rc)
        return rc;
    struct bench_peer_page *page = seat->page;
    seat->party = (struct bench_party){&page->barrier, page->ranks, owner_is_gone, page};
    rc = bench_pin(page->cpus[seat->rank], BENCH_CPU_WORDS);
    rc = rc ? rc : take_buffer(seat, &seat->in);
    rc = rc ? rc : take_buffer(seat, &seat->out);
    if (rc == 0 && seat->rank == 0)
        snprintf(page->setting, sizeof page->setting, "%s",
                 seat->ops->setting ? seat->ops->setting : "");
    return rc;
}

int bench_peer_serve(const char *control, int rank, const struct bench_peer_ops *ops)
{
    struct seat seat = {.ops = ops, .rank = rank};
    int rc = sit_down(&seat, control);
    if (rc)
        return rc;
    struct bench_peer_page *page = seat.page;
    uint32_t seen = __atomic_load_n(&page->turn, __ATOMIC_ACQUIRE), turn = seen;
    page->rank[rank].pid = (int32_t)getpid();
    __atomic_store_n(&page->rank[rank].ready, 1, __ATOMIC_RELEASE);
    answer(page);
    for (;;) {
        while ((turn = __atomic_load_n(&page->turn, __ATOMIC_ACQUIRE)) == seen) {
            bench_sleep(&page->turn, seen, LOOK_MS);
            if (owner_is_gone(page))
                return 0;
        }
        seen = turn;
        if (page->command == BENCH_COMMAND_QUIT)
            break;
        obey(&seat);
        answer(page);
    }
    answer(page);
    return 0;
}
