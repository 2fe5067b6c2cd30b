/* SPDX-License-Identifier: Apache-2.0 */
/* kills_judge.c - whether each survivor of a death was told the truth, and the table of many. */
#include "kills.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static const char *const kinds[KILLS_KINDS] = {
    [KILLS_BEFORE] = "before it met",
    [KILLS_CREATE] = "meeting",
    [KILLS_CALL] = "call",
    [KILLS_NORM] = "all-reduce and norm",
    [KILLS_REQUESTS] = "started calls",
    [KILLS_SPLIT] = "split",
    [KILLS_COMPUTE] = "between calls",
    [KILLS_RECREATE] = "destroy, meet again",
    [KILLS_LAST] = "the last barrier",
    [KILLS_DESTROY] = "destroy",
    [KILLS_AFTER] = "after destroy",
};

static const char *const outcomes[KILLS_OUTCOMES] = {
    [KILLS_NAMED] = "named",
    [KILLS_DEADLINE] = "deadline",
    [KILLS_WELL] = "ended well",
    [KILLS_SLOW] = "too slow to meet",
    [KILLS_HANG] = "hangs",
    [KILLS_CRASH] = "crashes",
    [KILLS_WRONG_RESULT] = "wrong results",
    [KILLS_WRONG_NAME] = "wrong names",
    [KILLS_TOO_SOON] = "errors before a death",
    [KILLS_TOO_WELL] = "ended well without the victim",
    [KILLS_OTHER_NEXT] = "next call says something else",
    [KILLS_NOT_RENEWED] = "no new communicator",
};

/* Whether "rank(s) 1,4-7 of 8 did not come" has @rank in its list. */
static bool list_has(const char *text, int rank)
{
    const char *at = strstr(text, "rank(s) ");
    if (!at || !strstr(at, "did not come"))
        return false;
    for (at += strlen("rank(s) "); *at >= '0' && *at <= '9';) {
        char *end;
        long first = strtol(at, &end, 10), last = *end == '-' ? strtol(end + 1, &end, 10) : first;
        if (rank >= first && rank <= last)
            return true;
        at = *end == ',' ? end + 1 : "";
    }
    return false;
}

/* By number and process. In a part the numbers are the part's own: there, and where a rank passes
 * on what it heard there, the process tells. */
static bool names(const struct kills_job *job, const struct kills_record *r)
{
    char whole[64], process[32];
    int victim = job->plan.victim;
    snprintf(process, sizeof process, "(pid %d)", job->pids[victim]);
    snprintf(whole, sizeof whole, "rank %d %s", victim, process);
    const struct kills_step *step = &job->plan.steps[r->failed_step];
    bool by_part = step->on_part || step->kind == KILLS_SPLIT || strstr(r->error.text, "aborted: ");
    return strstr(r->error.text, by_part ? process : whole) != NULL;
}

/*
 * Of a rank that is stopped, what a part can say: in its meeting the part's numbers count; and who
 * comes to no call of the part, since it waits in the whole for the one that is stopped, did not
 * come. Others may have it passed on.
 */
static bool is_said_by_part(const struct kills_job *job, const struct kills_record *r)
{
    bool has_parts = false;
    for (int i = 0; i < job->plan.steps_n; i++)
        has_parts = has_parts || job->plan.steps[i].kind == KILLS_SPLIT;
    return job->plan.stops && has_parts &&
           (strstr(r->error.text, "(job split-") ||
            (strstr(r->error.text, "did not come to") && !names(job, r)));
}

static enum kills_outcome judge_error(const struct kills_job *job, const struct kills_record *r)
{
    int64_t killed_ns = atomic_load(&job->killed_ns);
    const char *text = r->error.text;
    bool is_deadline = r->by_meeting && strstr(text, " did not come within ") != NULL;
    if (killed_ns == 0 || r->failed_ns < killed_ns)
        return is_deadline ? KILLS_SLOW : KILLS_TOO_SOON;
    if (is_deadline && (r->error.code == -ETIMEDOUT || r->error.code == -ECONNABORTED) &&
        list_has(r->error.text, job->plan.victim))
        return KILLS_DEADLINE;
    if (is_said_by_part(job, r))
        return KILLS_DEADLINE;
    bool is_code =
        r->error.code == -ECONNABORTED || (job->plan.stops && r->error.code == -ETIMEDOUT);
    if (!is_code || !names(job, r))
        return KILLS_WRONG_NAME;
    if (!r->by_meeting && r->again.code != 1 &&
        (r->again.code != r->error.code || strcmp(r->again.text, r->error.text) != 0))
        return KILLS_OTHER_NEXT;
    return KILLS_NAMED;
}

