/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place.c - decides which cores each rank gets, and refuses what does not fit with what would.
 *
 * All cores stand in one row, in the machine's order of nearness; a rank's cores are always a slice
 * of it. So neighbouring ranks are near, and each place (package, node, L3) is a slice too.
 */
#include "place.h"

#include "base/error.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *place_name(enum shmrt_place place, bool plural)
{
    static const char *const names[][2] = {
        [SHMRT_PLACE_SPREAD] = {"machine", "machines"},
        [SHMRT_PLACE_PACKAGE] = {"socket", "sockets"},
        [SHMRT_PLACE_NODE] = {"NUMA node", "NUMA nodes"},
        [SHMRT_PLACE_L3] = {"L3 cache", "L3 caches"},
        [SHMRT_PLACE_CORE] = {"core", "cores"},
    };
    return names[place][plural];
}

/* Whether a place of that kind begins with this core. */
static bool begins_place(const struct shmrt_row *row, enum shmrt_place place, size_t core)
{
    static const enum shmrt_border least[] = {
        [SHMRT_PLACE_PACKAGE] = SHMRT_BORDER_PACKAGE,
        [SHMRT_PLACE_NODE] = SHMRT_BORDER_NODE,
        [SHMRT_PLACE_L3] = SHMRT_BORDER_L3,
        [SHMRT_PLACE_CORE] = SHMRT_BORDER_NONE,
    };
    return core == 0 || row->borders[core] >= least[place];
}

static size_t count_places(const struct shmrt_row *row, enum shmrt_place place)
{
    size_t count = 0;
    for (size_t core = 0; core < row->count; core++)
        count += begins_place(row, place, core);
    return count;
}

/* The place number @wanted of that kind, whole. */
static struct shmrt_slice find_place(const struct shmrt_row *row, enum shmrt_place place,
                                     size_t wanted)
{
    struct shmrt_slice slice = {0};
    for (size_t core = 0, seen = 0; core < row->count; core++) {
        if (!begins_place(row, place, core))
            continue;
        if (seen++ == wanted)
            slice.begin = core;
        else if (seen == wanted + 2)
            return (struct shmrt_slice){.begin = slice.begin, .end = core};
    }
    slice.end = row->count;
    return slice;
}

/* Equal shares: a rank with many more cores than another would only wait for it. */
static void trim_places(const struct shmrt_placement_request *request, struct shmrt_places *places)
{
    size_t narrowest = SIZE_MAX;
    for (size_t i = 0; i < places->ranks; i++) {
        size_t width = places->slices[i].end - places->slices[i].begin;
        narrowest = width < narrowest ? width : narrowest;
    }
    size_t widest = request->cores_per_rank ? request->cores_per_rank : narrowest + 1;
    for (size_t i = 0; i < places->ranks; i++) {
        struct shmrt_slice *slice = &places->slices[i];
        if (slice->end - slice->begin <= widest)
            continue;
        if (!request->cores_per_rank)
            places->trimmed_cores += slice->end - slice->begin - widest;
        slice->end = slice->begin + widest;
    }
}

static int place_per(const struct shmrt_row *row, const struct shmrt_placement_request *request,
                     struct shmrt_places *places, struct shmrt_error *error_out)
{
    enum shmrt_place per = request->per;
    size_t count = count_places(row, per);
    places->ranks = request->ranks ? request->ranks : count;
    if (places->ranks > SHMRT_MAX_RANKS)
        return shmrt_error_set(error_out, -EINVAL,
                               "one rank for each of %zu %s is more than the limit of %d ranks; "
                               "choose a larger place, or fewer ranks",
                               count, place_name(per, true), SHMRT_MAX_RANKS);
    if (places->ranks > count)
        return shmrt_error_set(
            error_out, -EINVAL,
            "%zu ranks with a %s each need %zu %s, and %zu can be used here; ask "
            "for %zu, or for an even spread over all cores",
            places->ranks, place_name(per, false), places->ranks, place_name(per, true), count,
            count);
    for (size_t i = 0; i < places->ranks; i++) {
        places->slices[i] = find_place(row, per, i * count / places->ranks);
        size_t width = places->slices[i].end - places->slices[i].begin;
        if (width < request->cores_per_rank)
            return shmrt_error_set(
                error_out, -EINVAL, "%zu cores a rank do not fit: %s %zu has %zu",
                request->cores_per_rank, place_name(per, false), i * count / places->ranks, width);
    }
    trim_places(request, places);
    return 0;
}

/* Of the cores from @begin to @end, the one that another rank disturbs least: one with a CPU to
 * spare, then one with fewer ranks, then the first. */
static size_t least_shared(const struct shmrt_row *row, size_t threads_per_core,
                           const size_t *ranks_of, size_t begin, size_t end)
{
    size_t best = begin;
    bool best_is_full = true;
    for (size_t core = begin; core < end; core++) {
        size_t cpus = row->cores[core].cpu_count;
        if (threads_per_core && threads_per_core < cpus)
            cpus = threads_per_core;
        bool is_full = ranks_of[core] >= cpus;
        if (is_full < best_is_full ||
            (is_full == best_is_full && ranks_of[core] < ranks_of[best])) {
            best = core;
            best_is_full = is_full;
        }
    }
    return best;
}

/* Each node gets the ranks of its part of the row; within a node they share its cores. */
static void place_shared(const struct shmrt_row *row, const struct shmrt_placement_request *request,
                         struct shmrt_places *places)
{
    size_t ranks_of[SHMRT_MAX_RANKS] = {0}; /* there are fewer cores than ranks */
    places->shared = true;
    for (size_t rank = 0; rank < places->ranks; rank++) {
        size_t begin = rank * row->count / places->ranks, end = begin + 1;
        while (begin > 0 && row->borders[begin] < SHMRT_BORDER_NODE)
            begin--;
        while (end < row->count && row->borders[end] < SHMRT_BORDER_NODE)
            end++;
        size_t core = least_shared(row, request->threads_per_core, ranks_of, begin, end);
        ranks_of[core]++;
        places->slices[rank] = (struct shmrt_slice){.begin = core, .end = core + 1};
    }
}

