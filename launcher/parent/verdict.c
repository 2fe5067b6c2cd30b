/* SPDX-License-Identifier: Apache-2.0 */
/* verdict.c - exit codes as the shell, timeout(1) and env(1) use them, and the words for them. */
#include "verdict.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* A name may be longer than its line, where the reason stands after it. */
enum { NAME_MOST = 200, HINT_BYTES = 288 };

static int code_of_status(int status)
{
    return WIFSIGNALED(status) ? LAUNCH_EXIT_SIGNAL + WTERMSIG(status) : WEXITSTATUS(status);
}

int launch_verdict_code(const struct launch_verdict *verdict)
{
    switch (verdict->cause) {
    case LAUNCH_CAUSE_NONE:
        return 0;
    case LAUNCH_CAUSE_RANK:
        return code_of_status(verdict->value);
    case LAUNCH_CAUSE_START:
        return verdict->value == -ENOENT || verdict->value == -ENOTDIR ? LAUNCH_EXIT_NOT_FOUND
                                                                       : LAUNCH_EXIT_NOT_EXECUTABLE;
    case LAUNCH_CAUSE_SIGNAL:
        return LAUNCH_EXIT_SIGNAL + verdict->value;
    case LAUNCH_CAUSE_TIMEOUT:
        return LAUNCH_EXIT_TIMEOUT;
    case LAUNCH_CAUSE_PREPARE:
    case LAUNCH_CAUSE_STRICT:
    case LAUNCH_CAUSE_MISPLACED:
    case LAUNCH_CAUSE_UNVERIFIED:
    case LAUNCH_CAUSE_KEEPER:
    case LAUNCH_CAUSE_OUTPUT:
        break;
    }
    return LAUNCH_EXIT_TROUBLE;
}

/* What people mean by a command that is nowhere. */
static void put_hint_not_found(const char *command, bool is_there, char hint_out[HINT_BYTES])
{
    const char *ending = strrchr(command, '.');
    const char *python = ending && strcmp(ending, ".py") == 0 ? "python " : "./";
    bool is_path = strchr(command, '/');
    if (is_there && is_path)
        snprintf(hint_out, HINT_BYTES,
                 " (the file is there, but the interpreter in its first line is not)");
    else if (is_there)
        snprintf(hint_out, HINT_BYTES,
                 " in any folder of PATH, but it is in this one: write %s%.*s", python, NAME_MOST,
                 command);
    else if (strchr(command, ' '))
        snprintf(hint_out, HINT_BYTES, " (these words are one: leave out the quotes around them)");
    else if (!is_path)
        snprintf(hint_out, HINT_BYTES, " in any folder of PATH");
}

static void put_start(const struct launch_verdict *verdict, const struct launch_job *job,
                      char *text_out, size_t bytes)
{
    const char *command = job->options->command[0];
    char hint[HINT_BYTES] = "";
    struct stat status;
    bool is_there = stat(command, &status) == 0;
    if (verdict->value == -ENOENT)
        put_hint_not_found(command, is_there && S_ISREG(status.st_mode), hint);
    else if (verdict->value == -EACCES && is_there && S_ISDIR(status.st_mode))
        snprintf(hint, sizeof hint, " (this is a folder)");
    else if (verdict->value == -EACCES)
        snprintf(hint, sizeof hint, " (is it executable? chmod +x)");
    snprintf(text_out, bytes, "cannot start \"%.*s\": %s%s", NAME_MOST, command,
             strerror(-verdict->value), hint);
}

static void put_status(const struct launch_verdict *verdict, int rank, char *text_out, size_t bytes)
{
    int number = WIFSIGNALED(verdict->value) ? WTERMSIG(verdict->value) : 0;
    const char *name = sigabbrev_np(number);
    if (number && name)
        snprintf(text_out, bytes, "rank %d (pid %d) was killed by signal %d (SIG%s)", rank,
                 verdict->pid, number, name);
    else if (number)
        snprintf(text_out, bytes, "rank %d (pid %d) was killed by signal %d (SIGRTMIN%+d)", rank,
                 verdict->pid, number, number - SIGRTMIN);
    else
        snprintf(text_out, bytes, "rank %d (pid %d) exited with code %d", rank, verdict->pid,
                 WEXITSTATUS(verdict->value));
}

