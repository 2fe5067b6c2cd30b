/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - shm-bench: shares out the CPUs, starts the peers, forks the ranks, waits.
 *
 * The ranks are processes, as in use. Rank 0 prints. The parent only waits: a rank that fails ends
 * the others, and its status is the program's. Ranks die with the parent (PDEATHSIG), and peers
 * with it too: their guardians see the other end of the lifeline closed.
 */
#include "bench.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the parent has, and its children with it. */
struct bench_job {
    struct bench_options options;
    struct bench_shared *shared;
    char *plane;
    size_t plane_bytes;
    struct bench_host hosts[MAX_PEERS];
    struct bench_result *probes;
    size_t probe_count;
    char name[64];
    int lifeline;                /* -1: no peers */
    pid_t pids[SHMRT_MAX_RANKS]; /* of the ranks that run */
};

static void *share(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

/* Rank r on the r-th allowed CPU, or on as many as it has threads; with too few CPUs the scheduler
 * decides. */
static void share_out_cpus(const struct bench_options *options, struct bench_shared *shared)
{
    cpu_set_t allowed;
    int threads = options->threads > 1 ? options->threads : 1;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 ||
        CPU_COUNT(&allowed) < options->ranks * threads)
        return;
    int given = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE && given < options->ranks * threads; cpu++)
        if (CPU_ISSET(cpu, &allowed)) {
            shared->cpus[given / threads][cpu / 64] |= UINT64_C(1) << cpu % 64;
            given++;
        }
}

/* Parts of whole pages, so that each is on its owner's node. */
static int share_memory(struct bench_job *job)
{
    struct bench_task largest = bench_task_of(&job->options, job->options.last_bytes);
    size_t payload = bench_payload_bytes(&largest);
    job->plane_bytes = (payload + 4096) / 4096 * 4096;
    job->shared = share(sizeof *job->shared);
    job->plane = share(job->plane_bytes * (size_t)job->options.ranks);
    job->probes = calloc((size_t)MAX_SIZES * MAX_CONTENDERS, sizeof *job->probes);
    if (job->shared && job->plane && job->probes)
        return 0;
    perror("shm-bench: no memory to share");
    return 1;
}

static int run_rank(struct bench_job *job, int number)
{
    struct bench_rank rank = {.options = &job->options,
                              .shared = job->shared,
                              .hosts = job->hosts,
                              .rank = number,
                              .plane = job->plane,
                              .plane_bytes = job->plane_bytes};
    if (job->lifeline >= 0)
        close(job->lifeline); /* the parent alone keeps the peers alive */
    return bench_walk(&rank, job->name, job->probes, job->probe_count);
}

static int fork_ranks(struct bench_job *job)
{
    pid_t parent = getpid();
    fflush(NULL);
    for (int r = 0; r < job->options.ranks; r++) {
        pid_t pid = fork();
        if (pid < 0) {
            perror("shm-bench: fork");
            return 1;
        }
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != parent)
                _exit(1);
            exit(run_rank(job, r));
        }
        job->pids[r] = pid;
    }
    return 0;
}

static void kill_ranks(const struct bench_job *job)
{
    for (int r = 0; r < job->options.ranks; r++)
        if (job->pids[r] > 0)
            kill(job->pids[r], SIGKILL);
}

static int take_off(struct bench_job *job, pid_t pid)
{
    for (int r = 0; r < job->options.ranks; r++)
        if (job->pids[r] == pid) {
            job->pids[r] = 0;
            return 1;
        }
    return 0; /* a guardian */
}

/* The first that fails decides, and ends the others: they may wait for it in the barrier. */
static int await_ranks(struct bench_job *job, int status)
{
    int left = 0, wait_status;
    for (int r = 0; r < job->options.ranks; r++)
        left += job->pids[r] > 0;
    if (status)
        kill_ranks(job);
    while (left > 0) {
        pid_t pid = wait(&wait_status);
        if (pid < 0)
            break;
        if (!take_off(job, pid))
            continue;
        left--;
        int code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
        if (code && !status) {
            status = code;
            kill_ranks(job);
        }
    }
    return status;
}

int main(int argc, char **argv)
{
    struct bench_job *job = calloc(1, sizeof *job);
    if (!job)
        return 1;
    job->lifeline = -1;
    int status = bench_parse(argc, argv, &job->options);
    if (status >= 0) {
        free(job);
        return status;
    }
    status = share_memory(job);
    if (status == 0)
        share_out_cpus(&job->options, job->shared);
    snprintf(job->name, sizeof job->name, "shm-bench-%d", (int)getpid());
    if (status == 0 && job->options.probe)
        status = bench_probe(&job->options, (const uint64_t(*)[BENCH_CPU_WORDS])job->shared->cpus,
                             job->probes, &job->probe_count);
    if (status == 0)
        status = bench_hosts_start(&job->options, job->shared, job->hosts, &job->lifeline);
    if (status == 0)
        status = await_ranks(job, fork_ranks(job));
    bench_hosts_end(&job->options, job->hosts, job->lifeline);
    free(job->probes);
    free(job);
    return status;
}
