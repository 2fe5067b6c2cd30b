/* SPDX-License-Identifier: Apache-2.0 */
/*
 * twoshot.c - larger vectors: reduce-scatter, then all-gather, in rounds that stay in cache.
 *
 * In round t each rank writes its terms of the others' parts into its ring (scatter), reduces its
 * own part from the others' rings and its private input, writes the result to the ring (reduce),
 * and copies the others' results out (gather). A lane runs scatter(t), reduce(t-1), gather(t-2),
 * so that what it waits for was posted about a step ago. There is no barrier.
 *
 * A ring slot is written again SHMRT_RING_SLOTS rounds later, without asking:
 *  - scatter(t) overwrites round t-4, whose readers are the peers' reduce(t-4). This lane has done
 *    gather(t-3), for which every peer had posted its reduce(t-3).
 *  - reduce(t) overwrites the result of t-4, whose readers are the peers' gather(t-4). This lane
 *    has waited for every peer's scatter(t), which comes after its gather(t-3).
 * Rounds are numbered on from call to call, so the same holds across calls. docs/protocol.md has
 * the table; three slots would do.
 */
#include "group.h"

#include "slices.h"
#include "team/team.h"

#include <string.h>

struct twoshot {
    struct shmrt_group *group;
    const struct shmrt_reduction *reduction;
    struct shmrt_call_context context;
    int lanes; /* in use; the others' rings and round numbers stay as they are */
};

/* One lane's view of the call. */
struct lane {
    const struct twoshot *call;
    struct shmrt_group *group;
    int lane;
    struct shmrt_rounds rounds;
    uint64_t first; /* number of the call's first round */
};

static size_t offset_bytes(const struct lane *l, struct shmrt_slice part)
{
    return part.begin * l->call->reduction->element_bytes;
}

static size_t part_bytes(const struct lane *l, struct shmrt_slice part)
{
    return part.count * l->call->reduction->element_bytes;
}

static struct shmrt_lane_flags *flags_of(const struct lane *l, int rank)
{
    return shmrt_flags_at(&l->group->layout, l->group->base[rank], l->lane);
}

static int wait_for(const struct lane *l, int peer, const _Atomic uint64_t *flag, uint64_t value)
{
    struct shmrt_wait wait = {
        .flag = flag, .value = value, .peer = peer, .lane = l->lane, .context = &l->call->context};
    return shmrt_wait(&l->group->sync, &wait);
}

static void scatter(const struct lane *l, uint64_t t)
{
    struct shmrt_group *g = l->group;
    int own = g->sync.rank;
    for (int r = 0; r < g->sync.size; r++) {
        struct shmrt_slice part = shmrt_slice_part(&l->rounds, t, r);
        if (r != own)
            memcpy(shmrt_scatter_at(&g->layout, g->base[own], l->lane, l->first + t, r),
                   l->call->reduction->in + offset_bytes(l, part), part_bytes(l, part));
    }
    shmrt_post(&g->sync, &flags_of(l, own)->scattered, l->first + t + 1, l->lane);
}

static int reduce(const struct lane *l, uint64_t t)
{
    struct shmrt_group *g = l->group;
    const struct shmrt_reduction *reduction = l->call->reduction;
    int own = g->sync.rank;
    struct shmrt_slice part = shmrt_slice_part(&l->rounds, t, own);
    const void *terms[SHMRT_MAX_RANKS];
    for (int r = 0; r < g->sync.size; r++) {
        terms[r] = reduction->in + offset_bytes(l, part);
        if (r == own)
            continue;
        int rc = wait_for(l, r, &flags_of(l, r)->scattered, l->first + t + 1);
        if (rc)
            return rc;
        terms[r] = shmrt_scatter_at(&g->layout, g->base[r], l->lane, l->first + t, own);
    }
    char *out = reduction->out + offset_bytes(l, part);
    shmrt_kernels_reduce(&g->kernels, reduction->dtype, reduction->op, out, terms, g->sync.size,
                         part.count);
    memcpy(shmrt_gather_at(&g->layout, g->base[own], l->lane, l->first + t), out,
           part_bytes(l, part));
    shmrt_post(&g->sync, &flags_of(l, own)->gathered, l->first + t + 1, l->lane);
    return 0;
}

static int gather(const struct lane *l, uint64_t t)
{
    struct shmrt_group *g = l->group;
    for (int r = 0; r < g->sync.size; r++) {
        if (r == g->sync.rank)
            continue;
        int rc = wait_for(l, r, &flags_of(l, r)->gathered, l->first + t + 1);
        if (rc)
            return rc;
        struct shmrt_slice part = shmrt_slice_part(&l->rounds, t, r);
        memcpy(l->call->reduction->out + offset_bytes(l, part),
               shmrt_gather_at(&g->layout, g->base[r], l->lane, l->first + t), part_bytes(l, part));
    }
    return 0;
}

/* A failure is recorded by shmrt_fail; the caller asks for it after all lanes are back. */
static void run_lane(int lane, void *arg)
{
    const struct twoshot *call = arg;
    struct shmrt_group *g = call->group;
    const struct shmrt_reduction *reduction = call->reduction;
    struct lane l = {.call = call,
                     .group = g,
                     .lane = lane,
                     .rounds =
                         shmrt_slice_rounds(reduction->count, reduction->element_bytes,
                                            g->sync.size, call->lanes, lane, g->layout.chunk_bytes),
                     .first = g->rounds[lane]};
    uint64_t rounds = l.rounds.rounds;
    int rc = 0;
    for (uint64_t t = 0; t < rounds + 2 && rounds > 0 && rc == 0; t++) {
        if (t < rounds)
            scatter(&l, t);
        if (t == 0)
            rc = shmrt_call_check_all(g, &call->context, lane);
        if (rc == 0 && t >= 1 && t - 1 < rounds)
            rc = reduce(&l, t - 1);
        if (rc == 0 && t >= 2)
            rc = gather(&l, t - 2);
    }
    g->rounds[lane] += rounds;
}

int shmrt_twoshot_allreduce(struct shmrt_group *group, const struct shmrt_reduction *reduction)
{
    size_t bytes = reduction->count * reduction->element_bytes;
    struct twoshot work = {.group = group,
                           .reduction = reduction,
                           .context = shmrt_call_begin(group, shmrt_call_of(reduction), NULL, 0),
                           .lanes = shmrt_slice_lanes(bytes, group->sync.lanes)};
    shmrt_team_run(work.lanes, run_lane, &work);
    struct shmrt_error error;
    return shmrt_has_failed(&group->sync, &error) ? error.code : 0;
}
