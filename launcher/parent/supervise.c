/* SPDX-License-Identifier: Apache-2.0 */
/*
 * supervise.c - one loop that waits for signals, the keeper's events, output and deadlines.
 *
 *   RUNNING  --a rank fails-->     NOTICE   its peers get a moment to see it and say so
 *   NOTICE   --moment over-->      ENDING   SIGTERM to the ranks
 *   RUNNING  --signal, timeout-->  ENDING   that signal, or SIGTERM, to the ranks
 *   RUNNING  --ranks are gone-->   LINGER   what they left behind may finish
 *   LINGER   --moment over-->      ENDING   SIGTERM to what is left
 *   ENDING   --grace over, or a second signal-->  KILLING  SIGKILL to everything, until none is
 * left any      --nothing left-->     the end, when all output is written
 */
#include "supervise.h"

#include "common/clock.h"
#include "common/processes.h"
#include "common/say.h"
#include "failure_report.h"
#include "io/wiring.h"
#include "keeper.h"
#include "rank/error_files.h"
#include "verdict.h"
#include "verify/verify.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    NOTICE_MS = 2000,
    LINGER_MS = 2000,
    UNKILLABLE_MS = 5000,
    /* timeout(1) signals its child and then the child's group: that is one request. */
    SAME_REQUEST_MS = 50,
    KILL_AGAIN_MS = 5,
    KILL_AGAIN_MOST_MS = 100,
};

enum phase { RUNNING, NOTICE, LINGER, ENDING, KILLING, OVER };

struct supervisor {
    struct launch_job *job;
    struct launch_wiring *wiring;
    pid_t keeper;
    int socket;
    enum phase phase;
    int64_t deadline_ns, timeout_ns, asked_ns; /* 0: none */
    struct launch_verdict verdict;
    struct launch_verify verify;
    pid_t pids[SHMRT_MAX_RANKS];
    size_t alive;
    bool told_cpus, told_memory;
    bool is_end_wanted;   /* by a signal or --timeout, even where that is not the cause */
    bool is_reader_stuck; /* and the person does not want to wait for it */
    char *traceback;      /* of the rank that is the cause */
    bool is_abandoned;    /* what SIGKILL does not end is left to the keeper */
    int kill_again_ms;    /* the keeper was killed, and its work is ours; 0: it lives */
};

static int64_t in_ms(size_t ms)
{
    return launch_now_ns() + (int64_t)ms * 1000000;
}

