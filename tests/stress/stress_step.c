/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stress_step.c - a rank that is killed after exactly so many instructions, or at so many system
 * calls, of a meeting, a call, a message or a destroy; and what the others are told.
 *
 * A tracer (ptrace) steps the victim from a mark; the others run freely. Where the kernel refuses
 * ptrace, as in many containers, there is nothing to be tested (exit status 77).
 */
#include "ranks.h"
#include "stress.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

enum { VICTIM = 1, SIZE = 3, ROUNDS_ELEMENTS = 300, DEADLINE_S = 120 };

enum region { ONESHOT, ROUNDS, MESSAGE, DESTROY, MEETING, REGIONS };

static const struct {
    const char *name;
    bool by_calls;   /* stops are at system calls: into, and out of, each */
    int short_stops; /* of a sweep that is short enough for make test */
    /* A meeting to which the victim does not come takes so long; elsewhere nobody is missing. */
    const char *deadline;
} regions[REGIONS] = {
    [ONESHOT] = {"one-shot all-reduce", false, 24, "rendezvous_timeout=60"},
    [ROUNDS] = {"all-reduce in two rounds", false, 12, "rendezvous_timeout=60"},
    [MESSAGE] = {"send and receive", false, 24, "rendezvous_timeout=60"},
    [DESTROY] = {"destroy", false, 12, "rendezvous_timeout=60"},
    [MEETING] = {"meeting", true, 24, "rendezvous_timeout=1"},
};

struct outcome {
    _Atomic int done; /* of the victim: it went through its region */
    int code;
    int met; /* an error of a meeting counts as such */
    struct shmrt_error error, again;
    int wrong;
};

struct job {
    enum region region;
    char key[64];
    int pids[SIZE];
    struct outcome outcomes[SIZE];
};

/* What a sweep over a region found, by all workers. */
struct sweep {
    long stops; /* of the whole region */
    long stride;
    atomic_long next, kills, named, deadline, well, faults;
};

static int reduce(struct shmrt_comm *comm, int rank, size_t count, int *wrong)
{
    static int32_t data[ROUNDS_ELEMENTS];
    for (size_t i = 0; i < count; i++)
        data[i] = rank + (int32_t)i;
    int rc = shmrt_allreduce(comm, data, data, count, SHMRT_INT32, SHMRT_SUM);
    for (size_t i = 0; rc == 0 && i < count; i++)
        *wrong += data[i] != SIZE * (SIZE - 1) / 2 + SIZE * (int32_t)i;
    return rc;
}

/* From the victim to rank 2, and back. */
static int exchange(struct shmrt_comm *comm, int rank, int *wrong)
{
    int32_t out[100], in[100] = {0};
    int other = rank == VICTIM ? 2 : VICTIM;
    for (int i = 0; i < 100; i++)
        out[i] = rank * 1000 + i;
    if (rank == 0)
        return 0;
    int rc = rank == VICTIM ? shmrt_send(comm, out, 100, SHMRT_INT32, other)
                            : shmrt_recv(comm, in, 100, SHMRT_INT32, other);
    if (rc == 0)
        rc = rank == VICTIM ? shmrt_recv(comm, in, 100, SHMRT_INT32, other)
                            : shmrt_send(comm, out, 100, SHMRT_INT32, other);
    for (int i = 0; rc == 0 && i < 100; i++)
        *wrong += in[i] != other * 1000 + i;
    return rc;
}

static int create(const struct job *job, int rank, struct shmrt_comm **comm_out,
                  struct shmrt_error *error)
{
    const char *const settings[] = {"segment=256K",
                                    "pool=0",
                                    "chunk=256",
                                    "lanes=1",
                                    "oneshot_max=1K",
                                    "exchange_max=0",
                                    regions[job->region].deadline,
                                    NULL};
    struct shmrt_params params = {
        .rank = rank, .size = SIZE, .job = job->key, .settings = settings};
    return shmrt_comm_create(&params, comm_out, error);
}

/* The victim's tracer takes over at the first stop and sees the second if it gets there. */
static void mark(int rank)
{
    if (rank == VICTIM)
        raise(SIGSTOP);
}

