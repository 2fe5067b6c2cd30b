/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spawn.c - a rank between fork and exec: session, descriptors, binding, environment, program.
 *
 * Binding that the kernel refuses is told and lived with, unless --strict. Whatever else fails is
 * told too and ends the rank.
 */
#include "spawn.h"

#include "environment.h"
#include "error_files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

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
    int in = job->in_fds[rank] >= 0 ? job->in_fds[rank] : open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (in < 0 || (in != STDIN_FILENO && dup2(in, STDIN_FILENO) < 0))
        return -errno;
    if (job->piped && (dup2(job->out_fds[rank], STDOUT_FILENO) < 0 ||
                       dup2(job->err_fds[rank], STDERR_FILENO) < 0))
        return -errno;
    return 0;
}

/* Return: what the kernel said to the memory policy, 0 or a negative errno. */
static int bind_rank(const struct launch_job *job, size_t rank, int report)
{
    struct shmrt_plan_applied applied;
    if (job->options->no_bind || shmrt_plan_apply(&job->plan->ranks[rank], &applied) == 0)
        return 0;
    if (applied.cpus)
        tell(report, LAUNCH_STEP_CPUS, applied.cpus);
    if (applied.memory)
        tell(report, LAUNCH_STEP_MEMORY, applied.memory);
    if (job->options->strict)
        _exit(LAUNCH_EXIT_TROUBLE);
    return applied.memory;
}

/* Whether mbind, which libshmrt binds with, is refused too: a filter may know only one of them. */
static bool is_mbind_refused(void)
{
    size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
    void *page = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return false;
    long rc = syscall(SYS_mbind, page, bytes, MPOL_DEFAULT, NULL, 0, 0);
    bool is_refused = rc != 0 && (errno == EPERM || errno == ENOSYS);
    munmap(page, bytes);
    return is_refused;
}

/*
 * Where all memory policies are refused, and without /sys, which tells the nodes, the launcher has
 * said it, and libshmrt need neither ask nor say it again.
 */
static int set_no_binding(const struct launch_job *job, int refused)
{
    bool is_hidden = !job->options->no_bind && access("/sys/devices/system/cpu", F_OK) != 0;
    bool is_refused = (refused == -EPERM || refused == -ENOSYS) && is_mbind_refused();
    return is_hidden || is_refused ? setenv("SHMRT_BIND", "0", 0) : 0;
}

static _Noreturn void run_rank(const struct launch_job *job, size_t rank, pid_t parent, int report)
{
    /* In a session of its own no terminal can stop it: in the background of ours, a question at
     * /dev/tty would hang without a word. Without one that fails, and getpass asks us instead. */
    setsid();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) /* it died before the line above */
        _exit(LAUNCH_EXIT_TROUBLE);
    int rc = set_descriptors(job, rank);
    if (rc)
        give_up(report, LAUNCH_STEP_PREPARE, rc);
    int refused = bind_rank(job, rank, report);
    launch_errors_open_rank(job, rank);
    rc = launch_environment_set(job, rank);
    if (rc == 0)
        rc = set_no_binding(job, refused) ? -ENOMEM : 0;
    if (rc)
        give_up(report, LAUNCH_STEP_PREPARE, rc);
    if (job->raised_files)
        (void)setrlimit(RLIMIT_NOFILE, &job->inherited_files);
    sigaction(SIGPIPE, &job->inherited_pipe, NULL);
    sigaction(SIGXFSZ, &job->inherited_xfsz, NULL);
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
    *report_out = ends[0];
    return pid;
}
