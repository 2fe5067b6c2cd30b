/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verify_watch.h - when to look at the ranks of a job, and what to tell of it
 *
 * A rank is settled when its libraries, threads and masks have been the same for a second, or a
 * quarter of one when it has met the others already; time in which it waited for a CPU or a disk
 * does not count. The first look, and the table, come when all are. Later looks tell what is new,
 * and give the table again when other files have been mapped, at most as often as the time since
 * the start doubles.
 */
#ifndef LAUNCH_VERIFY_WATCH_H
#define LAUNCH_VERIFY_WATCH_H

#include "shmrt_placement.h"

#include <sys/types.h>

struct launch_watch;

/** Who hears of it. Ranks are counted from 0 here, as in the plan. */
struct launch_watch_listener {
    void (*say)(void *context, const char *line);
    void (*breach)(void *context, int rank);  /* it is not where the plan demands it to be */
    void (*missed)(void *context, int count); /* so many ranks ended before they were looked at */
    void *context;
};

/**
 * launch_watch_create - @plan and @proc ("/proc") are kept by reference
 * @first_rank: the number that words give to the plan's rank 0
 *
 * Return: NULL when there is no memory.
 */
struct launch_watch *launch_watch_create(const struct shmrt_plan *plan, size_t first_rank,
                                         const char *proc,
                                         const struct launch_watch_listener *listener);

/** A rank's process has started, perhaps again. */
void launch_watch_rank_started(struct launch_watch *watch, int rank, pid_t pid, int64_t now_ns);

void launch_watch_rank_ended(struct launch_watch *watch, int rank);

/** Glance at the ranks, and look where it is time. Return: when to call it again, in ns. */
int64_t launch_watch_step(struct launch_watch *watch, int64_t now_ns);

/** All ranks have ended: name those that were never looked at. */
void launch_watch_end(struct launch_watch *watch);

void launch_watch_destroy(struct launch_watch *watch);

#endif
