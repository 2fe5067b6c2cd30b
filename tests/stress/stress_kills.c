/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stress_kills.c - jobs of which one rank each is killed at a random time; what the others are
 * told.
 *
 * A fault is printed with its seed: `stress_kills --seed SEED --kills 1` does that job again, as
 * far as time lets it.
 */
#include "kills.h"
#include "stress.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct run {
    uint64_t kills, seed, fewest, most, at_once, deadline_s, stops, within;
    struct kills_verdict *verdicts; /* shared, one a job */
};

static void *share(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        perror("stress_kills: mmap");
        exit(1);
    }
    return memory;
}

static void start_ranks(struct kills_job *job)
{
    fflush(NULL);
    for (int r = 0; r < job->plan.size; r++) {
        int pid = fork();
        if (pid < 0) {
            perror("stress_kills: fork");
            exit(1);
        }
        if (pid == 0)
            kills_rank_run(job, r);
        job->pids[r] = pid;
    }
}

/* Waits for every rank; those that are still there at the deadline hang, and are ended. */
static void collect(const struct kills_job *job, uint64_t deadline_s, int *statuses)
{
    int64_t until_ns = now_ns() + (int64_t)deadline_s * 1000000000;
    int left = job->plan.size;
    bool ended[KILLS_MOST_RANKS] = {false};
    while (left) {
        bool late = now_ns() > until_ns;
        for (int r = 0; r < job->plan.size; r++) {
            if (ended[r])
                continue;
            bool hangs = late;
            if (hangs || (left == 1 && r == job->plan.victim && job->plan.stops))
                kill(job->pids[r], SIGKILL);
            if (waitpid(job->pids[r], &statuses[r], hangs ? 0 : WNOHANG) == 0)
                continue;
            statuses[r] = hangs ? -1 : statuses[r];
            ended[r] = true;
            left--;
        }
        ranks_nap_ms(1);
    }
}

static void run_job(const struct run *run, uint64_t number, struct kills_job *job)
{
    int statuses[KILLS_MOST_RANKS];
    memset(job, 0, sizeof *job);
    kills_plan_make(&job->plan, run->seed + number, (int)run->fewest, (int)run->most,
                    run->stops != 0);
    snprintf(job->key, sizeof job->key, "kills-%d-%llu", (int)getpid(), (unsigned long long)number);
    start_ranks(job);
    collect(job, run->deadline_s, statuses);
    kills_judge(job, statuses, &run->verdicts[number]);
}

/* Every worker takes its share of the jobs, one after the other. */
static _Noreturn void work(const struct run *run, uint64_t worker)
{
    struct kills_job *job = share(sizeof *job);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (uint64_t i = worker; i < run->kills; i += run->at_once)
        run_job(run, i, job);
    exit(0);
}

static uint64_t count_done(const struct run *run)
{
    uint64_t done = 0;
    for (uint64_t i = 0; i < run->kills; i++)
        done += run->verdicts[i].done;
    return done;
}

static void run_all(const struct run *run)
{
    enum { SAY_EVERY_S = 30 };
    uint64_t workers = run->at_once;
    int64_t start_ns = now_ns(), said_ns = start_ns;
    fflush(NULL);
    for (uint64_t w = 0; w < run->at_once; w++)
        if (fork() == 0)
            work(run, w);
    while (workers) {
        int status;
        if (waitpid(-1, &status, WNOHANG) > 0)
            workers--;
        ranks_nap_ms(5);
        if (now_ns() - said_ns < SAY_EVERY_S * INT64_C(1000000000))
            continue;
        said_ns = now_ns();
        printf("%llu of %llu kills, %.0f s\n", (unsigned long long)count_done(run),
               (unsigned long long)run->kills, (double)(said_ns - start_ns) / 1e9);
        fflush(stdout);
    }
}

static bool is_sensible(const struct run *run)
{
    return run->kills && run->at_once && run->fewest >= 2 && run->fewest <= run->most &&
           run->most <= KILLS_MOST_RANKS;
}

/* A run of which much was too slow to meet says little, and good errors that come late are not. */
static bool is_enough(const struct run *run, struct kills_shares shares)
{
    enum { MOST_SLOW = 10 };
    if (shares.slow > MOST_SLOW)
        printf("FAULT: %.1f%% of the ranks were too slow to meet, more than %d%%\n", shares.slow,
               MOST_SLOW);
    if (shares.within < (double)run->within)
        printf("FAULT: %.2f%% of the errors came within a second, less than %llu%%\n",
               shares.within, (unsigned long long)run->within);
    return shares.slow <= MOST_SLOW && shares.within >= (double)run->within;
}

int main(int argc, char **argv)
{
    struct run run = {.kills = 60,
                      .seed = stress_fresh_seed(),
                      .fewest = 2,
                      .most = KILLS_MOST_RANKS,
                      .at_once = 2,
                      .deadline_s = 120};
    const struct stress_option options[] = {
        {"--kills", &run.kills, "jobs"},
        {"--seed", &run.seed, "of the first; the next one's is one more"},
        {"--fewest", &run.fewest, "ranks of a job, 2 at least"},
        {"--most", &run.most, "ranks of a job, 8 at most"},
        {"--at-once", &run.at_once, "jobs side by side"},
        {"--stop", &run.stops, "1: with SIGSTOP, past the deadline of the others' calls"},
        {"--within", &run.within, "of a hundred errors, how many have to come within a second"},
        {"--deadline", &run.deadline_s, "seconds after which a job hangs"},
        {NULL, NULL, NULL}};
    stress_parse(argc, argv, options);
    if (!is_sensible(&run)) {
        fprintf(stderr, "%s: no job, or not 2 to %d ranks\n", argv[0], KILLS_MOST_RANKS);
        return 2;
    }
    printf("%llu kills, --seed %llu\n", (unsigned long long)run.kills,
           (unsigned long long)run.seed);
    run.verdicts = share(run.kills * sizeof *run.verdicts);
    int64_t start_ns = now_ns();
    run_all(&run);
    struct kills_shares shares = kills_summarize(run.verdicts, (int)run.kills);
    int faults = 0;
    for (uint64_t i = 0; i < run.kills; i++)
        faults += !run.verdicts[i].done || kills_has_faults(&run.verdicts[i]);
    printf("%d jobs with faults; %.0f s\n", faults, (double)(now_ns() - start_ns) / 1e9);
    return is_enough(&run, shares) && !faults ? 0 : 1;
}
