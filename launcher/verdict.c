/* SPDX-License-Identifier: Apache-2.0 */
/* verdict.c - exit codes as the shell, timeout(1) and env(1) use them, and the words for them. */
#include "verdict.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

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

static void put_start(const struct launch_verdict *verdict, const struct launch_job *job,
                      char *text_out, size_t bytes)
{
    const char *command = job->options->command[0];
    const char *hint = "";
    if (verdict->value == -ENOENT && strchr(command, '/') && access(command, F_OK) == 0)
        hint = " (the file is there, but the interpreter in its first line is not)";
    else if (verdict->value == -ENOENT && !strchr(command, '/'))
        hint = " in any folder of PATH";
    else if (verdict->value == -EACCES)
        hint = " (is it executable? chmod +x)";
    snprintf(text_out, bytes, "cannot start \"%s\": %s%s", command, strerror(-verdict->value),
             hint);
}

static void put_status(const struct launch_verdict *verdict, int rank, char *text_out, size_t bytes)
{
    if (WIFSIGNALED(verdict->value))
        snprintf(text_out, bytes, "rank %d (pid %d) was killed by signal %d (SIG%s)", rank,
                 verdict->pid, WTERMSIG(verdict->value), sigabbrev_np(WTERMSIG(verdict->value)));
    else
        snprintf(text_out, bytes, "rank %d (pid %d) exited with code %d", rank, verdict->pid,
                 WEXITSTATUS(verdict->value));
}

static void put_tally(const struct launch_verdict *verdict, char *text, size_t bytes)
{
    const struct launch_tally *t = &verdict->tally;
    const char *other = verdict->cause == LAUNCH_CAUSE_RANK ? "other " : "";
    const struct {
        size_t count;
        const char *one, *many;
    } parts[] = {
        {t->finished, "rank ended by itself", "ranks ended by themselves"},
        {t->asked, "rank was ended", "ranks were ended"},
        {t->killed, "rank had to be killed", "ranks had to be killed"},
    };
    const char *between = "; ";
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        size_t at = strlen(text);
        if (!parts[i].count)
            continue;
        snprintf(text + at, bytes - at, "%s%zu %s%s", between, parts[i].count, other,
                 parts[i].count == 1 ? parts[i].one : parts[i].many);
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
        snprintf(text_out, bytes, "output was lost, it cannot be written: %s",
                 strerror(verdict->value));
        break;
    }
    put_tally(verdict, text_out, bytes);
}
