/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verify_watch.c - glances, which are cheap, until the ranks are settled; then looks.
 *
 * After the first look each pause is 200 times as long as the work before it, or longer: watching
 * takes half a percent of a core, however large the job is.
 */
#include "verify_watch.h"

#include "common/processes.h"
#include "verify_judge.h"
#include "verify_segments.h"
#include "verify_words.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    SOON_MS = 250,
    LATER_MS = 2000,
    LOOK_AGAIN_MS = 10000,
    QUIET_MS = 1000,
    QUIET_MET_MS = 250,
    FIRST_LOOK_MS = 60000, /* settled or not */
    SHARE = 200,
    SHARE_AT_FIRST = 20,
    NODES_MOST = 1024,
};

/* A rank's processes, as seen in one step. */
struct crew {
    struct launch_seen *list;
    size_t count, room;
};

struct rank {
    pid_t pid; /* 0: not started, or ended */
    bool was_started, is_judged;
    int64_t quiet_ns; /* since anything changed, less what it waited for a CPU or a disk */
    uint64_t waited_ns;
    uint64_t print, judged_print, libraries, shown_libraries;
    struct launch_judgement judgement;
    unsigned told; /* a bit for each kind of finding */
};

struct launch_watch {
    const struct shmrt_plan *plan;
    size_t first_rank;
    const char *proc;
    struct launch_watch_listener listener;
    int64_t started_ns, glanced_ns, next_look_ns, next_table_ns;
    bool is_reported, told_unreadable, told_counting;
    struct rank ranks[SHMRT_MAX_RANKS];
    struct crew crews[SHMRT_MAX_RANKS];
};

static int64_t ms(int64_t amount)
{
    return amount * 1000000;
}