static void say(struct supervisor *s, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Between the ranks' lines, in order, where these go through us; and never waiting for a reader. */
static void say(struct supervisor *s, const char *format, ...)
{
    char line[1024] = "shm-launch: ";
    size_t at = strlen(line);
    va_list args;
    va_start(args, format);
    vsnprintf(line + at, sizeof line - at, format, args);
    va_end(args);
    launch_sink_say(s->wiring->err, line);
    if (s->wiring->err->error == ENOMEM) /* the line was lost, but somebody may still read */
        launch_say("%s", line + at);
}

static void say_line(void *supervisor, const char *line)
{
    say(supervisor, "%s", line);
}

static void command(struct supervisor *s, enum launch_command_kind kind, int number)
{
    const struct launch_command c = {.kind = (int)kind, .signal = number};
    (void)!send(s->socket, &c, sizeof c, MSG_NOSIGNAL);
}

static void blame(struct supervisor *s, enum launch_cause cause, int rank, int value)
{
    if (s->verdict.cause != LAUNCH_CAUSE_NONE)
        return;
    s->verdict.cause = cause;
    s->verdict.rank = rank;
    s->verdict.value = value;
    s->verdict.pid = s->pids[rank];
}

/* A keeper that somebody has stopped would obey no command. */
static void wake_keeper(const struct supervisor *s)
{
    if (!s->kill_again_ms)
        kill(s->keeper, SIGCONT);
}

static void start_ending(struct supervisor *s, enum launch_command_kind to, int number)
{
    command(s, to, number);
    wake_keeper(s);
    s->phase = ENDING;
    s->asked_ns = launch_now_ns();
    s->deadline_ns = in_ms(s->job->options->grace_ms);
}

static void start_killing(struct supervisor *s)
{
    command(s, LAUNCH_KILL_ALL, SIGKILL);
    wake_keeper(s);
    s->phase = KILLING;
    s->deadline_ns = in_ms(UNKILLABLE_MS);
}

static void start_phase(struct supervisor *s, enum phase phase, size_t ms)
{
    s->phase = phase;
    s->deadline_ns = in_ms(ms);
}

static void count_ended(struct supervisor *s, const struct launch_event *event, bool failed)
{
    struct launch_tally *tally = &s->verdict.tally;
    bool is_cause = s->verdict.cause == LAUNCH_CAUSE_RANK && s->verdict.rank == event->rank;
    if (is_cause)
        return;
    if (s->phase == KILLING) {
        tally->killed++;
    } else if (s->asked_ns) {
        tally->asked++;
    } else {
        tally->finished++;
        tally->failed += failed;
    }
}

static void rank_ended(struct supervisor *s, const struct launch_event *event)
{
    bool failed = !WIFEXITED(event->value) || WEXITSTATUS(event->value) != 0;
    if (failed)
        blame(s, LAUNCH_CAUSE_RANK, event->rank, event->value);
    count_ended(s, event, failed);
    s->alive--;
    if (failed && s->phase == RUNNING)
        start_phase(s, NOTICE, NOTICE_MS);
    if (s->alive > 0)
        return;
    if (s->phase == RUNNING) {
        start_phase(s, LINGER, LINGER_MS);
    } else if (s->phase == NOTICE || s->phase == ENDING) {
        /* What the ranks left behind has not heard of it yet. */
        command(s, LAUNCH_SIGNAL_ALL, SIGTERM);
        if (s->phase == NOTICE)
            start_phase(s, ENDING, s->job->options->grace_ms);
    }
}

static void rank_refused(struct supervisor *s, const struct launch_event *event, bool is_memory)
{
    bool *told = is_memory ? &s->told_memory : &s->told_cpus;
    int code = -event->value;
    if (!*told && is_memory && code == EPERM)
        say(s, "memory cannot be bound to NUMA nodes: CAP_SYS_NICE is missing or a seccomp profile "
               "forbids it (docker run --cap-add SYS_NICE); pages go where they are first touched");
    else if (!*told && is_memory)
        say(s, "memory cannot be bound to NUMA nodes: %s; pages go where they are first touched",
            code == ENOSYS ? "the kernel or a seccomp profile has no set_mempolicy"
                           : strerror(code));
    else if (!*told)
        say(s, "ranks cannot be bound to their CPUs: %s; they run on any", strerror(code));
    *told = true;
    if (!s->job->options->strict)
        return;
    blame(s, LAUNCH_CAUSE_STRICT, event->rank, event->value);
    if (s->phase == RUNNING || s->phase == NOTICE)
        start_ending(s, LAUNCH_SIGNAL_RANKS, SIGTERM);
}

/* What --verify has found. */
static void hear_verify(struct supervisor *s)
{
    int rank = launch_verify_hear(&s->verify, say_line, s);
    if (rank < 0 || !s->job->options->strict)
        return;
    blame(s, LAUNCH_CAUSE_MISPLACED, rank, 0);
    if (s->phase == RUNNING || s->phase == NOTICE)
        start_ending(s, LAUNCH_SIGNAL_RANKS, SIGTERM);
}

/* The keeper waits for our end of the socket, to remove what we might not live to remove. */
static void all_ended(struct supervisor *s)
{
    if (s->verdict.cause == LAUNCH_CAUSE_RANK)
        s->traceback = launch_errors_read(s->job, (size_t)s->verdict.rank);
    launch_errors_remove(s->job);
    close(s->socket);
    s->socket = -1;
    launch_verify_end(&s->verify, say_line, s);
    if (s->verify.missed && s->job->options->strict)
        blame(s, LAUNCH_CAUSE_UNVERIFIED, 0, s->verify.missed);
    launch_wiring_drain(s->wiring);
    s->phase = OVER;
    /* Who wants the end waits for a reader no longer than for a rank. */
    s->deadline_ns = s->is_end_wanted ? in_ms(s->job->options->grace_ms) : 0;
    s->timeout_ns = 0;
}

static void handle_event(struct supervisor *s, const struct launch_event *event)
{
    switch ((enum launch_event_kind)event->kind) {
    case LAUNCH_RANK_STARTED:
        s->pids[event->rank] = event->value;
        launch_verify_rank_started(&s->verify, event->rank, event->value);
        s->alive++;
        break;
    case LAUNCH_RANK_CPUS_REFUSED:
    case LAUNCH_RANK_MEMORY_REFUSED:
        rank_refused(s, event, event->kind == LAUNCH_RANK_MEMORY_REFUSED);
        break;
    case LAUNCH_RANK_NOT_PREPARED:
    case LAUNCH_RANK_NOT_STARTED:
        blame(s, event->kind == LAUNCH_RANK_NOT_STARTED ? LAUNCH_CAUSE_START : LAUNCH_CAUSE_PREPARE,
              event->rank, event->value);
        if (s->phase == RUNNING || s->phase == NOTICE)
            start_ending(s, LAUNCH_SIGNAL_RANKS, SIGTERM);
        break;
    case LAUNCH_RANK_ENDED:
        launch_verify_rank_ended(&s->verify, event->rank);
        rank_ended(s, event);
        break;
    case LAUNCH_ALL_ENDED:
        all_ended(s);
        break;
    }
}

/* A keeper that ends with a command of ours unread is told as ECONNRESET, once, and ahead of the
 * events that it sent before. */
static ssize_t next_event(struct supervisor *s, struct launch_event *event_out)
{
    ssize_t got = recv(s->socket, event_out, sizeof *event_out, MSG_DONTWAIT);
    if (got < 0 && errno == ECONNRESET)
        got = recv(s->socket, event_out, sizeof *event_out, MSG_DONTWAIT);
    return got;
}

/* It is gone before its time; what it kept is ours now, and the ranks are our children. */
static void keeper_died(struct supervisor *s)
{
    blame(s, LAUNCH_CAUSE_KEEPER, 0, 0);
    close(s->socket);
    s->socket = -1;
    launch_verify_end(&s->verify, say_line, s); /* before its process is killed as one of the job */
    s->kill_again_ms = KILL_AGAIN_MS;
    start_killing(s);
}

/* Only those that are there: another process may have the number of one that was reaped. */
static void kill_groups(const struct supervisor *s)
{
    for (size_t i = 0; i < s->job->plan->rank_count; i++) {
        siginfo_t info;
        if (s->pids[i] && waitid(P_PID, (id_t)s->pids[i], &info, WEXITED | WNOHANG | WNOWAIT) == 0)
            kill(-s->pids[i], SIGKILL);
    }
}

/* What the keeper does otherwise. */
static void kill_what_is_left(struct supervisor *s)
{
    if (!s->kill_again_ms || s->phase != KILLING)
        return;
    if (launch_descendants_signal(getpid(), SIGKILL) < 0)
        kill_groups(s);
    s->kill_again_ms *= s->kill_again_ms < KILL_AGAIN_MOST_MS ? 2 : 1;
    pid_t reaped;
    do
        reaped = waitpid(-1, NULL, WNOHANG);
    while (reaped > 0);
    if (reaped == 0)
        return;
    s->verdict.tally.killed += s->alive;
    all_ended(s);
}

/* All of it that waits: the order of its events against output does not matter. */
static void hear_keeper(struct supervisor *s)
{
    struct launch_event event;
    ssize_t got;
    while ((got = next_event(s, &event)) == (ssize_t)sizeof event)
        handle_event(s, &event);
    if (s->phase == OVER || (got < 0 && (errno == EAGAIN || errno == EINTR)))
        return;
    keeper_died(s);
}

/*
 * Orphans that are none of the job's, as of `docker exec` where shm-launch is a container's first
 * process. A child that is waited for elsewhere hides those behind it, until its end was seen.
 */
static void reap_strangers(const struct supervisor *s)
{
    for (;;) {
        siginfo_t info = {0};
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0 ||
            info.si_pid == s->keeper || info.si_pid == s->verify.pid)
            return;
        waitpid(info.si_pid, NULL, WNOHANG);
    }
}

