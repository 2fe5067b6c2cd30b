/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attempts.c - what holds for all attempts: signals, the limit on open files, logs, the timeout.
 *
 * An attempt is a job of its own, with a new key and port, so that nothing late of the one before
 * can reach it. Only the failure of a rank leads to another, and nobody may have asked for the end.
 */
#include "attempts.h"

#include "common/clock.h"
#include "common/say.h"
#include "io/logs.h"
#include "supervise.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* Ours in the launcher or the keeper that are not counted by rank. */
enum { FILES_APART = 32, FILES_A_RANK = 5, FILES_A_RANK_LOGS = 2, FILES_A_RANK_INPUT = 2 };

/* Those that the starter of shm-launch ignores (nohup, & of a script) stay ignored, by the ranks
 * too. */
static int catch_signals(struct launch_job *job)
{
    static const int numbers[] = {SIGINT,  SIGTERM, SIGHUP,   SIGQUIT, SIGUSR1,
                                  SIGUSR2, SIGCONT, SIGWINCH, SIGTSTP};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        struct sigaction action;
        if (sigaction(numbers[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
            sigaddset(&set, numbers[i]);
    }
    sigaddset(&set, SIGCHLD); /* of orphans that are none of the job's */
    const struct sigaction ignore = {.sa_handler = SIG_IGN}, usual = {.sa_handler = SIG_DFL};
    sigaction(SIGPIPE, &ignore, &job->inherited_pipe);
    sigaction(SIGXFSZ, &ignore, &job->inherited_xfsz); /* a write that fails tells us, too */
    sigaction(SIGCHLD, &usual, NULL); /* an ignored SIGCHLD would leave nothing to wait for */
    sigprocmask(SIG_BLOCK, &set, &job->inherited_mask);
    job->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return job->signals < 0 ? -errno : 0;
}

/* Raises our own soft limit where it is too low; the ranks get theirs back. */
static int allow_files(struct launch_job *job, struct shmrt_error *error_out)
{
    size_t a_rank = FILES_A_RANK + (job->options->log_dir ? FILES_A_RANK_LOGS : 0) +
                    (job->options->stdin_rank == LAUNCH_STDIN_ALL ? FILES_A_RANK_INPUT : 0);
    size_t needed = FILES_APART + a_rank * job->plan->rank_count;
    job->raised_files = false;
    if (getrlimit(RLIMIT_NOFILE, &job->inherited_files) != 0 ||
        job->inherited_files.rlim_cur >= needed)
        return 0;
    struct rlimit raised = job->inherited_files;
    raised.rlim_cur = raised.rlim_max < needed ? raised.rlim_max : needed;
    if (raised.rlim_max < needed)
        return launch_error(error_out, -EMFILE,
                            "%zu ranks need up to %zu open files here, and only %llu are allowed: "
                            "raise that limit (ulimit -Hn), or start fewer ranks",
                            job->plan->rank_count, needed, (unsigned long long)raised.rlim_max);
    job->raised_files = setrlimit(RLIMIT_NOFILE, &raised) == 0;
    return 0;
}

static int prepare(struct launch_job *job, struct shmrt_error *error_out)
{
    const struct launch_options *options = job->options;
    int rc = allow_files(job, error_out);
    if (rc == 0 && options->log_dir)
        rc = launch_logs_open(options->log_dir, job->first_rank, job->plan->rank_count, &job->logs,
                              error_out);
    if (rc)
        return rc;
    rc = catch_signals(job);
    if (rc)
        return launch_error(error_out, rc, "cannot start the job: %s", strerror(-rc));
    if (options->timeout_ms)
        job->timeout_ns = launch_now_ns() + (int64_t)options->timeout_ms * 1000000;
    return 0;
}

/* Return: 0, or a negative errno with a sentence in @error_out. */
static int renew(struct launch_job *job, struct shmrt_error *error_out)
{
    char line[96];
    job->attempt++;
    snprintf(line, sizeof line, "--- shm-launch: restart %zu of %zu ---", job->attempt,
             job->options->restarts);
    if (job->logs)
        launch_logs_say(job->logs, line);
    int rc = launch_job_make_key(job->key);
    if (rc)
        return launch_error(error_out, rc, "no random job key: %s", strerror(-rc));
    if (job->port_fd < 0)
        return 0;
    close(job->port_fd);
    return launch_port_hold(job->cluster.port, &job->port, &job->port_fd, error_out);
}

static int run_attempts(struct launch_job *job)
{
    struct shmrt_error error;
    for (;;) {
        struct launch_verdict verdict = launch_supervise(job);
        if (!verdict.calls_for_restart)
            return launch_verdict_code(&verdict);
        if (renew(job, &error)) {
            launch_say("%s", error.text);
            return LAUNCH_EXIT_TROUBLE;
        }
    }
}

/* Lost lines of a log are lost data: a job that is otherwise a success is none. */
static int close_logs(struct launch_job *job, int code)
{
    int lost = job->logs ? launch_logs_close(job->logs) : 0;
    job->logs = NULL;
    if (!lost || code)
        return code;
    launch_say("output was lost, not all of it is in --log-dir %s: %s", job->options->log_dir,
               strerror(lost));
    return LAUNCH_EXIT_TROUBLE;
}

int launch_run(struct launch_job *job)
{
    struct shmrt_error error;
    if (prepare(job, &error)) {
        launch_say("%s", error.text);
        return close_logs(job, LAUNCH_EXIT_TROUBLE);
    }
    int code = run_attempts(job);
    close(job->signals);
    return close_logs(job, code);
}
