/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host.c - peers from shm-bench's side: the page each of them shares, its commands and deadlines.
 *
 * The parent makes a page (a memfd: nothing to clean up) and a guardian for each peer, then forks
 * the ranks. Rank 0 gives the commands; the other ranks sleep meanwhile, so that the peer has the
 * CPUs for itself. Whatever goes wrong with a peer ends in a text in skipped[], never in a hang.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LOOK_MS = 100, END_MS = 8000 };

static int make_page(const struct bench_options *options, const struct bench_shared *shared,
                     struct bench_peer_page **page_out)
{
    struct bench_task largest = bench_task_of(options, options->last_bytes);
    int fd = memfd_create("shm-bench-control", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)sizeof **page_out) != 0)
        return -1;
    void *memory = mmap(NULL, sizeof **page_out, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return -1;
    struct bench_peer_page *page = memory;
    page->magic = BENCH_PEER_MAGIC;
    page->version = BENCH_PEER_VERSION;
    page->bytes = sizeof *page;
    page->ranks = (uint32_t)options->ranks;
    page->owner_pid = (int32_t)getpid();
    page->threads = options->threads > 1 ? (uint32_t)options->threads : 1;
    page->buffer_bytes = bench_payload_bytes(&largest);
    memcpy(page->cpus, shared->cpus, sizeof page->cpus);
    *page_out = page;
    return fd;
}

static int start_one(const struct bench_options *options, const struct bench_shared *shared,
                     const struct bench_peer_option *peer, const int lifeline[2],
                     struct bench_host *out)
{
    char control[64];
    int fd = make_page(options, shared, &out->page);
    if (fd < 0)
        return -errno;
    snprintf(control, sizeof control, "/proc/%d/fd/%d", (int)getpid(), fd);
    pid_t parent = getpid(), pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0) {
        close(lifeline[1]);
        if (getppid() != parent)
            _exit(1);
        bench_guard(out->page, control, peer->command, (int)out->page->threads, lifeline[0],
                    options->verbose);
    }
    out->guardian = (int)pid;
    return 0;
}

int bench_hosts_start(const struct bench_options *options, const struct bench_shared *shared,
                      struct bench_host *hosts, int *lifeline_out)
{
    int lifeline[2], rc = 0;
    if (options->peers == 0)
        return 0;
    fflush(NULL);
    if (pipe2(lifeline, O_CLOEXEC) != 0)
        rc = -errno;
    for (int p = 0; p < options->peers && rc == 0; p++)
        rc = start_one(options, shared, &options->peer[p], lifeline, &hosts[p]);
    if (rc) {
        fprintf(stderr, "shm-bench: peers can't be started: %s\n", strerror(-rc));
        return 1; /* the end of the lifeline ends those that were */
    }
    close(lifeline[0]);
    *lifeline_out = lifeline[1];
    return 0;
}

void bench_hosts_end(const struct bench_options *options, const struct bench_host *hosts,
                     int lifeline)
{
    if (lifeline >= 0)
        close(lifeline);
    for (int p = 0; p < options->peers; p++)
        if (hosts[p].guardian > 0)
            waitpid(hosts[p].guardian, NULL, 0);
}

__attribute__((format(printf, 3, 4))) static void skip(struct bench_rank *rank, int contender,
                                                       const char *format, ...)
{
    struct bench_host *host = &rank->hosts[rank->contenders[contender].peer];
    char *text = rank->shared->skipped[contender];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof rank->shared->skipped[contender], format, list);
    va_end(list);
    kill(host->guardian, SIGTERM);
    /* Not beside those that are measured next. */
    uint64_t until = bench_now_ns() + END_MS * UINT64_C(1000000);
    while (!__atomic_load_n(&host->page->gone, __ATOMIC_ACQUIRE) && bench_now_ns() < until)
        usleep(2000);
    bench_progress(rank, NULL, 0);
    fprintf(stderr, "shm-bench: %s skipped: %s\n", rank->contenders[contender].name, text);
}

static void skip_as_gone(struct bench_rank *rank, int contender, const char *when)
{
    const struct bench_peer_page *page = rank->hosts[rank->contenders[contender].peer].page;
    int ended = page->ended;
    bool is_signal = WIFSIGNALED(ended);
    skip(rank, contender, "%s %d %s%s%s", is_signal ? "killed by signal" : "exited with status",
         is_signal ? WTERMSIG(ended) : WEXITSTATUS(ended), when, page->last_words[0] ? ": " : "",
         page->last_words);
}