/* Those that ended by themselves, before we did anything. */
static void put_how(const struct launch_tally *tally, char *text_out, size_t bytes)
{
    if (tally->failed == 0)
        snprintf(text_out, bytes, " with success");
    else if (tally->failed < tally->finished)
        snprintf(text_out, bytes, " (%zu failed too)", tally->failed);
    else
        snprintf(text_out, bytes, tally->failed == 1 ? " and failed too" : " and all failed too");
}

static void put_tally(const struct launch_verdict *verdict, char *text, size_t bytes)
{
    const struct launch_tally *t = &verdict->tally;
    const char *other = verdict->cause == LAUNCH_CAUSE_RANK ? "other " : "";
    char how[48];
    put_how(t, how, sizeof how);
    const struct {
        size_t count;
        const char *one, *many, *how;
    } parts[] = {
        {t->finished, "rank ended by itself", "ranks ended by themselves", how},
        {t->asked, "rank was ended", "ranks were ended", ""},
        {t->killed, "rank had to be killed", "ranks had to be killed", ""},
    };
    const char *between = "; ";
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        size_t at = strlen(text);
        if (!parts[i].count)
            continue;
        snprintf(text + at, bytes - at, "%s%zu %s%s%s", between, parts[i].count, other,
                 parts[i].count == 1 ? parts[i].one : parts[i].many, parts[i].how);
        between = ", ";
        other = "";
    }
}

void launch_verdict_text(const struct launch_verdict *verdict, const struct launch_job *job,
                         char *text_out, size_t bytes)
{
    int rank = (int)job->first_rank + verdict->rank;
    text_out[0] = '\0';
    switch (verdict->cause) {
    case LAUNCH_CAUSE_NONE:
        return;
    case LAUNCH_CAUSE_START:
        put_start(verdict, job, text_out, bytes);
        return;
    case LAUNCH_CAUSE_PREPARE:
        snprintf(text_out, bytes, "rank %d cannot be started: %s", rank, strerror(-verdict->value));
        break;
    case LAUNCH_CAUSE_STRICT:
        snprintf(text_out, bytes, "nothing runs unbound with --strict");
        break;
    case LAUNCH_CAUSE_MISPLACED:
        snprintf(text_out, bytes,
                 "rank %d (pid %d) is not where the plan says, and --strict forbids that", rank,
                 verdict->pid);
        break;
    case LAUNCH_CAUSE_UNVERIFIED:
        snprintf(text_out, bytes,
                 "%d rank%s ended before --verify could look, and --strict wants all looked at",
                 verdict->value, verdict->value == 1 ? "" : "s");
        return;
    case LAUNCH_CAUSE_RANK:
        put_status(verdict, rank, text_out, bytes);
        break;
    case LAUNCH_CAUSE_SIGNAL:
        snprintf(text_out, bytes, "ended by SIG%s", sigabbrev_np(verdict->value));
        break;
    case LAUNCH_CAUSE_TIMEOUT:
        snprintf(text_out, bytes, "the job took longer than --timeout %g",
                 (double)job->options->timeout_ms / 1000);
        break;
    case LAUNCH_CAUSE_KEEPER:
        snprintf(text_out, bytes, "the process that keeps the ranks (shm-keeper) was killed");
        break;
    case LAUNCH_CAUSE_OUTPUT:
        snprintf(text_out, bytes, "output was lost, it cannot be passed on: %s",
                 strerror(verdict->value));
        break;
    }
    put_tally(verdict, text_out, bytes);
}