static enum kills_outcome judge(const struct kills_job *job, int rank, int status)
{
    const struct kills_record *r = &job->records[rank];
    int victim_at = atomic_load(&job->records[job->plan.victim].step);
    if (status == -1)
        return KILLS_HANG;
    if (!WIFEXITED(status) || WEXITSTATUS(status))
        return KILLS_CRASH;
    if (r->wrong_results)
        return KILLS_WRONG_RESULT;
    enum kills_outcome outcome = KILLS_WELL;
    if (atomic_load(&r->end) == KILLS_FAILED)
        outcome = judge_error(job, r);
    else if (job->plan.steps[victim_at].kind < KILLS_LAST)
        outcome = KILLS_TOO_WELL;
    if (outcome < KILLS_GOOD_OUTCOMES && atomic_load(&r->renewed) != 1)
        return KILLS_NOT_RENEWED;
    return outcome;
}

bool kills_has_faults(const struct kills_verdict *verdict)
{
    for (int i = KILLS_GOOD_OUTCOMES; i < KILLS_OUTCOMES; i++)
        if (verdict->outcomes[i])
            return true;
    return false;
}

static void say_fault(const struct kills_job *job, int rank, enum kills_outcome outcome)
{
    const struct kills_plan *plan = &job->plan;
    const struct kills_record *r = &job->records[rank];
    const struct kills_record *v = &job->records[plan->victim];
    int step = atomic_load(&r->step), at = atomic_load(&v->step);
    fprintf(stderr,
            "FAULT %s: seed %llu, rank %d of %d in step %d (%s), victim %d (pid %d) in step %d "
            "(%s)\n  error %d after %.3f s: %s\n  next %d: %s\n  new one: %s\n",
            outcomes[outcome], (unsigned long long)plan->seed, rank, plan->size, step,
            kinds[plan->steps[step].kind], plan->victim, job->pids[plan->victim], at,
            kinds[plan->steps[at].kind], r->error.code,
            (double)(r->failed_ns - atomic_load(&job->killed_ns)) / 1e9, r->error.text,
            r->again.code, r->again.text, r->renew_error.text);
}

void kills_judge(const struct kills_job *job, const int *statuses, struct kills_verdict *out)
{
    const struct kills_plan *plan = &job->plan;
    const struct kills_record *victim = &job->records[plan->victim];
    int64_t killed_ns = atomic_load(&job->killed_ns);
    bool told_in_meeting = false;
    *out = (struct kills_verdict){.seed = plan->seed, .done = true, .size = plan->size};
    out->kind = (int)plan->steps[atomic_load(&victim->step)].kind;
    if (!atomic_load(&victim->inside) && out->kind > KILLS_BEFORE && out->kind < KILLS_AFTER)
        out->kind = KILLS_COMPUTE;
    out->collective = atomic_load(&victim->collective);
    for (int r = 0; r < plan->size; r++) {
        const struct kills_record *record = &job->records[r];
        enum kills_outcome outcome;
        if (r != plan->victim)
            outcome = judge(job, r, statuses[r]);
        else if (record->wrong_results)
            outcome = KILLS_WRONG_RESULT;
        else if (atomic_load(&record->end) == KILLS_FAILED)
            outcome = judge_error(job, record);
        else
            continue;
        out->outcomes[outcome]++;
        if (outcome >= KILLS_GOOD_OUTCOMES)
            say_fault(job, r, outcome);
        if (outcome != KILLS_NAMED)
            continue;
        told_in_meeting = told_in_meeting || record->by_meeting;
        int64_t entered_ns = record->failed_entered_ns;
        int64_t from_ns = entered_ns > killed_ns ? entered_ns : killed_ns;
        out->since_kill[out->times] = record->failed_ns - killed_ns;
        out->in_call[out->times++] = record->failed_ns - from_ns;
    }
    out->told_apart = told_in_meeting && out->outcomes[KILLS_DEADLINE];
}

struct row {
    char name[48];
    int kills;
    int outcomes[KILLS_OUTCOMES];
};

