/* SPDX-License-Identifier: Apache-2.0 */
/* verify_judge.c - compares, counts, and says what is wrong, with the likely cause and the remedy.
 */
#include "verify_judge.h"

#include "verify_words.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 4, NUMBERS_MOST = 65536 };

static bool is_subset(const struct shmrt_bitmap *part, const struct shmrt_bitmap *whole)
{
    for (size_t i = shmrt_bitmap_next(part, 0); i < part->bits; i = shmrt_bitmap_next(part, i + 1))
        if (!shmrt_bitmap_has(whole, i))
            return false;
    return true;
}

static void add(char *text, size_t bytes, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void add(char *text, size_t bytes, const char *format, ...)
{
    size_t at = strlen(text);
    va_list args;
    va_start(args, format);
    vsnprintf(text + at, bytes - at, format, args);
    va_end(args);
}

static struct launch_finding *find(struct launch_judgement *judgement,
                                   enum launch_finding_kind kind, bool is_breach)
{
    struct launch_finding *finding = &judgement->findings[judgement->finding_count++];
    *finding = (struct launch_finding){.kind = kind, .is_breach = is_breach};
    return finding;
}

/* Threads that are off in one way, with a few of them by name. */
struct stray {
    size_t count;
    char samples[320];
    const char *binding; /* of the first process with such variables */
};

static void add_stray(struct stray *stray, const struct launch_seen *process,
                      const struct launch_seen_thread *thread)
{
    char cpus[64];
    if (stray->count++ < SAMPLES) {
        launch_words_set(&thread->cpus, cpus, sizeof cpus);
        add(stray->samples, sizeof stray->samples, "%s%s %d on %s", stray->count > 1 ? ", " : "",
            thread->name, (int)thread->tid, cpus);
    }
    if (!stray->binding && *process->binding)
        stray->binding = process->binding;
}

static void put_threads(const struct stray *stray, size_t rank, const char *what,
                        const struct shmrt_plan_rank *planned, struct launch_finding *finding)
{
    char cpus[96];
    launch_words_set(&planned->cpus, cpus, sizeof cpus);
    snprintf(finding->text, sizeof finding->text, "rank %zu: %zu thread%s may run %s %s: %s", rank,
             stray->count, stray->count == 1 ? "" : "s", what, cpus, stray->samples);
    if (stray->count > SAMPLES)
        add(finding->text, sizeof finding->text, " and %zu more", stray->count - SAMPLES);
}

/* libgomp binds the thread that loads it to one place, and whatever this starts inherits that. */
static void judge_narrow(const struct stray *stray, size_t rank,
                         const struct shmrt_plan_rank *planned, struct launch_judgement *judgement)
{
    struct launch_finding *finding = find(judgement, LAUNCH_FOUND_NARROW, true);
    put_threads(stray, rank, "only on a part of the planned CPUs", planned, finding);
    if (stray->binding)
        add(finding->text, sizeof finding->text,
            "; %s is set, with which the OpenMP library narrows the main thread when it is loaded, "
            "and all that this starts: unset that, the rank as a whole is bound already",
            stray->binding);
    else
        add(finding->text, sizeof finding->text,
            "; the program narrowed it (taskset, numactl, sched_setaffinity), which is better left "
            "to shm-launch, or the cgroup has lost CPUs");
}

/* Only lists of CPUs lead libraries out of the mask of their process, and libgomp's is not read
 * where there are places. */
static bool leads_outside(const char *binding)
{
    return strstr(binding, "norespect") ||
           (strstr(binding, "GOMP_CPU_AFFINITY=") && !strstr(binding, "OMP_PLACES="));
}

static void judge_outside(const struct stray *stray, size_t rank,
                          const struct shmrt_plan_rank *planned, struct launch_judgement *judgement)
{
    struct launch_finding *finding = find(judgement, LAUNCH_FOUND_OUTSIDE, true);
    put_threads(stray, rank, "on CPUs outside of the planned", planned, finding);
    if (stray->binding && leads_outside(stray->binding))
        add(finding->text, sizeof finding->text,
            "; %s is set, with which the OpenMP library binds threads to CPUs of that list, in "
            "every rank the same: unset that, the rank as a whole is bound already",
            stray->binding);
    else
        add(finding->text, sizeof finding->text,
            "; the program moved it (taskset, numactl, sched_setaffinity), the cgroup's cpuset was "
            "changed, or the ranks could not be bound");
}

static void judge_threads(const struct shmrt_plan_rank *planned, size_t rank,
                          const struct launch_seen *seen, size_t count,
                          struct launch_judgement *judgement)
{
    struct stray narrow = {0}, outside = {0};
    for (size_t p = 0; p < count; p++)
        for (size_t t = 0; t < seen[p].thread_count; t++) {
            const struct launch_seen_thread *thread = &seen[p].threads[t];
            judgement->threads++;
            if (!is_subset(&thread->cpus, &planned->cpus))
                add_stray(&outside, &seen[p], thread);
            else if (!is_subset(&planned->cpus, &thread->cpus))
                add_stray(&narrow, &seen[p], thread);
        }
    judgement->threads_off = narrow.count + outside.count;
    if (narrow.count)
        judge_narrow(&narrow, rank, planned, judgement);
    if (outside.count)
        judge_outside(&outside, rank, planned, judgement);
}

/* Where the pages of a rank belong; for its segment @with_segment's node too. */
static bool is_planned(const struct shmrt_plan_rank *rank, size_t node, bool with_segment)
{
    bool is_anywhere = shmrt_bitmap_count(&rank->memory_nodes) == 0;
    const struct shmrt_bitmap *nodes = is_anywhere ? &rank->nodes : &rank->memory_nodes;
    return shmrt_bitmap_has(nodes, node) || (with_segment && node == rank->segment_node);
}

static void put_planned(const struct shmrt_plan_rank *rank, char *text, size_t bytes)
{
    bool is_anywhere = shmrt_bitmap_count(&rank->memory_nodes) == 0;
    launch_words_set(is_anywhere ? &rank->nodes : &rank->memory_nodes, text, bytes);
}

/* Preferring nodes, and taking what is near, are wishes: full nodes are no fault. */
static bool is_demanded(const struct shmrt_plan_rank *rank)
{
    return rank->memory == SHMRT_MEMORY_BIND || rank->memory == SHMRT_MEMORY_INTERLEAVE;
}

static const char *why_elsewhere(const struct shmrt_plan_rank *rank, const char *policy)
{
    if (strcmp(policy, "default") == 0 || strcmp(policy, "local") == 0)
        return is_demanded(rank) ? "no memory policy is in force: it was refused at the start, or "
                                   "the program took it off"
                                 : "the planned nodes had no room, or a thread elsewhere touched "
                                   "them first";
    if (strncmp(policy, "prefer", 6) == 0)
        return "the planned nodes had no room, or the program prefers others";
    return "the program set that policy itself (numactl, mbind, set_mempolicy)";
}

static void add_part(struct launch_finding *finding, size_t nth, uint64_t pages, uint64_t bytes,
                     size_t node, const char *policy)
{
    char size[32];
    if (nth > SAMPLES)
        return;
    launch_words_bytes(bytes, size, sizeof size);
    add(finding->text, sizeof finding->text, "%s%llu page%s (%s) on node %zu%s%s%s",
        nth > 1 ? ", " : "", (unsigned long long)pages, pages == 1 ? "" : "s", size, node,
        *policy ? " (policy " : "", policy, *policy ? ")" : "");
}

static void judge_own(const struct shmrt_plan_rank *planned, size_t rank,
                      const struct launch_seen *seen, size_t count,
                      struct launch_judgement *judgement)
{
    struct launch_finding *finding = NULL;
    const char *policy = "";
    size_t parts = 0;
    char nodes[64];
    for (size_t p = 0; p < count; p++)
        for (size_t i = 0; i < seen[p].page_count; i++) {
            const struct launch_seen_pages *pages = &seen[p].pages[i];
            if (pages->owner)
                continue;
            judgement->bytes[pages->memory] += pages->bytes;
            if (is_planned(planned, pages->node, false))
                continue;
            judgement->elsewhere += pages->bytes;
            if (!finding) {
                finding = find(judgement, LAUNCH_FOUND_OWN, is_demanded(planned));
                snprintf(finding->text, sizeof finding->text,
                         "rank %zu: heap, stacks and anonymous memory have ", rank);
                policy = pages->policy;
            }
            add_part(finding, ++parts, pages->pages, pages->bytes, pages->node, pages->policy);
        }
    if (!finding)
        return;
    put_planned(planned, nodes, sizeof nodes);
    add(finding->text, sizeof finding->text, ", planned %s: %s", nodes,
        why_elsewhere(planned, policy));
}

static void judge_segments(const struct shmrt_plan_rank *planned, size_t rank,
                           const struct launch_segment_pages *segments, size_t count,
                           struct launch_judgement *judgement)
{
    struct launch_finding *finding = NULL;
    size_t parts = 0;
    for (size_t i = 0; i < count; i++) {
        judgement->bytes[LAUNCH_SEGMENT] += segments[i].bytes - segments[i].pool_bytes;
        judgement->bytes[LAUNCH_POOL] += segments[i].pool_bytes;
        if (is_planned(planned, segments[i].node, true))
            continue;
        judgement->elsewhere += segments[i].bytes;
        if (!finding) {
            finding = find(judgement, LAUNCH_FOUND_SEGMENT, is_demanded(planned));
            snprintf(finding->text, sizeof finding->text,
                     "rank %zu: its shared segment or pool has ", rank);
        }
        add_part(finding, ++parts, segments[i].pages, segments[i].bytes, segments[i].node, "");
    }
    if (finding)
        add(finding->text, sizeof finding->text,
            ", planned %zu: mbind was refused, or the rank's threads were elsewhere when it "
            "was made",
            planned->segment_node);
}

static void judge_readable(size_t rank, const struct launch_seen *seen, size_t count,
                           struct launch_judgement *judgement)
{
    for (size_t p = 0; p < count; p++) {
        int error = -seen[p].pages_error;
        if (!error)
            continue;
        struct launch_finding *finding = find(judgement, LAUNCH_FOUND_UNREADABLE, false);
        if (error == ENOENT)
            snprintf(finding->text, sizeof finding->text,
                     "this kernel does not say where pages are (no numa_maps in /proc): only "
                     "threads are checked");
        else
            snprintf(finding->text, sizeof finding->text,
                     "rank %zu: where the pages of process %d are may not be read (%s); it is "
                     "another user's, or has other rights than shm-launch",
                     rank, (int)seen[p].pid, strerror(error));
        return;
    }
}

static void put_number(uint64_t words[NUMBERS_MOST / 64], size_t number)
{
    if (number < NUMBERS_MOST)
        words[number / 64] |= UINT64_C(1) << number % 64;
}

/* What there is to see, right or wrong: CPUs, nodes, huge pages. */
static void sum_up(const struct launch_seen *seen, size_t count,
                   const struct launch_segment_pages *segments, size_t segment_count,
                   struct launch_judgement *judgement)
{
    uint64_t cpus[NUMBERS_MOST / 64] = {0}, nodes[NUMBERS_MOST / 64] = {0};
    const struct shmrt_bitmap cpu_set = {NUMBERS_MOST, cpus}, node_set = {NUMBERS_MOST, nodes};
    for (size_t p = 0; p < count; p++) {
        for (size_t t = 0; t < seen[p].thread_count; t++) {
            const struct shmrt_bitmap *own = &seen[p].threads[t].cpus;
            for (size_t i = shmrt_bitmap_next(own, 0); i < own->bits;
                 i = shmrt_bitmap_next(own, i + 1))
                put_number(cpus, i);
        }
        for (size_t i = 0; i < seen[p].page_count; i++)
            if (!seen[p].pages[i].owner)
                put_number(nodes, seen[p].pages[i].node);
        judgement->huge_own += seen[p].huge_own;
        judgement->huge_shared += seen[p].huge_shared;
    }
    for (size_t i = 0; i < segment_count; i++)
        put_number(nodes, segments[i].node);
    launch_words_set(&cpu_set, judgement->cpus, sizeof judgement->cpus);
    launch_words_set(&node_set, judgement->nodes, sizeof judgement->nodes);
}

void launch_judge(const struct shmrt_plan_rank *rank, size_t index, const struct launch_seen *seen,
                  size_t seen_count, const struct launch_segment_pages *segments,
                  size_t segment_count, struct launch_judgement *judgement_out)
{
    *judgement_out = (struct launch_judgement){.processes = seen_count};
    judge_threads(rank, index, seen, seen_count, judgement_out);
    judge_own(rank, index, seen, seen_count, judgement_out);
    judge_segments(rank, index, segments, segment_count, judgement_out);
    judge_readable(index, seen, seen_count, judgement_out);
    sum_up(seen, seen_count, segments, segment_count, judgement_out);
}