static int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void say(struct launch_watch *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void say(struct launch_watch *w, const char *format, ...)
{
    char line[LAUNCH_FINDING_BYTES + 64];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    w->listener.say(w->listener.context, line);
}

struct launch_watch *launch_watch_create(const struct shmrt_plan *plan, size_t first_rank,
                                         const char *proc,
                                         const struct launch_watch_listener *listener)
{
    struct launch_watch *w = calloc(1, sizeof *w);
    if (w)
        *w = (struct launch_watch){
            .plan = plan, .first_rank = first_rank, .proc = proc, .listener = *listener};
    return w;
}

void launch_watch_rank_started(struct launch_watch *w, int rank, pid_t pid, int64_t now_ns)
{
    if (w->is_reported || w->started_ns == 0) /* the first one of this attempt */
        w->started_ns = now_ns;
    w->is_reported = false;
    w->ranks[rank] = (struct rank){.pid = pid, .was_started = true};
}

void launch_watch_rank_ended(struct launch_watch *w, int rank)
{
    w->ranks[rank].pid = 0;
}

/* The rank that @process descends from, or is; -1: none. Each rank leads a session, which keeps
 * those whose parent has ended. */
static int rank_of(const struct launch_watch *w, struct launch_process *all, size_t count,
                   const struct launch_process *process)
{
    for (size_t depth = 0; process && depth < count; depth++) {
        for (size_t i = 0; i < w->plan->rank_count; i++)
            if (w->ranks[i].pid &&
                (w->ranks[i].pid == process->pid || w->ranks[i].pid == process->session))
                return (int)i;
        process = launch_processes_find(all, count, process->parent);
    }
    return -1;
}

/* A process that cannot be seen any more is no trouble: it has ended. */
static void glance(struct launch_watch *w, struct crew *crew, pid_t pid)
{
    if (crew->count == crew->room) {
        size_t room = crew->room ? 2 * crew->room : 4;
        struct launch_seen *grown = reallocarray(crew->list, room, sizeof *grown);
        if (!grown)
            return;
        crew->list = grown;
        crew->room = room;
    }
    if (launch_glance(w->proc, pid, &crew->list[crew->count]) == 0)
        crew->count++;
}

static void forget(struct crew *crew)
{
    for (size_t i = 0; i < crew->count; i++)
        launch_seen_free(&crew->list[i]);
    crew->count = 0;
}

static uint64_t mix(uint64_t print, uint64_t value)
{
    return (print ^ value) * UINT64_C(0x9e3779b97f4a7c15) + (print >> 29);
}

/* Another number when anything has changed that a look would judge, pages apart. */
static uint64_t print_of(const struct crew *crew)
{
    uint64_t print = 0;
    for (size_t p = 0; p < crew->count; p++) {
        const struct launch_seen *seen = &crew->list[p];
        print = mix(mix(print, (uint64_t)seen->pid), seen->libraries);
        for (size_t t = 0; t < seen->thread_count; t++) {
            const struct shmrt_bitmap *cpus = &seen->threads[t].cpus;
            print = mix(print, (uint64_t)seen->threads[t].tid);
            for (size_t i = 0; i < (cpus->bits + 63) / 64; i++)
                print = mix(print, cpus->words[i]);
        }
    }
    return print;
}

/* What a rank has done since the last glance, @passed_ns ago. */
static void compare(struct rank *rank, const struct crew *crew, int64_t passed_ns)
{
    uint64_t print = print_of(crew), libraries = 0, waited_ns = 0;
    bool is_loading = false;
    for (size_t p = 0; p < crew->count; p++) {
        libraries = mix(libraries, crew->list[p].libraries);
        is_loading = is_loading || crew->list[p].is_loading;
        if (crew->list[p].waited_ns > waited_ns)
            waited_ns = crew->list[p].waited_ns;
    }
    int64_t waited_now_ns =
        waited_ns > rank->waited_ns ? (int64_t)(waited_ns - rank->waited_ns) : 0;
    if (print != rank->print)
        rank->quiet_ns = 0;
    else if (!is_loading && passed_ns > waited_now_ns)
        rank->quiet_ns += passed_ns - waited_now_ns;
    rank->print = print;
    rank->libraries = libraries;
    rank->waited_ns = waited_ns;
}

static void glance_at_all(struct launch_watch *w, int64_t now_ns)
{
    struct launch_process *all = NULL;
    ssize_t count = launch_processes_list(w->proc, &all);
    for (ssize_t i = 0; i < count; i++) {
        int rank = all[i].has_ended ? -1 : rank_of(w, all, (size_t)count, &all[i]);
        if (rank >= 0)
            glance(w, &w->crews[rank], all[i].pid);
    }
    free(all);
    for (size_t i = 0; i < w->plan->rank_count; i++)
        compare(&w->ranks[i], &w->crews[i], now_ns - w->glanced_ns);
    w->glanced_ns = now_ns;
}

static bool is_settled(const struct launch_watch *w, size_t index)
{
    bool has_met = false;
    for (size_t p = 0; p < w->crews[index].count; p++)
        has_met = has_met || w->crews[index].list[p].mapping_count > 0;
    return w->ranks[index].quiet_ns >= ms(has_met ? QUIET_MET_MS : QUIET_MS);
}

static bool is_time_to_look(const struct launch_watch *w, int64_t now_ns)
{
    size_t running = 0, unsettled = 0, changed = 0, missing = 0;
    for (size_t i = 0; i < w->plan->rank_count; i++) {
        const struct rank *rank = &w->ranks[i];
        missing += !rank->was_started;
        if (!rank->pid)
            continue;
        running++;
        unsettled += !is_settled(w, i);
        changed += rank->print != rank->judged_print && is_settled(w, i);
    }
    if (running == 0)
        return false;
    if (!w->is_reported)
        return unsettled + missing == 0 || now_ns - w->started_ns >= ms(FIRST_LOOK_MS);
    return changed > 0 || now_ns >= w->next_look_ns;
}

static void judge_all(struct launch_watch *w)
{
    static const struct launch_segments none = {0};
    struct launch_segments segments = none;
    struct launch_segment_pages *pages = calloc(NODES_MOST, sizeof *pages);
    int rc = pages ? 0 : -ENOMEM;
    for (size_t i = 0; i < w->plan->rank_count; i++)
        for (size_t p = 0; p < w->crews[i].count && rc == 0; p++) {
            rc = launch_look(w->proc, &w->crews[i].list[p]);
            if (rc == 0)
                rc = launch_segments_add(&segments, &w->crews[i].list[p]);
        }
    for (size_t i = 0; i < w->plan->rank_count && rc == 0; i++) {
        const struct crew *crew = &w->crews[i];
        if (crew->count == 0)
            continue;
        size_t count = launch_segments_count(&segments, crew->list, crew->count, pages, NODES_MOST);
        launch_judge(&w->plan->ranks[i], w->first_rank + i, crew->list, crew->count, pages, count,
                     &w->ranks[i].judgement);
        w->ranks[i].is_judged = true;
        w->ranks[i].judged_print = w->ranks[i].print;
    }
    launch_segments_free(&segments);
    free(pages);
    if (rc)
        say(w, "--verify: not looked at: %s", strerror(-rc));
}

/* Those that were not told yet. */
static void tell_findings(struct launch_watch *w, size_t index, const char *when)
{
    struct rank *rank = &w->ranks[index];
    for (size_t i = 0; i < rank->judgement.finding_count; i++) {
        const struct launch_finding *finding = &rank->judgement.findings[i];
        bool is_unreadable = finding->kind == LAUNCH_FOUND_UNREADABLE;
        if (rank->told >> finding->kind & 1 || (is_unreadable && w->told_unreadable))
            continue;
        say(w, "%s%s", when, finding->text);
        rank->told |= 1U << finding->kind;
        w->told_unreadable = w->told_unreadable || is_unreadable;
        if (finding->is_breach)
            w->listener.breach(w->listener.context, (int)index);
    }
}

static void tell_missed(struct launch_watch *w)
{
    char list[256];
    size_t bits = w->first_rank + w->plan->rank_count;
    struct shmrt_bitmap missed = {.bits = bits, .words = calloc(bits / 64 + 1, sizeof(uint64_t))};
    for (size_t i = 0; i < w->plan->rank_count && missed.words; i++)
        if (w->ranks[i].was_started && !w->ranks[i].is_judged)
            missed.words[(w->first_rank + i) / 64] |= UINT64_C(1) << (w->first_rank + i) % 64;
    size_t count = missed.words ? shmrt_bitmap_count(&missed) : 0;
    if (count) {
        launch_words_set(&missed, list, sizeof list);
        say(w,
            "--verify: rank%s %s ended before the look, for which libraries and threads have to "
            "stay the same for a second",
            count == 1 ? "" : "s", list);
        w->listener.missed(w->listener.context, (int)count);
    }
    shmrt_bitmap_free(&missed);
}

/* Whether the kernel moves pages after the threads that use them, and may move some of the plan:
 * those that no policy holds. */
static bool is_balanced(const struct launch_watch *w)
{
    char path[160];
    int value = 0;
    bool is_loose = false;
    for (size_t i = 0; i < w->plan->rank_count; i++)
        is_loose = is_loose || w->plan->ranks[i].memory == SHMRT_MEMORY_LOCAL;
    snprintf(path, sizeof path, "%.128s/sys/kernel/numa_balancing", w->proc);
    FILE *file = is_loose ? fopen(path, "re") : NULL;
    bool is_on = file && fscanf(file, "%d", &value) == 1 && value > 0;
    if (file)
        fclose(file);
    return is_on;
}

/* Once: what the table's numbers are. */
static void tell_counting(struct launch_watch *w)
{
    if (w->told_counting)
        return;
    w->told_counting = true;
    say(w, "counted: pages in memory, of every process of a rank's session or below it; of its "
           "segment and pool those that a rank has mapped. Not counted: pages that nobody touched "
           "yet or that are swapped out, files, and processes that left both");
    if (is_balanced(w))
        say(w, "kernel.numa_balancing is on: the kernel moves heaps and stacks after the threads "
               "that use them, as --mem local lets it; --mem bind holds them. Segments and pools "
               "are bound and stay");
}

static void tell_table(struct launch_watch *w, int64_t now_ns)
{
    const struct launch_judgement *judgements[SHMRT_MAX_RANKS];
    size_t judged = 0, findings = 0;
    for (size_t i = 0; i < w->plan->rank_count; i++) {
        bool is_judged = w->ranks[i].is_judged;
        judgements[i] = is_judged ? &w->ranks[i].judgement : NULL;
        judged += is_judged;
        findings += is_judged ? w->ranks[i].judgement.finding_count : 0;
        w->ranks[i].shown_libraries = w->ranks[i].libraries;
    }
    say(w, "--verify: %zu rank%s, %.1f s after the start", judged, judged == 1 ? "" : "s",
        (double)(now_ns - w->started_ns) / 1e9);
    launch_words_table(judgements, w->plan->rank_count, w->first_rank, w->listener.say,
                       w->listener.context);
    tell_counting(w);
    if (!w->is_reported)
        tell_missed(w);
    if (judged == w->plan->rank_count && findings == 0)
        say(w, "all threads and pages are where the plan says");
    w->next_table_ns = now_ns + (now_ns - w->started_ns);
}

static bool wants_table(const struct launch_watch *w, int64_t now_ns)
{
    size_t changed = 0;
    for (size_t i = 0; i < w->plan->rank_count; i++)
        changed += w->ranks[i].pid && w->ranks[i].libraries != w->ranks[i].shown_libraries;
    return !w->is_reported || (changed && now_ns >= w->next_table_ns);
}

static void tell(struct launch_watch *w, int64_t now_ns)
{
    char when[64] = "";
    if (wants_table(w, now_ns))
        tell_table(w, now_ns);
    else
        snprintf(when, sizeof when,
                 "--verify, %.0f s after the start: ", (double)(now_ns - w->started_ns) / 1e9);
    w->is_reported = true;
    for (size_t i = 0; i < w->plan->rank_count; i++)
        if (w->ranks[i].is_judged)
            tell_findings(w, i, when);
}

static int64_t at_least(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

int64_t launch_watch_step(struct launch_watch *w, int64_t now_ns)
{
    int64_t begin_ns = cpu_ns();
    glance_at_all(w, now_ns);
    bool looks = is_time_to_look(w, now_ns);
    if (looks) {
        judge_all(w);
        tell(w, now_ns);
    }
    for (size_t i = 0; i < w->plan->rank_count; i++)
        forget(&w->crews[i]);
    int64_t cost_ns = cpu_ns() - begin_ns;
    if (looks)
        w->next_look_ns = now_ns + at_least(ms(LOOK_AGAIN_MS), SHARE * cost_ns);
    return now_ns + (w->is_reported ? at_least(ms(LATER_MS), SHARE * cost_ns)
                                    : at_least(ms(SOON_MS), SHARE_AT_FIRST * cost_ns));
}

void launch_watch_end(struct launch_watch *w)
{
    if (!w->is_reported)
        tell_missed(w);
}

void launch_watch_destroy(struct launch_watch *w)
{
    for (size_t i = 0; w && i < w->plan->rank_count; i++)
        free(w->crews[i].list);
    free(w);
}
