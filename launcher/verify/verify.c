/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verify.c - the launcher's side of --verify, and the process that looks.
 *
 * They share a SOCK_SEQPACKET pair: starts and ends of ranks go down, lines for the person and
 * breaches of the plan come up. The process ends when it is told to, or with the launcher.
 */
#include "verify.h"

#include "common/clock.h"
#include "common/processes.h"
#include "verify_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { LAST_WORDS_MS = 3000 };

enum kind { RANK_STARTED, RANK_ENDED, JOB_ENDED, LINE, BREACH, MISSED };

struct message {
    int kind, rank, value;
    char text[1000]; /* of a LINE */
};

static void tell(int socket, enum kind kind, int rank, int value)
{
    const struct message message = {.kind = (int)kind, .rank = rank, .value = value};
    if (socket >= 0)
        (void)!send(socket, &message, offsetof(struct message, text), MSG_NOSIGNAL);
}

/* What it inherits would keep others from seeing that the launcher is gone. Return: the socket's
 * new number. */
static int close_others(int socket)
{
    enum { KEPT = STDERR_FILENO + 1 };
    int most = (int)sysconf(_SC_OPEN_MAX);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO && null >= 0; fd++)
        dup2(null, fd);
    if (dup2(socket, KEPT) < 0)
        _exit(LAUNCH_EXIT_TROUBLE);
    if (syscall(SYS_close_range, KEPT + 1, ~0U, 0) != 0)
        for (int fd = KEPT + 1; fd < most; fd++)
            close(fd);
    return KEPT;
}

static void say_up(void *context, const char *line)
{
    struct message message = {.kind = LINE};
    const int *socket = context;
    snprintf(message.text, sizeof message.text, "%s", line);
    (void)!send(*socket, &message, offsetof(struct message, text) + strlen(message.text),
                MSG_NOSIGNAL);
}

static void tell_breach(void *context, int rank)
{
    const int *socket = context;
    tell(*socket, BREACH, rank, 0);
}

static void tell_missed(void *context, int count)
{
    const int *socket = context;
    tell(*socket, MISSED, 0, count);
}

/* Hears of ranks and looks at them, until the job is over or the launcher is gone. */
static void watch_job(struct launch_watch *watch, int socket)
{
    int64_t next_ns = launch_now_ns();
    for (;;) {
        struct message message = {0};
        struct pollfd ready = {.fd = socket, .events = POLLIN};
        int64_t left_ms = (next_ns - launch_now_ns()) / 1000000 + 1;
        if (poll(&ready, 1, left_ms < 0 ? 0 : left_ms > 60000 ? 60000 : (int)left_ms) > 0) {
            if (recv(socket, &message, sizeof message, 0) <= 0)
                return;
            if (message.kind == JOB_ENDED)
                break;
            if (message.kind == RANK_STARTED)
                launch_watch_rank_started(watch, message.rank, message.value, launch_now_ns());
            else
                launch_watch_rank_ended(watch, message.rank);
        } else if (launch_now_ns() >= next_ns) {
            next_ns = launch_watch_step(watch, launch_now_ns());
        }
    }
    launch_watch_end(watch);
}

/* Without /proc there is nothing to look at, and every rank is missed. */
static void watch_nothing(const struct launch_job *job, int socket)
{
    struct message message = {0};
    say_up(&socket, "--verify: /proc is not mounted here, so nothing can be looked at");
    tell_missed(&socket, (int)job->plan->rank_count);
    while (recv(socket, &message, sizeof message, 0) > 0 && message.kind != JOB_ENDED)
        ;
}

static _Noreturn void run_process(const struct launch_job *job, pid_t parent, int socket)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(0);
    socket = close_others(socket);
    prctl(PR_SET_NAME, "shm-verify");
    if (access("/proc/self/maps", F_OK) != 0) {
        watch_nothing(job, socket);
        _exit(0);
    }
    const struct launch_watch_listener listener = {say_up, tell_breach, tell_missed, &socket};
    struct launch_watch *watch =
        launch_watch_create(job->plan, job->first_rank, "/proc", &listener);
    if (watch)
        watch_job(watch, socket);
    launch_watch_destroy(watch);
    _exit(watch ? 0 : LAUNCH_EXIT_TROUBLE);
}

int launch_verify_start(struct launch_verify *verify_out, const struct launch_job *job)
{
    int ends[2];
    *verify_out = (struct launch_verify){.socket = -1};
    if (!job->options->verify)
        return 0;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return -errno;
    pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        run_process(job, parent, ends[1]);
    int rc = pid < 0 ? -errno : 0;
    close(ends[1]);
    if (rc)
        close(ends[0]);
    else
        *verify_out = (struct launch_verify){.socket = ends[0], .pid = pid};
    return rc;
}

void launch_verify_rank_started(struct launch_verify *verify, int rank, pid_t pid)
{
    tell(verify->socket, RANK_STARTED, rank, pid);
}

void launch_verify_rank_ended(struct launch_verify *verify, int rank)
{
    tell(verify->socket, RANK_ENDED, rank, 0);
}

static void leave(struct launch_verify *verify)
{
    close(verify->socket);
    verify->socket = -1;
    launch_process_reap(verify->pid, NULL);
}

int launch_verify_hear(struct launch_verify *verify, launch_verify_say say, void *context)
{
    struct message message;
    int breached = -1;
    while (verify->socket >= 0) {
        ssize_t got = recv(verify->socket, &message, sizeof message - 1, MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (got <= 0) {
            say(context, "--verify: the process that looks was killed; nothing more is checked");
            leave(verify);
        } else if (message.kind == LINE) {
            ((char *)&message)[got] = '\0';
            say(context, message.text);
        } else if (message.kind == BREACH && breached < 0) {
            breached = message.rank;
        } else if (message.kind == MISSED) {
            verify->missed = message.value;
        }
    }
    return breached;
}

void launch_verify_end(struct launch_verify *verify, launch_verify_say say, void *context)
{
    struct message message = {0};
    struct pollfd ready = {.fd = verify->socket, .events = POLLIN};
    if (verify->socket < 0)
        return;
    tell(verify->socket, JOB_ENDED, 0, 0);
    while (poll(&ready, 1, LAST_WORDS_MS) > 0) {
        ssize_t got = recv(verify->socket, &message, sizeof message - 1, 0);
        if (got <= 0)
            break;
        ((char *)&message)[got] = '\0';
        if (message.kind == LINE)
            say(context, message.text);
        else if (message.kind == MISSED)
            verify->missed = message.value;
    }
    kill(verify->pid, SIGKILL);
    leave(verify);
}
