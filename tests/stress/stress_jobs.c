/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stress_jobs.c - jobs that are killed whole, at random times, and what is left of them: nothing.
 *
 * A job is a group of processes, killed at once, or one of shm-launch's, of which the launcher, its
 * keeper, both, or all processes are killed.
 */
#include "ranks.h"
#include "stress.h"
#include "traces.h"

#include "calls.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST_RANKS = 8, CALLS = 60, MOST_ELEMENTS = 40000, GONE_S = 60, SETTLE_S = 30 };

/* A leak of one segment a job would be 256 KiB times the number of jobs. */
enum { TOLERATED_MACHINE_BYTES = 64 << 20 };

enum way { GROUP, LAUNCHER, KEEPER, LAUNCHER_AND_KEEPER, EVERYTHING, WAYS };

static const char *const way_names[WAYS] = {"all ranks", "the launcher", "its keeper",
                                            "launcher and keeper", "launcher, keeper and ranks"};

struct run {
    uint64_t jobs, seed;
    struct traces_place place;
    const char *launcher; /* NULL: not built */
    const char *program;
    uint64_t state;
    int killed[WAYS];
    int64_t longest_ns[WAYS]; /* until the last process was gone */
    int faults;
};

static void silence(FILE *stream)
{
    if (!freopen("/dev/null", "w", stream))
        _exit(1);
}

/* Communicators one after the other, so that a kill meets each part of their lives. */
static _Noreturn void work(struct rank *rank)
{
    static const char *const settings[] = {"segment=512K", "pool=8M", NULL};
    rank->settings = settings;
    for (uint64_t round = 0;; round++) {
        struct shmrt_error error;
        struct shmrt_comm *comm = rank_comm(rank, &error);
        if (!comm)
            _exit(1);
        uint64_t state = round;
        for (int i = 0; i < CALLS; i++) {
            struct call call = call_random(&state, rank->size, MOST_ELEMENTS, rank->size > 1);
            if (call_once(rank, comm, &call))
                _exit(1);
        }
        shmrt_comm_destroy(comm);
    }
}

/* Under shm-launch: `stress_jobs rank`. */
static int run_as_rank(void)
{
    struct shmrt_params params = {0};
    struct rank rank = {0};
    struct shmrt_error error;
    const char *job = getenv("SHMRT_JOB");
    if (shmrt_params_from_env(&params, &error) || !job)
        return 1;
    rank.rank = params.rank;
    rank.size = params.size;
    snprintf(rank.job, sizeof rank.job, "%.60s", job);
    silence(stderr);
    work(&rank);
}

/* In a group of their own. Return: the group. */
static pid_t start_group(struct run *run, int size)
{
    struct rank rank = {.size = size};
    ranks_unique_job(rank.job);
    pid_t group = 0;
    for (; rank.rank < size; rank.rank++) {
        pid_t pid = fork();
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL); /* Ctrl-C doesn't come to another group */
            setpgid(0, group);
            traces_enter(&run->place);
            silence(stderr);
            work(&rank);
        }
        setpgid(pid, group);
        group = group ? group : pid;
    }
    return group;
}

/* Its ranks are this program, or `true`. */
static pid_t start_launcher(const struct run *run, int size, bool works)
{
    char ranks[8];
    snprintf(ranks, sizeof ranks, "%d", size);
    pid_t pid = fork();
    if (pid)
        return pid;
    traces_enter(&run->place);
    silence(stdout);
    silence(stderr);
    execl(run->launcher, run->launcher, "-n", ranks, works ? run->program : "true", "rank", NULL);
    _exit(127);
}

static void kill_it(int pid, void *arg)
{
    (void)arg;
    kill(pid, SIGKILL);
}

static void note_pid(int pid, void *arg)
{
    if (*(int *)arg == 0 || pid < *(int *)arg)
        *(int *)arg = pid;
}

static void kill_job(enum way way, pid_t pid)
{
    int keeper = 0;
    if (way == GROUP) {
        kill(-pid, SIGKILL);
        return;
    }
    if (way == KEEPER || way == LAUNCHER_AND_KEEPER)
        traces_descendants(pid, note_pid, &keeper); /* the first that the launcher has forked */
    if (way == EVERYTHING)
        traces_descendants(pid, kill_it, NULL);
    if (way != KEEPER || !keeper)
        kill(pid, SIGKILL);
    if (keeper)
        kill(keeper, SIGKILL);
}

/* Whatever lost its parent has become this process's child. */
static bool reap_all(void)
{
    int64_t until_ns = now_ns() + GONE_S * INT64_C(1000000000);
    for (;;) {
        pid_t pid = waitpid(-1, NULL, WNOHANG);
        if (pid < 0)
            return true;
        if (pid == 0 && now_ns() > until_ns)
            return false;
        if (pid == 0)
            ranks_nap_ms(1);
    }
}

static void fault(struct run *run, const char *what, enum way way, uint64_t seed)
{
    fprintf(stderr, "FAULT %s: %s killed, --seed %llu\n", what, way_names[way],
            (unsigned long long)seed);
    run->faults++;
}

