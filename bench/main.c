/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - shm-bench: forks the ranks, pins them, walks through the sizes.
 *
 * The ranks are processes, as in use. Rank 0 prints. The parent only waits: a rank that fails ends
 * the others through the communicator, and its status is the program's.
 */
#include "bench.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_RESULTS = 64 * MAX_CONTENDERS };

static void hear(enum shmrt_log_level level, const char *line, void *arg)
{
    (void)level;
    (void)arg;
    fprintf(stderr, "shm-bench: %s\n", line);
}

/* Rank r on the r-th allowed CPU; with more ranks than CPUs the scheduler decides. */
static void pin(struct bench_shared *shared, int rank, int ranks)
{
    cpu_set_t allowed, one;
    snprintf(shared->cpus[rank], sizeof shared->cpus[rank], "any");
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < ranks)
        return;
    int cpu = -1;
    for (int left = rank; left >= 0; left -= CPU_ISSET(cpu, &allowed) != 0)
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    if (sched_setaffinity(0, sizeof one, &one) == 0)
        snprintf(shared->cpus[rank], sizeof shared->cpus[rank], "%d", cpu);
}

static int fail(const struct bench_rank *rank, int rc, const char *what)
{
    const char *text = rank->comm ? shmrt_comm_error(rank->comm)->text : "";
    fprintf(stderr, "shm-bench: rank %d: %s: %s\n", rank->rank, what, *text ? text : strerror(-rc));
    return 1;
}

static void show_progress(const struct bench_options *options, size_t bytes)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, bytes ? "\rmeasuring %zu of %zu bytes \033[K" : "\r\033[K", bytes,
                options->last_bytes);
}

static int measure_sizes(struct bench_rank *rank)
{
    static struct bench_result results[MAX_RESULTS];
    const struct bench_options *o = rank->options;
    int contenders = bench_contender_count(o->ranks), rc = 0;
    size_t n = 0;
    for (size_t bytes = o->first_bytes; bytes <= o->last_bytes && n + MAX_CONTENDERS <= MAX_RESULTS;
         bytes *= o->factor) {
        rank->bytes = bytes;
        if (rank->rank == 0)
            show_progress(o, bytes);
        if ((rc = bench_verify(rank)) != 0)
            return fail(rank, rc, "wrong result");
        if ((rc = bench_measure(rank, &results[n])) != 0)
            return fail(rank, rc, "measuring failed");
        if (rank->rank == 0 && !o->quiet) {
            double roundtrip_us = contenders > 2 ? results[2].median_us : 0;
            show_progress(o, 0);
            if (n == 0)
                bench_print_head(rank, roundtrip_us);
            bench_print_row(&results[n], roundtrip_us);
        }
        n += (size_t)contenders;
    }
    if (rank->rank == 0 && o->json_path && (rc = bench_write_json(o, results, n)) != 0)
        return fail(rank, rc, o->json_path);
    return 0;
}

static int run_rank(const struct bench_options *options, struct bench_shared *shared, int number,
                    const char *job)
{
    struct shmrt_error error;
    struct bench_rank rank = {.options = options, .shared = shared, .rank = number};
    struct shmrt_params params = {.rank = number, .size = options->ranks, .job = job, .log = hear};
    pin(shared, number, options->ranks);
    if (shmrt_comm_create(&params, &rank.comm, &error) != 0) {
        fprintf(stderr, "shm-bench: rank %d: %s\n", number, error.text);
        return 1;
    }
    /* in, a copy's target, and out: page-aligned and touched */
    char *memory = NULL;
    size_t bytes = 3 * options->last_bytes;
    if (posix_memalign((void **)&memory, 4096, bytes) != 0)
        return fail(&rank, -12, "no memory for the buffers");
    memset(memory, 0, bytes);
    rank.in = memory;
    rank.out = options->out_of_place ? memory + 2 * options->last_bytes : memory;
    int status = measure_sizes(&rank);
    shmrt_comm_destroy(rank.comm);
    free(memory);
    return status;
}

int main(int argc, char **argv)
{
    struct bench_options options;
    int status = bench_parse(argc, argv, &options);
    if (status >= 0)
        return status;
    struct bench_shared *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        perror("shm-bench: mmap");
        return 1;
    }
    char job[64];
    snprintf(job, sizeof job, "shm-bench-%d", (int)getpid());
    pid_t parent = getpid();
    fflush(NULL);
    for (int r = 0; r < options.ranks; r++) {
        pid_t pid = fork();
        if (pid < 0) {
            perror("shm-bench: fork");
            return 1; /* PDEATHSIG ends those that were started */
        }
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != parent)
                _exit(1);
            exit(run_rank(&options, shared, r, job));
        }
    }
    int wait_status;
    while (wait(&wait_status) > 0) {
        int code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
        status = status > 0 ? status : code;
    }
    return status;
}
