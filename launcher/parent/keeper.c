/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keeper.c - starts the ranks, reaps them, and sees to it that nothing of them outlives the job.
 *
 * It is a subreaper: what a dead rank leaves behind becomes its child, so "no children" means that
 * all is over. It blocks every signal and lies in a group of its own, so that only SIGKILL ends it
 * before its work is done; the ranks then die with it (PR_SET_PDEATHSIG), and what they leave
 * behind falls to the launcher, a subreaper too.
 *
 * Deaths are told in the order in which they happen: pidfds become ready in that order, while
 * waitpid goes by the age of the children, and the first failure is the one that counts.
 */
#include "keeper.h"

#include "common/processes.h"
#include "rank/error_files.h"
#include "rank/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EVENTS_AT_ONCE = 64, KILL_AGAIN_MS = 5, KILL_AGAIN_MOST_MS = 100 };

enum source { FROM_LAUNCHER, FROM_SIGNALS, FROM_REPORT, FROM_PIDFD };

struct rank {
    pid_t pid; /* 0: never started, or reaped */
    int pidfd; /* -1: the kernel has none, SIGCHLD serves */
    int report;
};

struct keeper {
    const struct launch_job *job;
    int socket, epoll, signals;
    struct rank ranks[SHMRT_MAX_RANKS];
    size_t alive, reports;
    bool killing, told_end, is_alone;
    int kill_again_ms;
};

static void tell(struct keeper *k, enum launch_event_kind kind, size_t rank, int value)
{
    const struct launch_event event = {.kind = (int)kind, .rank = (int)rank, .value = value};
    /* A launcher that is gone is noticed by reading. */
    (void)!send(k->socket, &event, sizeof event, MSG_NOSIGNAL);
}

static int watch(struct keeper *k, int fd, enum source source, size_t rank)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)source << 32 | rank};
    return epoll_ctl(k->epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

/* What nobody hears of a rank that can't be watched would be waited for without end. */
static void watch_rank(struct keeper *k, size_t index)
{
    struct rank *rank = &k->ranks[index];
    int rc = watch(k, rank->report, FROM_REPORT, index);
    if (rc) {
        close(rank->report);
        rank->report = -1;
        kill(rank->pid, SIGKILL);
        tell(k, LAUNCH_RANK_NOT_PREPARED, index, rc);
    } else {
        k->reports++;
    }
    if (rank->pidfd >= 0 && watch(k, rank->pidfd, FROM_PIDFD, index)) {
        close(rank->pidfd); /* SIGCHLD tells its end, too */
        rank->pidfd = -1;
    }
}

static void start_rank(struct keeper *k, size_t index)
{
    struct rank *rank = &k->ranks[index];
    *rank = (struct rank){.pidfd = -1, .report = -1};
    pid_t pid = launch_spawn(k->job, index, &rank->report);
    if (pid < 0) {
        tell(k, LAUNCH_RANK_NOT_PREPARED, index, pid);
        return;
    }
    rank->pid = pid;
    rank->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    k->alive++;
    tell(k, LAUNCH_RANK_STARTED, index, pid);
    watch_rank(k, index);
}

static void read_report(struct keeper *k, size_t index)
{
    static const enum launch_event_kind kinds[] = {
        [LAUNCH_STEP_CPUS] = LAUNCH_RANK_CPUS_REFUSED,
        [LAUNCH_STEP_MEMORY] = LAUNCH_RANK_MEMORY_REFUSED,
        [LAUNCH_STEP_PREPARE] = LAUNCH_RANK_NOT_PREPARED,
        [LAUNCH_STEP_EXEC] = LAUNCH_RANK_NOT_STARTED,
    };
    struct rank *rank = &k->ranks[index];
    struct launch_report report;
    while (rank->report >= 0) {
        ssize_t got = read(rank->report, &report, sizeof report);
        if (got == (ssize_t)sizeof report) {
            tell(k, kinds[report.step], index, report.code);
            return; /* more comes as another event */
        }
        close(rank->report);
        rank->report = -1;
        k->reports--;
    }
}

/* What a rank had to say about its start comes before its death. */
static void reap_rank(struct keeper *k, size_t index)
{
    struct rank *rank = &k->ranks[index];
    int status;
    if (!rank->pid || waitpid(rank->pid, &status, WNOHANG) != rank->pid)
        return;
    while (rank->report >= 0)
        read_report(k, index);
    if (rank->pidfd >= 0)
        close(rank->pidfd);
    rank->pid = 0;
    k->alive--;
    tell(k, LAUNCH_RANK_ENDED, index, status);
}

/* Reaps what the ranks left behind, and ranks without a pidfd. */
static void reap_others(struct keeper *k)
{
    for (;;) {
        siginfo_t info = {0};
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0) {
            if (errno == ECHILD && !k->told_end) {
                k->told_end = true;
                k->killing = false;
                tell(k, LAUNCH_ALL_ENDED, 0, 0);
            }
            return;
        }
        if (info.si_pid == 0)
            return;
        size_t index = 0;
        while (index < k->job->plan->rank_count && k->ranks[index].pid != info.si_pid)
            index++;
        if (index == k->job->plan->rank_count)
            waitpid(info.si_pid, NULL, WNOHANG);
        else if (k->ranks[index].pidfd < 0)
            reap_rank(k, index);
        else
            return; /* its pidfd is ready and has its turn in the next round */
    }
}

