/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inject_rank.c - the ranks of one case: one, the victim, is started with a command before it
 * (strace) or with variables,
 * which let one of its calls fail; the others are
 * as always.
 *
 *   inject_rank case SCENARIO SIZE VICTIM [NAME=VALUE...] [COMMAND...]
 *
 * starts all ranks, the victim as COMMAND... inject_rank rank SCENARIO SIZE VICTIM JOB.
 *
 * Each rank runs the scenario three times: once so that libraries have what they keep, once with
 * the fault, once to see that all is well again. A line a run: rank, run, what became of it, code,
 * call, text; and what is left behind. A cold scenario leaves out the first.
 */
#include "faults.h"
#include "leftovers.h"
#include "scenarios.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { RUNS = 3, FAULTY = 1, LIMIT_S = 120, BEGIN = 0x53480001, END = 0x53480002 };

/* Where ranks say that they are about to begin a run, and where they are let go: of two runs in
 * turn, since one rank may come back before another has gone. */
enum { ARRIVALS = 100, DEPARTURES = 101, TURNS = 2 };

extern void __gcov_dump(void) __attribute__((weak));

/* For who reads what strace has written: a call that nobody makes. */
static void mark(long which)
{
    (void)syscall(SYS_getpgid, which);
}

/* Together, so that who fails early does not begin the next run before the others can. */
static void gather(int number)
{
    char byte = 0;
    while (write(ARRIVALS, &byte, 1) < 0 && errno == EINTR) {
    }
    while (read(DEPARTURES + number % TURNS, &byte, 1) < 0 && errno == EINTR) {
    }
}

static void tell(const struct inject_run *run, int number, const struct leftovers *before)
{
    struct leftovers now;
    char left[256];
    const char *verdict = run->is_wrong ? "wrong" : run->code ? "error" : "ok";
    leftovers_look(&now);
    int is_left = leftovers_tell(before, &now, run->job, run->rank, left, sizeof left);
    printf("%d\t%d\t%s\t%d\t%s\t%s\t%s\t%s\n", run->rank, number, verdict, run->code,
           run->at ? run->at : "", run->text, is_left ? "left" : "clean", left);
    fflush(stdout);
}

static int be_rank(const char *scenario, int size, int rank, const char *job, int is_victim)
{
    int is_cold;
    inject_scenario body = inject_scenario_find(scenario, &is_cold);
    struct leftovers before;
    long counted = 0;
    setvbuf(stdout, NULL, _IOFBF, BUFSIZ);
    for (int number = is_cold ? FAULTY : 0; number < RUNS; number++) {
        char key[96];
        snprintf(key, sizeof key, "%s-%d", job, number);
        /* Where one fails early, the others wait in vain. */
        struct inject_run run = {.job = key,
                                 .rank = rank,
                                 .size = size,
                                 .patience = number == FAULTY ? "rendezvous_timeout=5"
                                                              : "rendezvous_timeout=30"};
        gather(number);
        leftovers_look(&before);
        if (is_victim && number == FAULTY) {
            mark(BEGIN);
            faults_window(true);
        }
        body(&run);
        if (is_victim && number == FAULTY) {
            faults_window(false);
            mark(END);
            counted = faults_calls();
        }
        tell(&run, number, &before);
    }
    if (is_victim)
        printf("counted\t%ld\n", counted);
    fflush(stdout);
    return 0;
}

static int run_victim(char **argv, int argc, const char *job)
{
    char *words[64], self[4096];
    int n = 0;
    ssize_t bytes = readlink("/proc/self/exe", self, sizeof self - 1);
    self[bytes > 0 ? bytes : 0] = '\0';
    int i = 5;
    for (; i < argc && strchr(argv[i], '='); i++)
        putenv(argv[i]);
    for (; i < argc && n < 48; i++)
        words[n++] = argv[i];
    words[n++] = self;
    words[n++] = (char *)"rank";
    for (int at = 2; at < 5; at++)
        words[n++] = argv[at];
    words[n++] = (char *)(uintptr_t)job;
    words[n] = NULL;
    execvp(words[0], words);
    return 127;
}