static void run_job(struct run *run, uint64_t seed)
{
    uint64_t state = seed;
    next_random(&state);
    int size = 2 + (int)(next_random(&state) % (MOST_RANKS - 1));
    enum way way = run->launcher ? (enum way)(next_random(&state) % WAYS) : GROUP;
    int64_t us = INT64_C(64) << next_random(&state) % 12; /* 64 us to 0.26 s */
    us += (int64_t)(next_random(&state) % (uint64_t)us);
    pid_t pid = way == GROUP ? start_group(run, size) : start_launcher(run, size, true);
    struct timespec nap = {us / 1000000, us % 1000000 * 1000};
    nanosleep(&nap, NULL);
    if (run->place.own_shm && traces_shm_files())
        fault(run, "a file in /dev/shm", way, seed);
    int64_t killed_ns = now_ns();
    kill_job(way, pid);
    if (!reap_all()) {
        fault(run, "processes are left", way, seed);
        traces_descendants((int)getpid(), kill_it, NULL);
        reap_all();
    }
    int64_t took_ns = now_ns() - killed_ns;
    run->killed[way]++;
    if (took_ns > run->longest_ns[way])
        run->longest_ns[way] = took_ns;
}

static bool is_as_before(const struct run *run, const struct traces *a, const struct traces *b)
{
    int64_t tolerated = run->place.cgroup[0] ? 0 : TOLERATED_MACHINE_BYTES;
    return b->shared_bytes <= a->shared_bytes + tolerated && b->sockets <= a->sockets &&
           b->ports <= a->ports && b->shm_files <= a->shm_files &&
           b->temporary_files <= a->temporary_files && b->own_files <= a->own_files &&
           b->processes <= a->processes;
}

static void print_traces(const char *when, const struct traces *t)
{
    printf(
        "%s: shared memory %.1f MiB, available on the machine %.0f MiB, processes %d, open files "
        "%d, abstract sockets %d, ports %d, in /dev/shm %d, in TMPDIR %d\n",
        when, (double)t->shared_bytes / (1 << 20), (double)-t->other_bytes / (1 << 20),
        t->processes, t->own_files, t->sockets, t->ports, t->shm_files, t->temporary_files);
}

/* The kernel frees a dead process's memory a moment after it is reaped; and where the count is of
 * the whole machine, others come and go. */
static void compare(struct run *run, const struct traces *before)
{
    struct traces after;
    int64_t until_ns = now_ns() + SETTLE_S * INT64_C(1000000000);
    do {
        ranks_nap_ms(20);
        traces_count(&run->place, &after);
    } while (!is_as_before(run, before, &after) && now_ns() < until_ns);
    print_traces("after ", &after);
    if (!is_as_before(run, before, &after)) {
        fprintf(stderr, "FAULT something is left behind\n");
        run->faults++;
    }
}

/* Who is killed together with its keeper can't remove the folder for its ranks' error files; the
 * next job does, when it is old. */
static void remove_old_folders(const struct run *run)
{
    int left = traces_age_files(&run->place);
    if (run->launcher && left) {
        printf("%d empty folders for error files, which the next job of shm-launch removes\n",
               left);
        fflush(NULL);
        start_launcher(run, 2, false);
        reap_all();
    }
}

static const char *find_launcher(void)
{
    const char *given = getenv("SHM_LAUNCH");
#ifdef STRESS_LAUNCHER
    given = given ? given : STRESS_LAUNCHER;
#endif
    return given && access(given, X_OK) == 0 ? given : NULL;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "rank") == 0)
        return run_as_rank();
    struct run run = {.jobs = 10, .seed = stress_fresh_seed(), .launcher = find_launcher()};
    char program[4096] = "";
    const struct stress_option options[] = {{"--jobs", &run.jobs, "how many are killed"},
                                            {"--seed", &run.seed, "of the first"},
                                            {NULL, NULL, NULL}};
    stress_parse(argc, argv, options);
    if (readlink("/proc/self/exe", program, sizeof program - 1) < 0)
        return 1;
    run.program = program;
    printf("%llu jobs, --seed %llu, %s\n", (unsigned long long)run.jobs,
           (unsigned long long)run.seed, run.launcher ? run.launcher : "without shm-launch");
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    traces_place_make(&run.place);
    fflush(NULL);
    struct traces before;
    traces_count(&run.place, &before);
    for (uint64_t i = 0; i < run.jobs; i++)
        run_job(&run, run.seed + i);
    for (int way = 0; way < WAYS; way++)
        if (run.killed[way])
            printf("%s killed: %d jobs, the last process gone after %.0f ms at most\n",
                   way_names[way], run.killed[way], (double)run.longest_ns[way] / 1e6);
    remove_old_folders(&run);
    print_traces("before", &before);
    compare(&run, &before);
    if (!traces_place_free(&run.place)) {
        fprintf(stderr, "FAULT the cgroup still has processes\n");
        run.faults++;
    }
    printf("%d faults\n", run.faults);
    return run.faults ? 1 : 0;
}
