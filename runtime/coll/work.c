/* SPDX-License-Identifier: Apache-2.0 */
/*
 * work.c - chooses the way of a collective and drives it.
 *
 * What all ranks must choose alike follows from the call and the tuning, which are the same on all.
 * Only whether all tensors lie in pools has to be looked up first: a rank whose own do not knows
 * the answer, the others wait for all lines.
 */
#include "work.h"

#include "team/team.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    void (*prepare)(struct shmrt_lane *lane);
    shmrt_lane_step step;
} ways[] = {
    [SHMRT_WAY_EXCHANGE] = {shmrt_exchange_prepare, shmrt_exchange_step},
    [SHMRT_WAY_TWOSHOT] = {shmrt_twoshot_prepare, shmrt_twoshot_step},
    [SHMRT_WAY_DIRECT] = {shmrt_direct_prepare, shmrt_direct_step},
    [SHMRT_WAY_HIERARCHY] = {shmrt_hierarchy_prepare, shmrt_hierarchy_step},
};

/* Whether the ranks lie in groups that the terms may be combined by. */
static bool has_levels(const struct shmrt_work *w)
{
    const struct shmrt_group *g = w->group;
    bool any_order = !w->plan.combine || !shmrt_kernels_order_matters(w->coll.dtype, w->coll.op);
    return shmrt_hierarchy_can(w->coll.collective) && shmrt_order_has_levels(&g->order) &&
           (any_order || shmrt_order_has_levels(&g->sum_order));
}

static enum shmrt_way choose_way(const struct shmrt_work *w)
{
    const struct shmrt_tuning *tuning = &w->group->tuning;
    size_t element = w->coll.element_bytes;
    size_t payload = shmrt_plan_largest_payload(&w->plan);
    if (payload <= tuning->oneshot_max_bytes / element)
        return SHMRT_WAY_ONESHOT;
    if (has_levels(w) && shmrt_plan_vector(&w->plan) >= tuning->hierarchy_min_bytes / element)
        return SHMRT_WAY_HIERARCHY;
    bool two_passes = w->coll.collective == SHMRT_ALLREDUCE || w->coll.collective == SHMRT_REDUCE;
    if (!two_passes || w->coll.count <= tuning->exchange_max_bytes / element)
        return SHMRT_WAY_EXCHANGE;
    return SHMRT_WAY_TWOSHOT;
}

static struct shmrt_places find_places(const struct shmrt_work *w)
{
    const struct shmrt_coll *c = &w->coll;
    struct shmrt_places places = {SHMRT_NOWHERE, SHMRT_NOWHERE, shmrt_plan_longest(&w->plan)};
    int own = w->plan.rank;
    bool reduces = c->collective == SHMRT_ALLREDUCE || c->collective == SHMRT_REDUCE;
    if (shmrt_plan_writes(&w->plan, own) && shmrt_plan_is_transparent(&w->plan))
        places.in_at = shmrt_pool_locate(w->group->own_pool, c->in,
                                         shmrt_plan_payload(&w->plan, own) * c->element_bytes);
    if (reduces && shmrt_plan_reads(&w->plan, own))
        places.out_at = shmrt_pool_locate(w->group->own_pool, c->out, c->count * c->element_bytes);
    return places;
}

static bool is_direct(struct shmrt_places places)
{
    return places.in_at != SHMRT_NOWHERE && places.out_at != SHMRT_NOWHERE;
}

void shmrt_work_make(struct shmrt_work *w, struct shmrt_group *group, const struct shmrt_coll *coll)
{
    w->group = group;
    w->coll = *coll;
    shmrt_plan_make(&w->plan, &w->coll, group->sync.size, group->sync.rank);
    w->state = SHMRT_WORK_NEW;
    w->peer = 0;
    w->lane = 0;
    w->lanes = NULL;
    w->way = choose_way(w);
}