static int run_region(struct job *job, int rank, struct shmrt_comm *comm, int *wrong)
{
    switch (job->region) {
    case ONESHOT:
        return reduce(comm, rank, 8, wrong);
    case ROUNDS:
        return reduce(comm, rank, ROUNDS_ELEMENTS, wrong);
    case MESSAGE:
        return exchange(comm, rank, wrong);
    default:
        return 0;
    }
}

static _Noreturn void run_rank(struct job *job, int rank)
{
    struct outcome *o = &job->outcomes[rank];
    struct shmrt_comm *comm = NULL;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (rank == VICTIM && ptrace(PTRACE_TRACEME, 0, NULL, NULL))
        _exit(STRESS_SKIPPED);
    if (job->region == MEETING)
        mark(rank);
    int rc = create(job, rank, &comm, &o->error);
    o->met = rc == 0;
    if (rc == 0)
        rc = shmrt_barrier(comm);
    if (rc == 0 && job->region != MEETING && job->region != DESTROY)
        mark(rank);
    if (rc == 0)
        rc = run_region(job, rank, comm, &o->wrong);
    if (rank == VICTIM && job->region != DESTROY) {
        atomic_store(&o->done, 1);
        mark(rank);
    }
    /* Who destroys its communicator too early is missed as one that has died. */
    if (rc == 0 && (job->region != DESTROY || rank != VICTIM))
        rc = shmrt_barrier(comm);
    if (comm && rc) {
        o->error = *shmrt_comm_error(comm);
        (void)!shmrt_barrier(comm);
        o->again = *shmrt_comm_error(comm);
    }
    o->code = rc;
    if (rank == VICTIM)
        mark(rank);
    shmrt_comm_destroy(comm);
    atomic_store(&o->done, 1);
    mark(rank);
    _exit(0);
}

/* To the next stop that is not a signal's. True: the victim is at a mark, or has ended. */
static bool step_once(pid_t pid, bool by_calls)
{
    int status;
    if (ptrace(by_calls ? PTRACE_SYSCALL : PTRACE_SINGLESTEP, pid, NULL, NULL))
        return true;
    if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
        return true;
    return WSTOPSIG(status) == SIGSTOP;
}

/* From the mark on, @stops; then the end of the victim. Return: the stops there were. */
static long step_victim(const struct job *job, long stops)
{
    int status;
    long done = 0;
    pid_t pid = job->pids[VICTIM];
    if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
        return -1;
    ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_EXITKILL);
    while (done < stops && !step_once(pid, regions[job->region].by_calls))
        done++;
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return done;
}

static bool names_victim(const struct job *job, const char *text)
{
    char words[48], list[32];
    snprintf(words, sizeof words, "rank %d (pid %d)", VICTIM, job->pids[VICTIM]);
    snprintf(list, sizeof list, "rank(s) %d of", VICTIM);
    return strstr(text, words) || strstr(text, list);
}

static void judge(const struct job *job, int rank, int status, long stops, struct sweep *sweep)
{
    const struct outcome *o = &job->outcomes[rank];
    bool by_deadline = !o->met && strstr(o->error.text, "did not come") != NULL;
    bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0 && o->wrong == 0;
    if (good && o->code == 0) /* only when the victim had done all of its part: here never */
        good = job->region != DESTROY && atomic_load(&job->outcomes[VICTIM].done);
    else if (good)
        good = (o->code == -ECONNABORTED || (by_deadline && o->code == -ETIMEDOUT)) &&
               names_victim(job, o->error.text) &&
               (!o->met || strcmp(o->error.text, o->again.text) == 0);
    if (!good) {
        sweep->faults++;
        fprintf(stderr, "FAULT %s, stop %ld, rank %d (status %x): wrong %d, %d: %s; next: %s\n",
                regions[job->region].name, stops, rank, (unsigned)status, o->wrong, o->code,
                o->error.text, o->again.text);
    } else if (o->code == 0) {
        sweep->well++;
    } else if (by_deadline) {
        sweep->deadline++;
    } else {
        sweep->named++;
    }
}

static int wait_for(pid_t pid)
{
    int status;
    int64_t until_ns = now_ns() + DEADLINE_S * INT64_C(1000000000);
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (now_ns() > until_ns) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            return -1;
        }
        ranks_nap_ms(1);
    }
    return status;
}