static int place_spread(const struct shmrt_row *row, const struct shmrt_placement_request *request,
                        struct shmrt_places *places, struct shmrt_error *error_out)
{
    size_t share = row->count / request->ranks;
    places->ranks = request->ranks;
    if (request->cores_per_rank > share)
        return shmrt_error_set(error_out, -EINVAL,
                               "%zu ranks of %zu core%s need %zu cores, and %zu can be used here; "
                               "ask for %s%zu %s",
                               request->ranks, request->cores_per_rank,
                               request->cores_per_rank == 1 ? "" : "s",
                               request->ranks * request->cores_per_rank, row->count,
                               share ? "at most " : "", share ? share : row->count,
                               share > 1        ? "cores a rank"
                               : share == 1     ? "core a rank"
                               : row->count > 1 ? "ranks or fewer"
                                                : "rank");
    if (share == 0) {
        place_shared(row, request, places);
        return 0;
    }
    struct shmrt_split split = {
        .borders = row->borders,
        .cores = row->count,
        .ranks = request->ranks,
        .narrowest = share,
        .widest = share + (row->count % request->ranks != 0),
    };
    if (request->cores_per_rank) {
        split.narrowest = split.widest = request->cores_per_rank;
        split.gaps = true;
    }
    if (shmrt_split_cores(&split, places->slices))
        return shmrt_error_set(error_out, -ENOMEM, "no memory to share out %zu cores", row->count);
    return 0;
}

static int check_request(const struct shmrt_row *row, const struct shmrt_placement_request *request,
                         struct shmrt_error *error_out)
{
    size_t siblings = 0;
    for (size_t core = 0; core < row->count; core++)
        if (row->cores[core].cpu_count > siblings)
            siblings = row->cores[core].cpu_count;
    if (request->ranks > SHMRT_MAX_RANKS)
        return shmrt_error_set(error_out, -EINVAL, "%zu ranks are more than the limit of %d",
                               request->ranks, SHMRT_MAX_RANKS);
    if (request->ranks == 0 && request->per == SHMRT_PLACE_SPREAD)
        return shmrt_error_set(error_out, -EINVAL,
                               "how many ranks? Give a number, or one rank for each socket, NUMA "
                               "node, L3 cache or core");
    if (request->threads_per_core > siblings)
        return shmrt_error_set(error_out, -EINVAL,
                               "%zu threads a core do not fit: a core has %zu CPU%s that can be "
                               "used here",
                               request->threads_per_core, siblings, siblings == 1 ? "" : "s");
    return 0;
}

static int check_reserve(const struct shmrt_placement_request *request,
                         const struct shmrt_places *places, struct shmrt_error *error_out)
{
    for (size_t i = 0; request->reserve && i < places->ranks; i++) {
        size_t width = places->slices[i].end - places->slices[i].begin;
        if (places->shared)
            return shmrt_error_set(error_out, -EINVAL,
                                   "no core can be reserved: %zu ranks have to share cores; ask "
                                   "for fewer ranks",
                                   places->ranks);
        if (width == 1)
            return shmrt_error_set(error_out, -EINVAL,
                                   "no core can be reserved: rank %zu has one only; ask for fewer "
                                   "ranks",
                                   i);
        if (width <= request->reserve)
            return shmrt_error_set(error_out, -EINVAL,
                                   "%zu reserved cores leave nothing of the %zu that rank %zu has; "
                                   "reserve at most %zu, or ask for fewer ranks",
                                   request->reserve, width, i, width - 1);
    }
    return 0;
}

/* Deals the slices out like cards: in each round every package gives one, as long as it has any. */
static void order_cyclic(const struct shmrt_row *row, struct shmrt_places *places)
{
    struct shmrt_slice dealt[SHMRT_MAX_RANKS];
    bool taken[SHMRT_MAX_RANKS] = {false};
    size_t homes[SHMRT_MAX_RANKS], packages = 0;
    for (size_t i = 0; i < places->ranks; i++) {
        size_t home = shmrt_row_home(row, places->slices[i], SHMRT_BORDER_PACKAGE);
        homes[i] = row->cores[home].package;
    }
    for (size_t i = 0; i < row->count; i++)
        if (row->cores[i].package >= packages)
            packages = row->cores[i].package + 1;
    for (size_t count = 0; count < places->ranks;)
        for (size_t package = 0; package < packages; package++) {
            size_t i = 0;
            while (i < places->ranks && (taken[i] || homes[i] != package))
                i++;
            if (i == places->ranks)
                continue;
            taken[i] = true;
            dealt[count++] = places->slices[i];
        }
    memcpy(places->slices, dealt, places->ranks * sizeof *dealt);
}

int shmrt_place_ranks(const struct shmrt_row *row, const struct shmrt_placement_request *request,
                      struct shmrt_places *places_out, struct shmrt_error *error_out)
{
    struct shmrt_places places = {0};
    int rc = check_request(row, request, error_out);
    if (rc == 0)
        rc = request->per == SHMRT_PLACE_SPREAD ? place_spread(row, request, &places, error_out)
                                                : place_per(row, request, &places, error_out);
    if (rc == 0 && request->order == SHMRT_ORDER_CYCLIC)
        order_cyclic(row, &places);
    if (rc == 0)
        rc = check_reserve(request, &places, error_out);
    if (rc == 0)
        *places_out = places;
    return rc;
}