static void begin_oneshot(struct shmrt_work *w)
{
    struct shmrt_shown shown = shmrt_oneshot_shown(&w->plan);
    w->context = shmrt_call_begin(w->group, shmrt_call_of(w->group, &w->coll), &shown);
    w->oneshot =
        (struct shmrt_oneshot){.group = w->group, .plan = &w->plan, .context = &w->context};
    w->state = SHMRT_WORK_RUNNING;
}

static void begin_rounds(struct shmrt_work *w)
{
    struct shmrt_places places = find_places(w);
    for (int r = 0; r < w->plan.size; r++) /* of peers whose lines are not read */
        w->group->lanes[0].places[r].in_at = SHMRT_NOWHERE;
    struct shmrt_shown shown = {.places = &places};
    if (w->coll.out_counts) {
        shown.payload = w->coll.in_counts;
        shown.bytes = (size_t)w->plan.size * sizeof *w->coll.in_counts;
    }
    w->context = shmrt_call_begin(w->group, shmrt_call_of(w->group, &w->coll), &shown);
    w->call = (struct shmrt_round_call){.group = w->group,
                                        .plan = &w->plan,
                                        .context = w->context,
                                        .own = places,
                                        .longest = places.longest};
    w->state = SHMRT_WORK_ENTERED;
}

/* Whether the others' lines have to be read before anything is moved. */
static bool has_to_look(const struct shmrt_work *w)
{
    return w->coll.out_counts || (w->way != SHMRT_WAY_HIERARCHY && is_direct(w->call.own));
}

static int compare_counts(struct shmrt_work *w, int peer)
{
    const uint64_t *theirs = (const uint64_t *)(const void *)shmrt_call_slot(w->group, peer);
    uint64_t sent = theirs[w->plan.rank], expected = w->coll.out_counts[peer];
    if (sent == expected)
        return 0;
    char text[SHMRT_CALL_TEXT_BYTES];
    return shmrt_fail_after(
        &w->group->sync, -EPROTO, &w->context, 0,
        "the ranks disagree in %s: rank %d sends %llu elements to rank %d, which "
        "expects %llu",
        shmrt_call_describe(&w->context, text), peer, (unsigned long long)sent, w->plan.rank,
        (unsigned long long)expected);
}

/* Reads all lines: the longest block, and whether all tensors lie in pools. */
static int look(struct shmrt_work *w)
{
    bool all_direct = is_direct(w->call.own);
    struct shmrt_places *places = w->group->lanes[0].places;
    places[w->plan.rank] = w->call.own;
    for (; w->peer < w->plan.size; w->peer++) {
        if (w->peer == w->plan.rank)
            continue;
        int rc = shmrt_call_check(w->group, &w->context, w->peer, 0, &w->awaited);
        if (rc == 0)
            rc = shmrt_places_take(w->group, &w->plan, w->peer, &places[w->peer]);
        if (rc == 0 && w->coll.out_counts)
            rc = compare_counts(w, w->peer);
        if (rc)
            return rc;
    }
    for (int r = 0; r < w->plan.size; r++) {
        all_direct = all_direct && is_direct(places[r]);
        if (w->coll.out_counts && places[r].longest > w->call.longest)
            w->call.longest = places[r].longest;
    }
    if (all_direct)
        w->way = SHMRT_WAY_DIRECT;
    return 0;
}

/* Everything up to the first byte that is moved. */
static int enter(struct shmrt_work *w)
{
    int rc;
    if (w->state == SHMRT_WORK_NEW) {
        if ((rc = shmrt_call_may_begin(w->group, &w->peer, &w->awaited)) != 0)
            return rc;
        w->peer = 0;
        if (w->way == SHMRT_WAY_ONESHOT)
            begin_oneshot(w);
        else
            begin_rounds(w);
    }
    if (w->state == SHMRT_WORK_ENTERED) {
        if (has_to_look(w) && (rc = look(w)) != 0)
            return rc;
        w->call.lanes = shmrt_slice_lanes(w->call.longest * w->coll.element_bytes,
                                          w->group->tuning.lane_bytes, w->group->sync.lanes);
        w->state = SHMRT_WORK_RUNNING;
    }
    return 0;
}