/* The first rank of the peer that reports trouble, or -1. */
static int in_trouble(const struct bench_peer_page *page)
{
    for (uint32_t r = 0; r < page->ranks; r++)
        if (page->rank[r].status != 0)
            return (int)r;
    return -1;
}

/* Rank 0: until all of the peer's ranks have answered, or it has to be skipped. */
static void await_answers(struct bench_rank *rank, int contender, const char *when)
{
    struct bench_host *host = &rank->hosts[rank->contenders[contender].peer];
    struct bench_peer_page *page = host->page;
    double seconds = rank->options->peer_timeout_s;
    uint64_t until = bench_now_ns() + (uint64_t)(seconds * 1e9);
    for (;;) {
        uint32_t answered = __atomic_load_n(&page->answered, __ATOMIC_ACQUIRE);
        int bad = in_trouble(page);
        if (bad >= 0) {
            skip(rank, contender, "rank %d %s: %.*s", bad, when, BENCH_TEXT_BYTES,
                 page->rank[bad].text);
            return;
        }
        if (answered == host->expected)
            return;
        if (__atomic_load_n(&page->gone, __ATOMIC_ACQUIRE)) {
            skip_as_gone(rank, contender, when);
            return;
        }
        if (bench_now_ns() >= until) {
            skip(rank, contender, "%u of %u ranks did not answer within %g s, %s",
                 host->expected - answered, page->ranks, seconds, when);
            return;
        }
        bench_sleep(&page->answered, answered, LOOK_MS);
    }
}

/* Rank 0. The batch and the samples mean nothing to other commands than RUN. */
static void command(struct bench_rank *rank, int contender, enum bench_command what, int batch,
                    int samples, const char *when)
{
    struct bench_host *host = &rank->hosts[rank->contenders[contender].peer];
    struct bench_peer_page *page = host->page;
    page->command = what;
    page->task = rank->task;
    page->batch = (uint64_t)batch;
    page->samples = (uint32_t)samples;
    host->expected += page->ranks;
    __atomic_fetch_add(&page->turn, 1, __ATOMIC_RELEASE);
    bench_wake(&page->turn);
    await_answers(rank, contender, when);
}

void bench_hosts_await(struct bench_rank *rank)
{
    for (int c = 0; c < rank->contender_count && rank->rank == 0; c++) {
        const struct bench_contender *contender = &rank->contenders[c];
        if (contender->kind != BENCH_PEER)
            continue;
        bench_progress(rank, contender->name, 0);
        rank->hosts[contender->peer].expected = (uint32_t)rank->options->ranks;
        await_answers(rank, c, "before it was ready");
    }
    (void)bench_meet(&rank->party, BENCH_SLEEP);
}

void bench_hosts_quit(struct bench_rank *rank)
{
    for (int c = 0; c < rank->contender_count; c++)
        if (rank->contenders[c].kind == BENCH_PEER && !rank->shared->skipped[c][0])
            command(rank, c, BENCH_COMMAND_QUIT, 0, 0, "at the end");
}

int bench_host_verify(struct bench_rank *rank, int contender)
{
    char when[64];
    snprintf(when, sizeof when, "in verification at %zu bytes", rank->bytes);
    if (rank->rank == 0 && !rank->shared->skipped[contender][0])
        command(rank, contender, BENCH_COMMAND_VERIFY, 1, 1, when);
    return bench_meet(&rank->party, BENCH_SLEEP);
}

int bench_host_run(struct bench_rank *rank, int contender, int batch, int samples)
{
    char when[64];
    struct bench_shared *s = rank->shared;
    snprintf(when, sizeof when, "while it ran %zu bytes", rank->bytes);
    if (rank->rank == 0) {
        const struct bench_peer_page *page = rank->hosts[rank->contenders[contender].peer].page;
        command(rank, contender, BENCH_COMMAND_RUN, batch, samples, when);
        for (uint32_t r = 0; r < page->ranks; r++)
            memcpy(s->us[r], page->rank[r].us, (size_t)samples * sizeof(double));
    }
    return bench_meet(&rank->party, BENCH_SLEEP);
}