/* One job, whose victim is killed after @stops. Return: how many it made; -1: no ptrace. */
static long kill_after(struct job *job, enum region region, long stops, struct sweep *sweep)
{
    memset(job, 0, sizeof *job);
    job->region = region;
    ranks_unique_job(job->key);
    fflush(NULL);
    for (int r = 0; r < SIZE; r++) {
        pid_t pid = fork();
        if (pid == 0)
            run_rank(job, r);
        job->pids[r] = pid;
    }
    long done = step_victim(job, stops);
    for (int r = 0; r < SIZE; r++) {
        int status = r == VICTIM ? 0 : wait_for(job->pids[r]);
        if (r != VICTIM && done >= 0)
            judge(job, r, status, done, sweep);
    }
    sweep->kills++;
    return done;
}

static struct job *make_job(void)
{
    struct job *job =
        mmap(NULL, sizeof *job, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (job == MAP_FAILED)
        exit(1);
    return job;
}

/* A worker takes stop after stop of one region after the other. */
static _Noreturn void work(struct sweep *sweeps)
{
    struct job *job = make_job();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int region = 0; region < REGIONS; region++) {
        struct sweep *sweep = &sweeps[region];
        long stops;
        while (sweep->stride &&
               (stops = atomic_fetch_add(&sweep->next, sweep->stride)) <= sweep->stops)
            (void)kill_after(job, (enum region)region, stops, sweep);
    }
    exit(0);
}

/* Tried on a child before any rank could wait for one that is not traced. */
static bool may_trace(void)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
            _exit(1);
        raise(SIGSTOP);
        _exit(0);
    }
    bool stopped = waitpid(pid, &status, 0) == pid && WIFSTOPPED(status);
    bool may = stopped && ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0;
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return may;
}

/* How long each region is, and so where the kills are; stride 0: as many as are quick. */
static bool measure(struct sweep *sweeps, long stride, uint64_t only)
{
    enum { NEVER = 1 << 24 };
    struct job *job = make_job();
    for (int region = 0; region < REGIONS; region++) {
        struct sweep *sweep = &sweeps[region];
        if (only != REGIONS && (int)only != region)
            continue;
        sweep->stops = kill_after(job, (enum region)region, NEVER, sweep);
        if (sweep->stops < 0)
            return false;
        sweep->stride = stride ? stride : sweep->stops / regions[region].short_stops + 1;
    }
    return true;
}

static long print_sweep(enum region region, const struct sweep *sweep)
{
    if (sweep->kills)
        printf("%-24s %6ld %s: %ld kills; survivors told the name %ld, at the deadline of the "
               "meeting %ld, ended well %ld, faults %ld\n",
               regions[region].name, sweep->stops,
               regions[region].by_calls ? "stops at system calls" : "instructions", sweep->kills,
               sweep->named, sweep->deadline, sweep->well, sweep->faults);
    return sweep->faults;
}

int main(int argc, char **argv)
{
    uint64_t stride = 0, only = REGIONS, workers = 6;
    const struct stress_option options[] = {
        {"--stride", &stride, "instructions between two kills; 0: as many as are quick"},
        {"--region", &only, "0 to 4: that one only"},
        {"--at-once", &workers, "jobs side by side"},
        {NULL, NULL, NULL}};
    stress_parse(argc, argv, options);
    struct sweep *sweeps = mmap(NULL, REGIONS * sizeof *sweeps, PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (sweeps == MAP_FAILED)
        return 1;
    if (!may_trace() || !measure(sweeps, (long)stride, only)) {
        printf("skipped: this process may not trace others (ptrace)\n");
        return STRESS_SKIPPED;
    }
    fflush(NULL);
    for (uint64_t w = 0; w < workers; w++)
        if (fork() == 0)
            work(sweeps);
    bool broken = false;
    for (int status; wait(&status) > 0;)
        broken = broken || status;
    long faults = 0;
    for (int region = 0; region < REGIONS; region++)
        faults += print_sweep((enum region)region, &sweeps[region]);
    return faults || broken ? 1 : 0;
}
