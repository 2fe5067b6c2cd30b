/* SPDX-License-Identifier: Apache-2.0 */
/* plan_text.c - renders plans for comparison; everything that a plan says is in it. */
#include "plan_text.h"

#include <stdio.h>
#include <stdlib.h>

static void put_set(FILE *out, const char *before, const struct shmrt_bitmap *set)
{
    char text[1024];
    if (shmrt_bitmap_format(set, text, sizeof text) > 0)
        fprintf(out, "%s%s", before, text);
}

static void put_home(FILE *out, const char *what, size_t home, const struct shmrt_bitmap *all)
{
    fprintf(out, "  %s %zu", what, home);
    if (shmrt_bitmap_count(all) == 1)
        return;
    put_set(out, " (of ", all);
    fprintf(out, ")");
}

static void put_memory(FILE *out, const struct shmrt_plan_rank *rank)
{
    static const char *const policies[] = {
        [SHMRT_MEMORY_BIND] = "",
        [SHMRT_MEMORY_LOCAL] = " local",
        [SHMRT_MEMORY_PREFER] = " prefer",
        [SHMRT_MEMORY_INTERLEAVE] = " interleave",
    };
    fprintf(out, "  memory%s", policies[rank->memory]);
    put_set(out, " ", &rank->memory_nodes);
}

static void put_rank(FILE *out, size_t index, const struct shmrt_plan_rank *rank)
{
    fprintf(out, "%zu", index);
    put_home(out, "package", rank->package, &rank->packages);
    put_home(out, "node", rank->node, &rank->nodes);
    put_set(out, "  cores ", &rank->cores);
    put_set(out, "  cpus ", &rank->cpus);
    put_memory(out, rank);
    fprintf(out, "  threads %zu", rank->threads);
    put_set(out, " reserved ", &rank->reserved);
    fprintf(out, "  segment %zu  groups %zu/%zu\n", rank->segment_node, rank->node_group,
            rank->package_group);
}

char *plan_text(const struct shmrt_machine *machine, const struct shmrt_placement_request *request)
{
    char *text = NULL;
    size_t bytes = 0;
    struct shmrt_plan *plan = NULL;
    struct shmrt_error error;
    FILE *out = open_memstream(&text, &bytes);
    if (!out)
        return NULL;
    if (shmrt_plan_create(machine, request, &plan, &error)) {
        fprintf(out, "refused: %s\n", error.text);
    } else {
        for (size_t i = 0; i < plan->rank_count; i++)
            put_rank(out, i, &plan->ranks[i]);
        for (size_t i = 0; i < plan->warning_count; i++)
            fprintf(out, "note: %s\n", plan->warnings[i]);
    }
    shmrt_plan_destroy(plan);
    fclose(out);
    return text;
}