static void handle_signal(struct supervisor *s, int number)
{
    bool is_repeated =
        s->asked_ns && launch_now_ns() - s->asked_ns < SAME_REQUEST_MS * INT64_C(1000000);
    switch (number) {
    case SIGCHLD:
        reap_strangers(s);
        return;
    case SIGUSR1:
    case SIGUSR2:
    case SIGWINCH:
    case SIGCONT:
        command(s, LAUNCH_SIGNAL_RANKS, number);
        return;
    case SIGTSTP:
        /* Not SIGTSTP: it does not stop what lies outside of the terminal's session. */
        command(s, LAUNCH_SIGNAL_RANKS, SIGSTOP);
        raise(SIGSTOP);
        return;
    default:
        break;
    }
    s->is_end_wanted = true;
    if (s->phase == RUNNING || s->phase == NOTICE || s->phase == LINGER) {
        blame(s, LAUNCH_CAUSE_SIGNAL, 0, number);
        start_ending(s, s->alive ? LAUNCH_SIGNAL_RANKS : LAUNCH_SIGNAL_ALL, number);
    } else if (s->phase == ENDING && !is_repeated) {
        start_killing(s);
    }
}

static void read_signals(struct supervisor *s)
{
    struct signalfd_siginfo info;
    while (read(s->job->signals, &info, sizeof info) == (ssize_t)sizeof info)
        handle_signal(s, (int)info.ssi_signo);
}