static void prepare_lane(const struct shmrt_work *w, int number, struct shmrt_lane *lane)
{
    struct shmrt_lane_state *state = &w->group->lanes[number];
    *lane = (struct shmrt_lane){.call = &w->call,
                                .group = w->group,
                                .state = state,
                                .lane = number,
                                .first = state->rounds};
    ways[w->way].prepare(lane);
}

/* A failure is recorded by shmrt_fail; the caller asks for it after all lanes are back. */
static void run_lane(int number, void *arg)
{
    struct shmrt_work *w = arg;
    struct shmrt_lane own, *lane = w->lanes ? &w->lanes[number] : &own;
    int rc;
    if (!w->lanes)
        prepare_lane(w, number, lane);
    while ((rc = ways[w->way].step(lane)) == -EAGAIN)
        if ((rc = shmrt_await(&w->group->sync, &lane->awaited)) != 0)
            break;
    lane->state->rounds = lane->first + lane->rounds;
}

static void leave(struct shmrt_work *w)
{
    shmrt_record_end(&w->group->recorder, w->context.record);
    if (w->way != SHMRT_WAY_ONESHOT && shmrt_plan_is_symmetric(&w->plan))
        w->group->entered = w->group->epoch;
    w->state = SHMRT_WORK_OVER;
}

/* Rings and slots stay as they are when their owner gives up; its input does not. */
static int confirm(struct shmrt_work *w)
{
    const struct shmrt_places *places = w->group->lanes[0].places; /* other lanes know the same */
    for (int r = 0; w->way != SHMRT_WAY_ONESHOT && r < w->plan.size; r++)
        if (r != w->plan.rank && places[r].in_at != SHMRT_NOWHERE)
            return shmrt_confirm_reads(&w->group->sync, &w->context);
    return 0;
}

int shmrt_work_run(struct shmrt_work *w)
{
    struct shmrt_sync *sync = &w->group->sync;
    struct shmrt_error error;
    int rc;
    while ((rc = enter(w)) == -EAGAIN)
        if ((rc = shmrt_await(sync, &w->awaited)) != 0)
            break;
    if (rc)
        return rc;
    if (w->way == SHMRT_WAY_ONESHOT) {
        while ((rc = shmrt_oneshot_step(&w->oneshot, &w->awaited)) == -EAGAIN)
            if ((rc = shmrt_await(sync, &w->awaited)) != 0)
                break;
    } else {
        shmrt_team_run(w->call.lanes, sync->caller_only, run_lane, w);
        rc = shmrt_has_failed(sync, &error) ? error.code : confirm(w);
    }
    if (rc == 0)
        leave(w);
    return rc;
}

static int step_lanes(struct shmrt_work *w)
{
    if (!w->lanes) {
        size_t bytes = (size_t)w->call.lanes * sizeof *w->lanes;
        if (!(w->lanes = malloc(bytes)))
            return -ENOMEM;
        for (int i = 0; i < w->call.lanes; i++)
            prepare_lane(w, i, &w->lanes[i]);
    }
    for (; w->lane < w->call.lanes; w->lane++) {
        struct shmrt_lane *lane = &w->lanes[w->lane];
        int rc = ways[w->way].step(lane);
        w->awaited = lane->awaited;
        if (rc)
            return rc;
        lane->state->rounds = lane->first + lane->rounds;
    }
    return 0;
}

int shmrt_work_step(struct shmrt_work *w)
{
    int rc = enter(w);
    if (rc == 0)
        rc = w->way == SHMRT_WAY_ONESHOT ? shmrt_oneshot_step(&w->oneshot, &w->awaited)
                                         : step_lanes(w);
    if (rc == 0)
        rc = confirm(w);
    if (rc == 0)
        leave(w);
    return rc;
}

void shmrt_work_free(struct shmrt_work *w)
{
    free(w->lanes);
    w->lanes = NULL;
}

bool shmrt_work_was_shared(const struct shmrt_work *w)
{
    return w->way != SHMRT_WAY_ONESHOT &&
           (w->call.own.in_at != SHMRT_NOWHERE || w->call.own.out_at != SHMRT_NOWHERE);
}
