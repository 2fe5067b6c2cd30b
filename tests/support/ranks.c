/* SPDX-License-Identifier: Apache-2.0 */
/* ranks.c - ranks as threads (all that TSan can see) or as processes (which can be killed). */
#include "ranks.h"

#include "counting.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* There in a build that counts which lines run; _exit() leaves out to write the counts. */
extern void __gcov_dump(void) __attribute__((weak));

void ranks_unique_job(char out[64])
{
    static atomic_int counter;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(out, 64, "test-%d-%d-%lx", (int)getpid(), atomic_fetch_add(&counter, 1),
             (unsigned long)now.tv_nsec);
}

void ranks_nap_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

void ranks_hear(enum shmrt_log_level level, const char *line, void *arg)
{
    struct ranks_heard *heard = arg;
    (void)level;
    heard->lines++;
    snprintf(heard->last, sizeof heard->last, "%s", line);
}

struct shmrt_comm *rank_comm(struct rank *rank, struct shmrt_error *error_out)
{
    struct shmrt_comm *comm = NULL;
    struct shmrt_error error = {0};
    struct shmrt_params params = {.rank = rank->rank,
                                  .size = rank->size,
                                  .job = rank->job,
                                  .settings = rank->settings,
                                  .log = rank->heard ? ranks_hear : NULL,
                                  .log_arg = rank->heard};
    int rc = shmrt_comm_create(&params, &comm, &error);
    if (rc && !error_out)
        fprintf(stderr, "rank %d: %s\n", rank->rank, error.text);
    if (error_out)
        *error_out = error;
    return comm;
}

static int timeout_of(const struct ranks_run *run)
{
    return run->timeout_s ? run->timeout_s : RANKS_TIMEOUT_S;
}

struct thread {
    pthread_t id;
    struct rank rank;
    rank_body body;
    int result;
};

static void *run_thread(void *arg)
{
    struct thread *thread = arg;
    thread->result = thread->body(&thread->rank);
    return NULL;
}

/* OpenMP's threads of a rank end a little after it. Whoever forks meanwhile, as the next test may,
 * leaves locks held in the child, of AddressSanitizer for example, which then hangs. */
static void wait_for_threads(int count)
{
    for (int i = 0; i < 5000 && count_entries("/proc/self/task") > count; i++)
        ranks_nap_ms(2);
}

static void run_threads(struct ranks_run *run, const struct rank *model)
{
    struct thread threads[RANKS_MAX];
    int before = count_entries("/proc/self/task");
    for (int r = 0; r < run->size; r++) {
        threads[r] = (struct thread){.rank = *model, .body = run->body};
        threads[r].rank.rank = r;
        assert_int_equal(pthread_create(&threads[r].id, NULL, run_thread, &threads[r]), 0);
    }
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += timeout_of(run);
    for (int r = 0; r < run->size; r++) {
        /* A hung thread can't be killed: the whole program is lost. */
        if (pthread_timedjoin_np(threads[r].id, NULL, &until) != 0) {
            fprintf(stderr, "rank %d hangs\n", r);
            abort();
        }
        run->results[r] = threads[r].result;
    }
    wait_for_threads(before);
}

static int wait_for(pid_t pid, const struct timespec *until)
{
    int status;
    struct timespec now, nap = {.tv_nsec = 2000000};
    for (;;) {
        pid_t done = waitpid(pid, &status, WNOHANG);
        if (done == pid)
            break;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec > until->tv_sec) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            return -1;
        }
        nanosleep(&nap, NULL);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void run_processes(struct ranks_run *run, const struct rank *model)
{
    pid_t pids[RANKS_MAX];
    fflush(NULL);
    for (int r = 0; r < run->size; r++) {
        pids[r] = fork();
        assert_true(pids[r] >= 0);
        if (pids[r] == 0) {
            /* Who waits for the ranks is this very thread: without it nobody ends them. */
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            struct rank rank = *model;
            rank.rank = r;
            int line = run->body(&rank);
            fflush(NULL);
            if (__gcov_dump)
                __gcov_dump();
            _exit(line ? 1 + line % 100 : 0);
        }
    }
    if (run->meanwhile)
        run->meanwhile(pids, run->arg);
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_of(run);
    for (int r = 0; r < run->size; r++)
        run->results[r] = wait_for(pids[r], &until);
}

void ranks_run(struct ranks_run *run)
{
    struct rank model = {.size = run->size, .settings = run->settings, .arg = run->arg};
    ranks_unique_job(model.job);
    memcpy(run->job, model.job, sizeof run->job);
    if (run->kind == RANKS_THREADS)
        run_threads(run, &model);
    else
        run_processes(run, &model);
}

/* SHMRT_TEST_MOST_RANKS keeps runs small where ranks are slow: under an emulator. */
static bool is_left_out(const struct ranks_run *run)
{
    const char *most = getenv("SHMRT_TEST_MOST_RANKS");
    return most && run->size > atoi(most);
}

void ranks_run_well(struct ranks_run *run)
{
    if (is_left_out(run)) {
        print_message("left out, by SHMRT_TEST_MOST_RANKS: a run of %d ranks\n", run->size);
        return;
    }
    ranks_run(run);
    for (int r = 0; r < run->size; r++)
        if (run->results[r])
            fail_msg("rank %d of %d ended with %d", r, run->size, run->results[r]);
}