/* Such as one that hangs in a file server, or another user's where /proc cannot be read. */
static void abandon(struct supervisor *s)
{
    static const char words[] = "some processes of the job do not die even of SIGKILL";
    if (s->kill_again_ms)
        say(s, "%s; they are left behind", words);
    else
        say(s, "%s; the keeper (pid %d) stays with them", words, (int)s->keeper);
    s->is_abandoned = true;
    all_ended(s);
}

static void deadline_passed(struct supervisor *s)
{
    switch (s->phase) {
    case NOTICE:
        start_ending(s, LAUNCH_SIGNAL_RANKS, SIGTERM);
        break;
    case LINGER:
        say(s, "the ranks have ended; what they left running is ended too");
        start_ending(s, LAUNCH_SIGNAL_ALL, SIGTERM);
        break;
    case ENDING:
        start_killing(s);
        break;
    case KILLING:
        abandon(s);
        break;
    case OVER:
        s->is_reader_stuck = true;
        break;
    case RUNNING:
        break;
    }
}

static void check_clock(struct supervisor *s)
{
    int64_t now = launch_now_ns();
    if (s->timeout_ns && now >= s->timeout_ns) {
        s->timeout_ns = 0;
        s->is_end_wanted = true;
        if (s->phase == RUNNING || s->phase == LINGER) {
            blame(s, LAUNCH_CAUSE_TIMEOUT, 0, 0);
            start_ending(s, s->alive ? LAUNCH_SIGNAL_RANKS : LAUNCH_SIGNAL_ALL, SIGTERM);
        }
    }
    if (s->deadline_ns && now >= s->deadline_ns)
        deadline_passed(s);
}

static int poll_timeout_ms(const struct supervisor *s)
{
    int64_t until = s->deadline_ns;
    if (s->timeout_ns && (!until || s->timeout_ns < until))
        until = s->timeout_ns;
    if (!until)
        return -1;
    int64_t left_ms = (until - launch_now_ns()) / 1000000 + 1;
    if (s->kill_again_ms && s->phase == KILLING && left_ms > s->kill_again_ms)
        left_ms = s->kill_again_ms;
    return left_ms < 0 ? 0 : left_ms > 1000000 ? 1000000 : (int)left_ms;
}

/* The ranks' output has nowhere to go: a job that nobody hears is ended. A reader of ours that has
 * left is another matter: the ranks learn of it as any writer does. */
static void check_output(struct supervisor *s)
{
    int error = s->job->logs ? launch_logs_error(s->job->logs) : 0;
    if (error && !s->job->told_logs)
        say(s, "--log-dir %s: %s: what follows is missing there, and the job goes on",
            s->job->options->log_dir, strerror(error));
    s->job->told_logs = s->job->told_logs || error;
    error = launch_wiring_error(s->wiring);
    if (!error)
        return;
    blame(s, LAUNCH_CAUSE_OUTPUT, 0, error);
    if (s->phase == RUNNING || s->phase == NOTICE)
        start_ending(s, LAUNCH_SIGNAL_RANKS, SIGTERM);
}

static void check_input(struct supervisor *s)
{
    int rank = launch_input_give_up(&s->wiring->input, launch_now_ns());
    if (rank >= 0)
        say(s, "rank %zu reads none of its input while other ranks wait for more: it gets no more",
            s->job->first_rank + (size_t)rank);
}

/* Who asks for the end while only our reader keeps us waiting gives up on the rest of the output.
 */
static bool wants_out(struct supervisor *s)
{
    struct signalfd_siginfo info;
    if (s->phase != OVER || read(s->job->signals, &info, sizeof info) != (ssize_t)sizeof info)
        return false;
    int number = (int)info.ssi_signo;
    if (number == SIGTSTP)
        raise(SIGSTOP);
    if (number != SIGINT && number != SIGTERM && number != SIGHUP && number != SIGQUIT)
        return false;
    s->is_end_wanted = s->is_reader_stuck = true;
    blame(s, LAUNCH_CAUSE_SIGNAL, 0, number);
    return true;
}

