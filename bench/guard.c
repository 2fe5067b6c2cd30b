/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guard.c - the guardian of one peer: starts its command and sees to it that all of it ends.
 *
 * Launchers put their ranks into groups and sessions of their own, and a launcher that is killed
 * leaves them behind. The guardian is their subreaper: whoever loses its parent becomes its child.
 * It outlives shm-bench by as long as this takes, whether shm-bench ended well, by Ctrl-C or by
 * SIGKILL: then the lifeline, a pipe whose other end only shm-bench holds, is closed.
 */
#include "bench.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum { QUIT_MS = 3000, TERM_MS = 2000, LOOK_MS = 10, MAX_PROCESSES = 8192 };

struct guard {
    struct bench_peer_page *page;
    pid_t command;
    int output; /* what the peer prints */
    bool verbose;
    char line[BENCH_TEXT_BYTES];
    size_t length;
};

struct family {
    int count;
    pid_t pid[MAX_PROCESSES];
    pid_t parent[MAX_PROCESSES];
    bool ours[MAX_PROCESSES];
};

static pid_t parent_of(const char *pid)
{
    char path[300], text[512];
    int parent = 0;
    snprintf(path, sizeof path, "/proc/%s/stat", pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[n] = '\0';
    const char *name_end = strrchr(text, ')'); /* a name may contain anything */
    return name_end && sscanf(name_end + 1, " %*c %d", &parent) == 1 ? (pid_t)parent : 0;
}

static void read_family(struct family *out)
{
    DIR *folder = opendir("/proc");
    out->count = 0;
    for (struct dirent *e; folder && (e = readdir(folder)) && out->count < MAX_PROCESSES;) {
        if (!isdigit((unsigned char)e->d_name[0]))
            continue;
        out->pid[out->count] = (pid_t)atoi(e->d_name);
        out->parent[out->count] = parent_of(e->d_name);
        out->ours[out->count++] = false;
    }
    if (folder)
        closedir(folder);
}

/* Everything below this process; the table grows by one generation a pass. */
static void signal_descendants(int number)
{
    struct family *f = malloc(sizeof *f);
    bool is_more = f != NULL;
    if (f)
        read_family(f);
    while (is_more) {
        is_more = false;
        for (int i = 0; i < f->count; i++) {
            bool below = f->parent[i] == getpid();
            for (int k = 0; k < f->count && !below; k++)
                below = f->ours[k] && f->pid[k] == f->parent[i];
            is_more |= below && !f->ours[i];
            f->ours[i] |= below;
        }
    }
    for (int i = 0; f && i < f->count; i++)
        if (f->ours[i])
            kill(f->pid[i], number);
    free(f);
}

/* The last line with a letter or a digit in it: launchers like to end with a row of dashes. */
static void keep_last_words(struct guard *guard, const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        bool is_end = text[i] == '\n';
        if (!is_end && guard->length + 1 < sizeof guard->line)
            guard->line[guard->length++] = isprint((unsigned char)text[i]) ? text[i] : ' ';
        if (!is_end)
            continue;
        bool has_word = false;
        for (size_t k = 0; k < guard->length; k++)
            has_word |= isalnum((unsigned char)guard->line[k]) != 0;
        guard->line[guard->length] = '\0';
        if (has_word)
            memcpy(guard->page->last_words, guard->line, sizeof guard->line);
        guard->length = 0;
    }
}

static void listen_to_it(struct guard *guard)
{
    char text[4096];
    for (ssize_t n; (n = read(guard->output, text, sizeof text)) > 0;) {
        keep_last_words(guard, text, (size_t)n);
        if (guard->verbose && write(STDERR_FILENO, text, (size_t)n) < 0)
            guard->verbose = false;
    }
}

/* Bury what has ended. False when there is nobody left. */
static bool reap(struct guard *guard)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if (pid == guard->command) {
            listen_to_it(guard);
            guard->command = 0;
            guard->page->ended = status;
        }
    return pid == 0;
}

static void say_gone(struct guard *guard)
{
    __atomic_store_n(&guard->page->gone, 1, __ATOMIC_RELEASE);
    bench_wake(&guard->page->answered);
}

/* Until nobody is left, or the time has passed. */
static bool await_end(struct guard *guard, int ms)
{
    bool is_left = reap(guard);
    for (int waited = 0; is_left && waited < ms; waited += LOOK_MS) {
        listen_to_it(guard);
        usleep(LOOK_MS * 1000);
        is_left = reap(guard);
    }
    return !is_left;
}

/* TERM lets a launcher remove its own files. */
_Noreturn static void end_all(struct guard *guard, bool may_finish)
{
    bool is_done = may_finish && await_end(guard, QUIT_MS);
    if (!is_done) {
        signal_descendants(SIGTERM);
        is_done = await_end(guard, TERM_MS);
    }
    while (!is_done) {
        signal_descendants(SIGKILL);
        is_done = await_end(guard, LOOK_MS);
    }
    say_gone(guard);
    _exit(0);
}

_Noreturn static void become(const char *command, const char *control, int threads, int output,
                             const sigset_t *mask)
{
    char number[16];
    int nothing = open("/dev/null", O_RDONLY);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigprocmask(SIG_SETMASK, mask, NULL);
    snprintf(number, sizeof number, "%d", threads);
    setenv(BENCH_PEER_VARIABLE, control, 1);
    setenv("OMP_NUM_THREADS", number, 0);
    dup2(nothing, STDIN_FILENO);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

static int start(struct guard *guard, const char *control, const char *command, int threads,
                 int *signals_out)
{
    sigset_t watched, before;
    int output[2];
    sigemptyset(&watched);
    sigaddset(&watched, SIGCHLD);
    sigaddset(&watched, SIGTERM);
    if (sigprocmask(SIG_BLOCK, &watched, &before) != 0 || pipe2(output, O_CLOEXEC) != 0)
        return -errno;
    *signals_out = signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
    if (*signals_out < 0 || (guard->command = fork()) < 0)
        return -errno;
    if (guard->command == 0)
        become(command, control, threads, output[1], &before);
    close(output[1]);
    guard->output = output[0];
    return fcntl(output[0], F_SETFL, O_NONBLOCK) == 0 ? 0 : -errno;
}

_Noreturn void bench_guard(struct bench_peer_page *page, const char *control, const char *command,
                           int threads, int lifeline, bool verbose)
{
    struct guard guard = {.page = page, .output = -1, .verbose = verbose};
    int signals = -1;
    setsid(); /* Ctrl-C is for shm-bench; we hear of it by the lifeline */
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (start(&guard, control, command, threads, &signals) != 0)
        end_all(&guard, false);
    struct pollfd watched[] = {
        {lifeline, POLLIN, 0}, {signals, POLLIN, 0}, {guard.output, POLLIN, 0}};
    for (;;) {
        poll(watched, 3, -1);
        if (watched[2].revents & POLLIN)
            listen_to_it(&guard);
        else if (watched[2].revents)
            watched[2].fd = -1;
        struct signalfd_siginfo info;
        while (read(signals, &info, sizeof info) == (ssize_t)sizeof info)
            if (info.ssi_signo == SIGTERM)
                end_all(&guard, false);
        bool is_left = reap(&guard);
        if (watched[0].revents || !is_left)
            end_all(&guard, page->command == BENCH_COMMAND_QUIT);
        if (guard.command == 0)
            say_gone(&guard); /* its launcher; what it left behind goes when shm-bench says so */
    }
}