static pid_t start(char **argv, int argc, int rank, const char *job)
{
    int size = atoi(argv[3]), victim = atoi(argv[4]);
    pid_t pid = fork();
    if (pid)
        return pid;
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (rank == victim)
        _exit(run_victim(argv, argc, job));
    int rc = be_rank(argv[2], size, rank, job, 0);
    if (__gcov_dump)
        __gcov_dump();
    _exit(rc);
}

/* What became of one that has ended; @status of one that had to be ended is -1. */
static void tell_end(int rank, int status)
{
    if (status == -1)
        printf("%d\thangs\n", rank);
    else if (WIFSIGNALED(status))
        printf("%d\tkilled by signal %d\n", rank, WTERMSIG(status));
    else if (WEXITSTATUS(status))
        printf("%d\texits with %d\n", rank, WEXITSTATUS(status));
}

struct gate {
    int arrivals;
    int departures[TURNS];
    int arrived; /* since it was last open */
    int opened;  /* so many times */
};

static int make_gate(struct gate *gate, int first)
{
    int ends[2];
    *gate = (struct gate){.opened = first};
    if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) || fcntl(ends[1], F_SETFL, 0) ||
        dup2(ends[1], ARRIVALS) < 0)
        return -1;
    gate->arrivals = ends[0];
    for (int turn = 0; turn < TURNS; turn++) {
        if (pipe2(ends, O_CLOEXEC) || dup2(ends[0], DEPARTURES + turn) < 0)
            return -1;
        gate->departures[turn] = ends[1];
    }
    return 0;
}

/* Lets the ranks begin when all have come that are still there. */
static void let_go(struct gate *gate, int size, int ended)
{
    char bytes[SHMRT_MAX_RANKS] = {0};
    ssize_t got = read(gate->arrivals, bytes, sizeof bytes);
    gate->arrived += got > 0 ? (int)got : 0;
    if (gate->arrived == 0 || gate->arrived + ended < size)
        return;
    (void)!write(gate->departures[gate->opened++ % TURNS], bytes, (size_t)gate->arrived);
    gate->arrived = 0;
}

static void wait_for_all(pid_t *pids, int size, struct gate *gate)
{
    struct timespec now, pause = {.tv_nsec = 500000};
    clock_gettime(CLOCK_MONOTONIC, &now);
    time_t until = now.tv_sec + LIMIT_S;
    for (int ended = 0; ended < size; nanosleep(&pause, NULL)) {
        let_go(gate, size, ended);
        clock_gettime(CLOCK_MONOTONIC, &now);
        for (int r = 0; r < size; r++) {
            int status;
            if (!pids[r] || (waitpid(pids[r], &status, WNOHANG) == 0 && now.tv_sec <= until))
                continue;
            if (now.tv_sec > until) {
                status = -1;
                kill(-pids[r], SIGKILL);
                waitpid(pids[r], NULL, 0);
            }
            tell_end(r, status);
            pids[r] = 0;
            ended++;
        }
    }
}

static int run_case(char **argv, int argc, int is_cold)
{
    pid_t pids[SHMRT_MAX_RANKS];
    int size = atoi(argv[3]);
    char job[64];
    struct timespec now;
    struct gate gate;
    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(job, sizeof job, "inject-%d-%lx", (int)getpid(), (unsigned long)now.tv_nsec);
    if (make_gate(&gate, is_cold ? FAULTY : 0))
        return 1;
    for (int r = 0; r < size; r++)
        pids[r] = start(argv, argc, r, job);
    wait_for_all(pids, size, &gate);
    return 0;
}

int main(int argc, char **argv)
{
    int is_cold;
    if (argc > 4 && inject_scenario_find(argv[2], &is_cold)) {
        if (strcmp(argv[1], "case") == 0)
            return run_case(argv, argc, is_cold);
        if (argc > 5 && strcmp(argv[1], "rank") == 0)
            return be_rank(argv[2], atoi(argv[3]), atoi(argv[4]), argv[5], 1);
    }
    fprintf(stderr, "inject_rank case|rank SCENARIO SIZE VICTIM COMMAND...|JOB\n");
    return 2;
}
