/* SPDX-License-Identifier: Apache-2.0 */
/* comm_report.c - where a rank runs and where its shared memory is, asked of the kernel. */
#include "comm.h"
#include "comm_who.h"

#include "base/affinity.h"
#include "shm/bind.h"
#include "shm/proof.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What shmrt_comm_verify() tells, and its words need more. */
struct placement {
    struct shmrt_proof segment, pool;
    struct shmrt_nodeset nodes, cpu_nodes_then, cpu_nodes;
    bool moved;
};

static size_t taken_bytes(const struct shmrt_pool *pool)
{
    return atomic_load_explicit(&pool->taken_bytes, memory_order_relaxed);
}

static void look(const struct shmrt_comm *comm, struct placement *out)
{
    const struct shmrt_segment *segment = &comm->segments[comm->group.sync.rank];
    const struct shmrt_pool *pool = comm->pools[comm->group.sync.rank];
    *out = (struct placement){.nodes = segment->nodes, .cpu_nodes_then = segment->cpu_nodes};
    bool is_known =
        shmrt_bind_own_nodes(&out->cpu_nodes) == 0 && !shmrt_nodeset_is_empty(&segment->cpu_nodes);
    out->moved =
        is_known && memcmp(&out->cpu_nodes, &segment->cpu_nodes, sizeof out->cpu_nodes) != 0;
    shmrt_proof_count(&segment->file, segment->file.bytes, &segment->nodes, &out->segment);
    shmrt_proof_count(&pool->file, taken_bytes(pool), &segment->nodes, &out->pool);
}

int shmrt_comm_verify(struct shmrt_comm *comm, struct shmrt_placement_proof *out)
{
    struct placement placement;
    *out = (struct shmrt_placement_proof){0};
    if (shmrt_comm_is_forked(comm))
        return shmrt_comm_check(comm);
    look(comm, &placement);
    *out = (struct shmrt_placement_proof){
        .segment = placement.segment.pages,
        .pool = placement.pool.pages,
        .nodes = placement.nodes.words[0],
        .cpu_nodes = placement.cpu_nodes.words[0],
        .moved = placement.moved,
    };
    return placement.segment.code ? placement.segment.code : placement.pool.code;
}

struct text {
    char *buffer;
    size_t bytes;
    size_t length;
};

static void add(struct text *text, const char *format, ...) SHMRT_PRINTF(2, 3);

static void add(struct text *text, const char *format, ...)
{
    bool has_room = text->length < text->bytes;
    va_list args;
    va_start(args, format);
    int length = vsnprintf(has_room ? text->buffer + text->length : NULL,
                           has_room ? text->bytes - text->length : 0, format, args);
    va_end(args);
    text->length += length > 0 ? (size_t)length : 0;
}

/* "4 KiB", "2 MiB": sizes of pages are whole ones. */
static void add_page_size(struct text *text, size_t bytes)
{
    if (bytes >= 1 << 20)
        add(text, "%zu MiB", bytes >> 20);
    else
        add(text, "%zu KiB", bytes >> 10);
}

static double mib(size_t bytes)
{
    return (double)bytes / (1 << 20);
}

static void add_cpus(struct text *text)
{
    struct shmrt_cpus own;
    char list[512];
    if (shmrt_own_cpus(&own)) {
        add(text, "?");
        return;
    }
    shmrt_list_format_cut(own.words, SHMRT_CPUS_MOST, list, sizeof list);
    add(text, "%s", list);
}

static void add_nodes(struct text *text, const char *before, const struct shmrt_nodeset *nodes)
{
    if (!shmrt_nodeset_is_empty(nodes))
        add(text, "%s%s", before, shmrt_nodeset_text(nodes).text);
}

static void add_pages(struct text *text, const struct shmrt_proof *proof,
                      const struct shmrt_nodeset *nodes)
{
    const struct shmrt_pages_proof *pages = &proof->pages;
    bool is_known = pages->pages_unknown < pages->pages && !shmrt_nodeset_is_empty(nodes);
    if (is_known)
        add(text, "%zu of ", pages->pages_on_node);
    add(text, "%zu page%s of ", pages->pages, pages->pages == 1 ? "" : "s");
    add_page_size(text, pages->page_bytes);
    if (is_known)
        add_nodes(text, " on NUMA node ", nodes);
    for (size_t i = 0; i < proof->elsewhere_count; i++)
        add(text, ", %zu on node %d", proof->elsewhere[i].pages, proof->elsewhere[i].node);
    if (is_known && pages->pages_unknown)
        add(text, ", %zu unknown", pages->pages_unknown);
    if (pages->pages)
        add(text, pages->bound ? ", bound" : ", by first touch");
    if (pages->huge_bytes && pages->huge_bytes < pages->pages * pages->page_bytes)
        add(text, ", %.1f MiB of it in huge pages", mib(pages->huge_bytes));
    else if (pages->huge_bytes && pages->page_bytes < 1 << 20)
        add(text, ", all of it in huge pages");
    if (proof->code)
        add(text, "; the kernel does not say where (%s)", strerror(-proof->code));
}