/* Whether a process that is stopped has to go on to meet this signal. */
static bool ends_processes(int number)
{
    return number == SIGTERM || number == SIGINT || number == SIGHUP || number == SIGQUIT;
}

/* A rank that has just been forked has no group yet. */
static void signal_group(pid_t leader, int number)
{
    if (kill(-leader, number) != 0 && errno == ESRCH)
        kill(leader, number);
}

static void signal_ranks(struct keeper *k, int number)
{
    for (size_t i = 0; i < k->job->plan->rank_count; i++) {
        if (!k->ranks[i].pid)
            continue;
        signal_group(k->ranks[i].pid, number);
        if (ends_processes(number))
            signal_group(k->ranks[i].pid, SIGCONT);
    }
}

static void signal_all(struct keeper *k, int number)
{
    if (launch_descendants_signal(getpid(), number) < 0)
        signal_ranks(k, number);
    else if (ends_processes(number))
        (void)launch_descendants_signal(getpid(), SIGCONT);
}

static void start_killing(struct keeper *k)
{
    k->killing = !k->told_end;
    k->kill_again_ms = KILL_AGAIN_MS;
}

static void obey(struct keeper *k)
{
    struct launch_command command;
    ssize_t got = recv(k->socket, &command, sizeof command, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got != (ssize_t)sizeof command) { /* the launcher is gone */
        epoll_ctl(k->epoll, EPOLL_CTL_DEL, k->socket, NULL);
        k->is_alone = true;
        start_killing(k);
    } else if (command.kind == LAUNCH_SIGNAL_RANKS) {
        signal_ranks(k, command.signal);
    } else if (command.kind == LAUNCH_SIGNAL_ALL) {
        signal_all(k, command.signal);
    } else {
        start_killing(k);
    }
}

static void handle(struct keeper *k, uint64_t what)
{
    struct signalfd_siginfo info;
    size_t rank = (size_t)(what & UINT32_MAX);
    switch ((enum source)(what >> 32)) {
    case FROM_LAUNCHER:
        obey(k);
        break;
    case FROM_SIGNALS:
        (void)!read(k->signals, &info, sizeof info);
        break;
    case FROM_REPORT:
        read_report(k, rank);
        break;
    case FROM_PIDFD:
        reap_rank(k, rank);
        break;
    }
}

/* Ends when no child is left and the launcher is gone or has all that it wants. */
static void keep(struct keeper *k)
{
    while (!k->told_end || !k->is_alone) {
        struct epoll_event events[EVENTS_AT_ONCE];
        if (k->killing) {
            signal_all(k, SIGKILL);
            if (k->kill_again_ms < KILL_AGAIN_MOST_MS)
                k->kill_again_ms *= 2;
        }
        int count =
            epoll_wait(k->epoll, events, EVENTS_AT_ONCE, k->killing ? k->kill_again_ms : -1);
        for (int i = 0; i < count; i++)
            handle(k, events[i].data.u64);
        reap_others(k);
    }
}

/* `pkill -f shm-launch` is for the launcher; the keeper then does its work. */
static void rename_process(char **argv)
{
    static const char name[] = "shm-keeper";
    char *begin = argv[0], *end = argv[0];
    for (size_t i = 0; argv[i] && argv[i] == end; i++)
        end = argv[i] + strlen(argv[i]) + 1;
    memset(begin, 0, (size_t)(end - begin));
    memcpy(begin, name, (size_t)(end - begin) < sizeof name ? (size_t)(end - begin) : sizeof name);
    if (end > begin)
        end[-1] = '\0';
    prctl(PR_SET_NAME, name);
}

/* Without our copies of the job's descriptors their readers see the end when the ranks end. */
static void drop_descriptors(const struct launch_job *job)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO && null >= 0; fd++)
        dup2(null, fd);
    for (size_t i = 0; i < job->plan->rank_count; i++)
        if (job->in_fds[i] > STDERR_FILENO)
            close(job->in_fds[i]);
    for (size_t i = 0; i < job->plan->rank_count && job->piped; i++) {
        close(job->out_fds[i]);
        close(job->err_fds[i]);
    }
}

static _Noreturn void run_keeper(const struct launch_job *job, int socket)
{
    struct keeper k = {.job = job, .socket = socket};
    sigset_t all, child;
    setpgid(0, 0);
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    k.signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    k.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (k.signals < 0 || k.epoll < 0)
        _exit(LAUNCH_EXIT_TROUBLE);
    for (size_t i = 0; i < job->our_fd_count; i++)
        close(job->our_fds[i]);
    if (watch(&k, socket, FROM_LAUNCHER, 0) || watch(&k, k.signals, FROM_SIGNALS, 0))
        _exit(LAUNCH_EXIT_TROUBLE);
    for (size_t i = 0; i < job->plan->rank_count; i++)
        start_rank(&k, i);
    drop_descriptors(job);
    rename_process(job->argv);
    reap_others(&k);
    keep(&k);
    launch_errors_remove(job);
    _exit(0);
}

pid_t launch_keeper_start(const struct launch_job *job, int *socket_out)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return -errno;
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        run_keeper(job, ends[1]);
    }
    int rc = -errno;
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return rc;
    }
    *socket_out = ends[0];
    return pid;
}
