/* SPDX-License-Identifier: Apache-2.0 */
/* kills_plan.c - what a job does and when its victim dies, drawn from a seed. */
#include "kills.h"

#include "calls.h"

#include <stdio.h>

/* The deadline of meetings is short, for those to which the victim does not come. */
static const char *const settings[][KILLS_MOST_SETTINGS] = {
    {NULL},
    {"segment=1M", "pool=8M", NULL},
    {"chunk=64", "oneshot_max=0", "segment=256K", "pool=4M", "lanes=1", NULL},
    {"chunk=256", "oneshot_max=1K", "segment=512K", "pool=4M", "lanes=3", NULL},
    {"spin=0", "yield=0", "segment=1M", "pool=8M", "lanes=2", NULL},
};
static const size_t most_elements[] = {60000, 30000, 1500, 3000, 20000};
enum { SETTINGS = sizeof settings / sizeof settings[0] };

static const char meeting_deadline[] = "rendezvous_timeout=4";
/* Of jobs whose victim is stopped. Longer than the other one: who waits for a rank that is in a
 * part's meeting would else blame that rank, and not the one for which it waits there. */
static const char call_deadline[] = "timeout=6";

static void choose_settings(struct kills_plan *plan, uint64_t *state)
{
    size_t which = next_random(state) % SETTINGS, n = 0;
    plan->most = most_elements[which];
    for (; settings[which][n]; n++)
        plan->settings[n] = settings[which][n];
    plan->settings[n++] = meeting_deadline;
    if (plan->stops)
        plan->settings[n++] = call_deadline;
    if (plan->size < 3 || next_random(state) % 3)
        return;
    int first = 1 + (int)(next_random(state) % (uint64_t)(plan->size - 1));
    snprintf(plan->groups, sizeof plan->groups, "groups=0-%d/%d-%d", first - 1, first,
             plan->size - 1);
    plan->settings[n++] = plan->groups;
    plan->settings[n++] = "hierarchy_min=0";
}

static enum kills_kind random_kind(uint64_t *state)
{
    static const enum kills_kind kinds[] = {
        KILLS_CALL, KILLS_CALL, KILLS_CALL,     KILLS_CALL, KILLS_CALL,  KILLS_CALL,
        KILLS_NORM, KILLS_CALL, KILLS_REQUESTS, KILLS_CALL, KILLS_SPLIT, KILLS_COMPUTE,
        KILLS_CALL, KILLS_CALL, KILLS_REQUESTS, KILLS_CALL, KILLS_CALL,  KILLS_RECREATE};
    return kinds[next_random(state) % (sizeof kinds / sizeof kinds[0])];
}

static void add(struct kills_plan *plan, enum kills_kind kind, uint64_t *state)
{
    uint64_t x = next_random(state);
    plan->steps[plan->steps_n++] =
        (struct kills_step){.kind = kind, .on_part = x % 3 == 0, .seed = x >> 8};
}

/* 1 us to @most us: each power of two is as likely as the next. */
static int64_t random_time_ns(uint64_t *state, int most_power)
{
    uint64_t x = next_random(state);
    int64_t us = INT64_C(1) << x % (uint64_t)most_power;
    return us * 1000 + (int64_t)((x >> 8) % (uint64_t)us) * 1000;
}

/* The ends of a job are a few of its steps; they are chosen as often as all the others. */
static int random_kill_step(const struct kills_plan *plan, uint64_t *state)
{
    switch (next_random(state) % 12) {
    case 0:
    case 1:
        return 1; /* the first meeting */
    case 2:
        return next_random(state) % 4 ? plan->steps_n - 2 : 0; /* destroy; before the meeting */
    case 3:
        return plan->steps_n - 3; /* the last barrier, and into destroy */
    default:
        return 2 + (int)(next_random(state) % (uint64_t)(plan->steps_n - 3));
    }
}

void kills_plan_make(struct kills_plan *plan, uint64_t seed, int fewest, int most, bool stops)
{
    uint64_t state = seed;
    next_random(&state);
    *plan = (struct kills_plan){.seed = seed, .stops = stops};
    plan->size = fewest + (int)(next_random(&state) % (uint64_t)(most - fewest + 1));
    plan->victim = (int)(next_random(&state) % (uint64_t)plan->size);
    choose_settings(plan, &state);
    add(plan, KILLS_BEFORE, &state);
    add(plan, KILLS_CREATE, &state);
    int calls = 4 + (int)(next_random(&state) % (KILLS_MOST_STEPS - 10));
    for (int i = 0; i < calls; i++)
        add(plan, random_kind(&state), &state);
    add(plan, KILLS_LAST, &state);
    add(plan, KILLS_DESTROY, &state);
    add(plan, KILLS_AFTER, &state);
    plan->kill_step = random_kill_step(plan, &state);
    bool meets = plan->steps[plan->kill_step].kind == KILLS_CREATE;
    plan->kill_after_ns = random_time_ns(&state, meets ? 15 : 12);
}
