/* SPDX-License-Identifier: Apache-2.0 */
/*
 * comm_groups.c - which ranks are near each other: the groups of hierarchical collectives, and of
 * the order in which terms are combined.
 *
 * Each rank says in its hello which group it belongs to, so all come to the same groups. By default
 * that is its socket, if every rank runs on one only.
 */
#include "comm.h"

#include "shm/bind.h"
#include "topo/home.h"

#include <errno.h>
#include <string.h>

static int64_t own_node(void)
{
    struct shmrt_nodeset nodes;
    int64_t found = SHMRT_GROUP_UNKNOWN;
    if (shmrt_bind_own_nodes(&nodes))
        return SHMRT_GROUP_UNKNOWN;
    for (int node = 0; node < SHMRT_NODES_MAX; node++) {
        if (!shmrt_nodeset_has(&nodes, node))
            continue;
        if (found != SHMRT_GROUP_UNKNOWN)
            return SHMRT_GROUP_UNKNOWN;
        found = node;
    }
    return found;
}

/* Which of the lists that slashes part, such as 0-3/4-7, has @rank: one, or unknown; or -EINVAL. */
static int find_in_lists(const char *text, int rank, int64_t *group_out)
{
    char lists[SHMRT_GROUPS_BYTES];
    size_t first, last;
    *group_out = SHMRT_GROUP_UNKNOWN;
    strcpy(lists, text);
    char *next = lists;
    for (int group = 0; next; group++) {
        const char *at = strsep(&next, "/");
        if (!*at)
            return -EINVAL;
        while (at && *at) {
            at = shmrt_list_next(at, SHMRT_MAX_RANKS - 1, &first, &last);
            if (!at)
                return -EINVAL;
            if ((size_t)rank < first || last < (size_t)rank)
                continue;
            if (*group_out != SHMRT_GROUP_UNKNOWN) /* named twice */
                return -EINVAL;
            *group_out = group;
        }
    }
    return 0;
}

/* Who asks for groups by name gets them, or hears why not. */
static int check_known(const char *text, int64_t group, struct shmrt_error *error_out)
{
    if (group != SHMRT_GROUP_UNKNOWN || strcmp(text, "auto") == 0)
        return 0;
    return shmrt_error_set(
        error_out, -EINVAL,
        "SHMRT_GROUPS=%s, but the CPUs that this rank may run on are of several, "
        "or the kernel does not tell of which; pin each rank to one, or list the "
        "ranks, such as 0-3/4-7",
        text);
}

/* Looks for every rank, so that all ranks refuse a list that is wrong for one of them. */
static int find_for_all(const char *text, int rank, int size, int64_t *group_out,
                        struct shmrt_error *error_out)
{
    for (int r = 0; r < size; r++) {
        int64_t group;
        if (find_in_lists(text, r, &group))
            return shmrt_error_set(error_out, -EINVAL,
                                   "SHMRT_GROUPS=%s is not auto, one, socket, node, or lists of "
                                   "ranks up to %d, each named once, such as 0-3/4-7",
                                   text, SHMRT_MAX_RANKS - 1);
        if (group == SHMRT_GROUP_UNKNOWN)
            return shmrt_error_set(error_out, -EINVAL, "SHMRT_GROUPS=%s names no group for rank %d",
                                   text, r);
        if (r == rank)
            *group_out = group;
    }
    return 0;
}

int shmrt_groups_own(const struct shmrt_options *options, int rank, int size, int64_t *group_out,
                     struct shmrt_error *error_out)
{
    const char *text = options->groups;
    *group_out = options->parent_group;
    if (options->parent_group != SHMRT_GROUP_UNKNOWN)
        return 0;
    if (strcmp(text, "one") == 0) {
        *group_out = 0;
        return 0;
    }
    if (strcmp(text, "auto") == 0 || strcmp(text, "socket") == 0) {
        *group_out = shmrt_home_socket();
        return check_known(text, *group_out, error_out);
    }
    if (strcmp(text, "node") == 0) {
        *group_out = own_node();
        return check_known(text, *group_out, error_out);
    }
    return find_for_all(text, rank, size, group_out, error_out);
}

void shmrt_groups_set(struct shmrt_comm *comm, const struct shmrt_hello *mine)
{
    struct shmrt_group *group = &comm->group;
    int ids[SHMRT_MAX_RANKS] = {0};
    bool all_known = true, rank_order = false;
    for (int r = 0; r < mine->size; r++) {
        const struct shmrt_hello *hello = r == mine->rank ? mine : &comm->links[r].hello;
        ids[r] = (int)hello->group;
        all_known = all_known && hello->group != SHMRT_GROUP_UNKNOWN;
        rank_order = rank_order || hello->rank_order;
    }
    shmrt_order_make(&group->order, all_known ? ids : NULL, mine->size);
    /* Groups of one rank each make rank order too, and one group is less work for the kernels. */
    bool is_grouped = shmrt_order_has_levels(&group->order) && !rank_order;
    shmrt_order_make(&group->sum_order, is_grouped ? ids : NULL, mine->size);
}