static void add_pool(struct text *text, struct shmrt_comm *comm, const struct placement *placement)
{
    struct shmrt_pool_stats stats;
    shmrt_comm_pool_stats(comm, &stats);
    if (stats.limit_bytes == 0) {
        add(text, "  pool      off\n");
        return;
    }
    add(text, "  pool      ");
    if (stats.taken_bytes)
        add_pages(text, &placement->pool, &placement->nodes);
    else
        add(text, "nothing of it taken yet");
    add(text,
        "; %.1f MiB used, %.1f MiB at most, %.1f MiB taken from the system, %.1f MiB allowed\n",
        mib(stats.used_bytes), mib(stats.peak_bytes), mib(stats.taken_bytes),
        mib(stats.limit_bytes));
}

static void add_moved(struct text *text, const struct placement *placement)
{
    if (!placement->moved)
        return;
    add(text, "  moved     since it took its shared memory: from ");
    add_nodes(text, "NUMA node ", &placement->cpu_nodes_then);
    add_nodes(text, " to ", &placement->cpu_nodes);
    add(text, "; memory does not follow by itself, and is where these lines say. Bind ranks before "
              "they start, or make the communicator again\n");
}

/* "0-3 | 4-7", and what that means for sums; nothing where all ranks are near each other. */
static void add_groups(struct text *text, const struct shmrt_group *group)
{
    const struct shmrt_order *order = &group->order;
    if (order->groups < 2)
        return;
    for (int g = 0; g < order->groups; g++) {
        uint64_t ranks = 0;
        char list[256];
        for (int place = order->begin[g]; place < order->begin[g + 1]; place++)
            ranks |= UINT64_C(1) << order->rank_at[place];
        shmrt_list_format(&ranks, SHMRT_MAX_RANKS, list, sizeof list);
        add(text, "%s%s", g ? " | " : "  groups    ranks ", list);
    }
    add(text, group->sum_order.groups > 1 ? "; sums go group by group\n"
                                          : "; sums go in the order of ranks\n");
}

/* Who is where. Alone there is nobody to wait for, and nothing is recorded. */
static void add_ranks(struct text *text, const struct shmrt_comm *comm)
{
    char where[512]; /* cut where it is longer */
    for (int r = 0; r < comm->group.sync.size && comm->group.sync.size > 1; r++) {
        shmrt_who_describe(comm, r, where, sizeof where);
        add(text, "  rank %-4d %s\n", r, where);
    }
}

size_t shmrt_comm_report(struct shmrt_comm *comm, char *buffer, size_t bytes)
{
    struct text text = {buffer, bytes, 0};
    struct placement placement;
    char host[256] = "?", tuning[512];
    if (bytes)
        buffer[0] = '\0';
    if (shmrt_comm_is_forked(comm))
        return 0;
    look(comm, &placement);
    gethostname(host, sizeof host - 1);
    shmrt_comm_tuning(comm, tuning, sizeof tuning);
    add(&text, "rank %d of %d  pid %d on %s\n", shmrt_comm_rank(comm), shmrt_comm_size(comm),
        (int)getpid(), host);
    add(&text, "  runs on   CPUs ");
    add_cpus(&text);
    add_nodes(&text, " of NUMA node ", &placement.cpu_nodes);
    add(&text, ", %d lane(s), kernel %s\n", shmrt_comm_lanes(comm), shmrt_comm_kernel(comm));
    add(&text, "  segment   ");
    add_pages(&text, &placement.segment, &placement.nodes);
    add(&text, "\n");
    add_pool(&text, comm, &placement);
    add_moved(&text, &placement);
    add_groups(&text, &comm->group);
    add(&text, "  tuning    %s\n", tuning);
    add_ranks(&text, comm);
    return text.length;
}
