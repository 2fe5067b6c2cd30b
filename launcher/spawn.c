/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spawn.c - a rank between fork and exec: group, descriptors, binding, environment, program.
 *
 * Binding that the kernel refuses is told and lived with, unless --strict. Whatever else fails is
 * told too and ends the rank.
 */
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static int set_number(const char *name, size_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%zu", value);
    return setenv(name, text, 1);
}

/* What torch's env:// and the scripts written for torchrun and deepspeed read. PMI_* is never set:
 * MPI libraries would take this for their own launcher. */
static int set_environment(const struct launch_job *job, size_t rank)
{
    const struct {
        const char *name;
        size_t value;
    } numbers[] = {
        {"RANK", rank},
        {"LOCAL_RANK", rank},
        {"ROLE_RANK", rank},
        {"GROUP_RANK", 0},
        {"WORLD_SIZE", job->plan->rank_count},
        {"LOCAL_WORLD_SIZE", job->plan->rank_count},
        {"LOCAL_SIZE", job->plan->rank_count},
        {"ROLE_WORLD_SIZE", job->plan->rank_count},
        {"GROUP_WORLD_SIZE", 1},
        {"MASTER_PORT", (size_t)job->port},
        {"OMP_NUM_THREADS", job->plan->ranks[rank].threads},
    };
    size_t count = sizeof numbers / sizeof numbers[0] - (job->own_threads != NULL);
    int failed = 0;
    for (size_t i = 0; i < count; i++)
        failed |= set_number(numbers[i].name, numbers[i].value);
    failed |= setenv("MASTER_ADDR", "127.0.0.1", 1);
    failed |= setenv("SHMRT_JOB", job->key, 1);
    /* Inherited from a torchrun around us, it makes ranks look for that one's store and hang. */
    failed |= unsetenv("TORCHELASTIC_USE_AGENT_STORE");
    /* Through a pipe Python would show nothing before the end, and lose it in a crash. */
    if (job->piped)
        failed |= setenv("PYTHONUNBUFFERED", "1", 0);
    return failed ? -ENOMEM : 0;
}

static void tell(int report, enum launch_step step, int code)
{
    const struct launch_report message = {.step = step, .code = code};
    (void)!write(report, &message, sizeof message);
}

static _Noreturn void give_up(int report, enum launch_step step, int code)
{
    tell(report, step, code);
    _exit(LAUNCH_EXIT_TROUBLE); /* the launcher exits with the code that fits the report */
}

static int set_descriptors(const struct launch_job *job, size_t rank)
{
    int in = rank == 0 ? job->stdin_fd : open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (in < 0 || (in != STDIN_FILENO && dup2(in, STDIN_FILENO) < 0))
        return -errno;
    if (job->piped && (dup2(job->out_fds[rank], STDOUT_FILENO) < 0 ||
                       dup2(job->err_fds[rank], STDERR_FILENO) < 0))
        return -errno;
    return 0;
}

static void bind_rank(const struct launch_job *job, size_t rank, int report)
{
    struct shmrt_plan_applied applied;
    if (job->options->no_bind || shmrt_plan_apply(&job->plan->ranks[rank], &applied) == 0)
        return;
    if (applied.cpus)
        tell(report, LAUNCH_STEP_CPUS, applied.cpus);
    if (applied.memory)
        tell(report, LAUNCH_STEP_MEMORY, applied.memory);
    if (job->options->strict)
        _exit(LAUNCH_EXIT_TROUBLE);
}

static _Noreturn void run_rank(const struct launch_job *job, size_t rank, pid_t parent, int report)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) /* it died before the line above */
        _exit(LAUNCH_EXIT_TROUBLE);
    int rc = set_descriptors(job, rank);
    if (rc)
        give_up(report, LAUNCH_STEP_PREPARE, rc);
    bind_rank(job, rank, report);
    rc = set_environment(job, rank);
    if (rc)
        give_up(report, LAUNCH_STEP_PREPARE, rc);
    sigaction(SIGPIPE, &job->inherited_pipe, NULL);
    sigprocmask(SIG_SETMASK, &job->inherited_mask, NULL);
    execvp(job->options->command[0], job->options->command);
    give_up(report, LAUNCH_STEP_EXEC, -errno);
}

pid_t launch_spawn(const struct launch_job *job, size_t rank, int *report_out)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -errno;
    pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        run_rank(job, rank, parent, ends[1]);
    int rc = -errno;
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return rc;
    }
    /* The rank does the same; whoever is first, the group exists when we signal it. */
    setpgid(pid, pid);
    *report_out = ends[0];
    return pid;
}