static void print_row(const struct row *row)
{
    int faults = 0, survivors = 0;
    for (int i = 0; i < KILLS_OUTCOMES; i++) {
        survivors += row->outcomes[i];
        faults += i >= KILLS_GOOD_OUTCOMES ? row->outcomes[i] : 0;
    }
    printf("| %-22s | %6d | %9d | %6d | %8d | %10d | %6d |\n", row->name, row->kills, survivors,
           row->outcomes[KILLS_NAMED], row->outcomes[KILLS_DEADLINE], row->outcomes[KILLS_WELL],
           faults);
}

/* Calls by their collective; the others by their kind. */
static int row_of(const struct kills_verdict *v)
{
    return v->kind == KILLS_CALL && v->collective ? KILLS_KINDS + v->collective : v->kind;
}

static int compare(const void *a, const void *b)
{
    int64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

/* Return: how many of a hundred came within a second. */
static double print_times(const char *what, int64_t *ns, int n)
{
    int within = 0;
    if (n == 0)
        return 100;
    qsort(ns, (size_t)n, sizeof *ns, compare);
    while (within < n && ns[within] <= 1000000000)
        within++;
    printf("%s, ms: median %.1f, 90%% %.1f, 99%% %.1f, 99.9%% %.1f, most %.1f; within a second: "
           "%d of %d (%.2f%%)\n",
           what, (double)ns[n / 2] / 1e6, (double)ns[n * 9LL / 10] / 1e6,
           (double)ns[n * 99LL / 100] / 1e6, (double)ns[n * 999LL / 1000] / 1e6,
           (double)ns[n - 1] / 1e6, within, n, 100.0 * within / n);
    return 100.0 * within / n;
}

/* What counts is from the kill, or from the call's beginning where that came later. */
static double print_all_times(const struct kills_verdict *verdicts, int n)
{
    size_t room = (size_t)n * KILLS_MOST_RANKS;
    int64_t *since = malloc(room * sizeof *since), *in_call = malloc(room * sizeof *in_call);
    int times = 0;
    for (int i = 0; since && in_call && i < n; i++)
        for (int t = 0; t < verdicts[i].times; t++) {
            since[times] = verdicts[i].since_kill[t];
            in_call[times++] = verdicts[i].in_call[t];
        }
    print_times("From the kill to the error", since, times);
    double within =
        print_times("The same, or from the call's beginning where that came later", in_call, times);
    free(since);
    free(in_call);
    return within;
}

struct kills_shares kills_summarize(const struct kills_verdict *verdicts, int n)
{
    static struct row rows[KILLS_KINDS + SHMRT_COLLECTIVE_END];
    struct row sum = {.name = "all"};
    int told_apart = 0;
    for (int i = 0; i < n; i++) {
        const struct kills_verdict *v = &verdicts[i];
        struct row *row = &rows[row_of(v)];
        if (!v->done)
            continue;
        told_apart += v->told_apart;
        row->kills++;
        sum.kills++;
        for (int o = 0; o < KILLS_OUTCOMES; o++) {
            row->outcomes[o] += v->outcomes[o];
            sum.outcomes[o] += v->outcomes[o];
        }
    }
    printf("| %-22s | kills  | survivors | named  | deadline | ended well | faults |\n"
           "|---|---|---|---|---|---|---|\n",
           "The victim died in");
    for (int i = 0; i < KILLS_KINDS + SHMRT_COLLECTIVE_END; i++) {
        const char *name = i < KILLS_KINDS
                               ? kinds[i]
                               : shmrt_collective_name((enum shmrt_collective)(i - KILLS_KINDS));
        snprintf(rows[i].name, sizeof rows[i].name, "%s", name ? name : "?");
        if (rows[i].kills)
            print_row(&rows[i]);
    }
    print_row(&sum);
    struct kills_shares shares = {.within = print_all_times(verdicts, n)};
    printf("Meetings of which some were told of the death, and others met the deadline: %d\n",
           told_apart);
    int ranks = 0;
    for (int o = 0; o < KILLS_OUTCOMES; o++)
        ranks += sum.outcomes[o];
    shares.slow = ranks ? 100.0 * sum.outcomes[KILLS_SLOW] / ranks : 0;
    if (sum.outcomes[KILLS_SLOW])
        printf("Ranks that were too slow to meet: %d\n", sum.outcomes[KILLS_SLOW]);
    for (int o = KILLS_GOOD_OUTCOMES; o < KILLS_OUTCOMES; o++)
        printf("%s%s: %d", o > KILLS_GOOD_OUTCOMES ? ", " : "", outcomes[o], sum.outcomes[o]);
    printf("\n");
    return shares;
}