static void loop(struct supervisor *s)
{
    while (s->phase != OVER || !(s->is_reader_stuck || launch_wiring_is_flushed(s->wiring))) {
        struct pollfd polls[LAUNCH_POLLS_MAX + 3] = {
            {.fd = s->job->signals, .events = POLLIN},
            {.fd = s->phase == OVER ? -1 : s->socket, .events = POLLIN},
            {.fd = s->verify.socket, .events = POLLIN},
        };
        int timeout_ms = poll_timeout_ms(s);
        size_t count = launch_wiring_poll(s->wiring, polls + 3, &timeout_ms, launch_now_ns());
        if (poll(polls, count + 3, timeout_ms) < 0)
            continue;
        launch_wiring_move(s->wiring, polls + 3, count);
        check_input(s);
        check_output(s);
        if (wants_out(s))
            return;
        if (polls[0].revents)
            read_signals(s);
        if (polls[1].revents)
            hear_keeper(s);
        if (polls[2].revents)
            hear_verify(s);
        kill_what_is_left(s);
        check_clock(s);
        if (s->phase == OVER)
            launch_wiring_drain(s->wiring);
    }
}

/* Our last words wait for a slow reader as the ranks' lines did, and give up as these do. */
static void flush(struct supervisor *s)
{
    struct launch_sink *err = s->wiring->err;
    while (!launch_sink_is_empty(err)) {
        int pause_ms = launch_sink_pause_ms(err, launch_now_ns());
        int most_ms = s->is_reader_stuck ? 0 : poll_timeout_ms(s);
        if (pause_ms && (most_ms < 0 || most_ms > pause_ms))
            most_ms = pause_ms;
        struct pollfd polls[] = {{.fd = pause_ms ? -1 : err->fd, .events = POLLOUT},
                                 {.fd = s->job->signals, .events = POLLIN}};
        int ready = poll(polls, 2, most_ms);
        if (ready == 0 ? most_ms == 0 : !polls[0].revents && wants_out(s))
            return; /* a passed deadline leaves no time to wait either */
        if (polls[0].revents)
            launch_sink_write(err);
    }
}

static void conclude(struct supervisor *s)
{
    char text[768];
    const struct launch_job *job = s->job;
    struct launch_verdict *verdict = &s->verdict;
    check_output(s);
    if (s->is_reader_stuck)
        launch_sink_close(s->wiring->err);
    /* Not beside what is left of this attempt. */
    verdict->calls_for_restart = verdict->cause == LAUNCH_CAUSE_RANK && !s->is_end_wanted &&
                                 !s->is_abandoned && job->attempt < job->options->restarts;
    if (verdict->cause == LAUNCH_CAUSE_RANK)
        launch_report_failure(s->wiring, (size_t)verdict->rank,
                              job->first_rank + (size_t)verdict->rank, s->traceback, say_line, s);
    launch_verdict_text(verdict, job, text, sizeof text);
    launch_clean(text);
    if (*text)
        say(s, "%s", text);
    if (verdict->calls_for_restart)
        say(s, "restart %zu of %zu: all ranks are started again", job->attempt + 1,
            job->options->restarts);
    flush(s);
    if (!s->is_abandoned)
        launch_process_reap(s->keeper, NULL);
}

static int start(struct supervisor *s)
{
    struct launch_job *job = s->job;
    if (!s->wiring)
        return -ENOMEM;
    int rc = launch_wiring_open(s->wiring, job);
    if (rc)
        return rc;
    launch_errors_open(job);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    s->keeper = launch_keeper_start(job, &s->socket);
    if (s->keeper < 0)
        return s->keeper;
    launch_wiring_started(s->wiring, job);
    rc = launch_verify_start(&s->verify, job);
    if (rc)
        say(s, "--verify: nothing is checked: %s", strerror(-rc));
    return 0;
}

struct launch_verdict launch_supervise(struct launch_job *job)
{
    struct supervisor s = {
        .job = job,
        .wiring = calloc(1, sizeof *s.wiring),
        .phase = RUNNING,
        .socket = -1,
        .timeout_ns = job->timeout_ns,
        .verify = {.socket = -1},
    };
    int rc = start(&s);
    if (rc) {
        launch_say("cannot start the job: %s", strerror(-rc));
        s.verdict.cause = LAUNCH_CAUSE_PREPARE;
    } else {
        loop(&s);
        conclude(&s);
    }
    launch_errors_close(job);
    if (s.wiring)
        launch_wiring_close(s.wiring);
    free(s.wiring);
    free(s.traceback);
    return s.verdict;
}
