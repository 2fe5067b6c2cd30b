/* SPDX-License-Identifier: Apache-2.0 */
/* contenders.c - who takes turns: ours, the floors, the peers. */
#include "bench.h"

#include <string.h>

struct bench_task bench_task_of(const struct bench_options *options, size_t bytes)
{
    uint32_t c = options->collective;
    bool can =
        c == BENCH_ALLREDUCE || c == BENCH_REDUCE || c == BENCH_ALLREDUCE_NORM || c == BENCH_CREATE;
    return (struct bench_task){
        .collective = c,
        .dtype = (uint32_t)options->dtype,
        .op = (uint32_t)options->op,
        .buffers = options->buffers,
        .in_place = c == BENCH_BROADCAST || (can && !options->out_of_place),
        .ranks = (uint32_t)options->ranks,
        .root = options->root,
        .count = bytes / shmrt_dtype_bytes(options->dtype),
    };
}

static const struct bench_contender ours[] = {
    {"shmrt", BENCH_LIBRARY, true, bench_ours_run, NULL, bench_ours_verify, -1, 0},
};

static const struct bench_contender norms[] = {
    {"shmrt", BENCH_LIBRARY, true, bench_norm_run, NULL, bench_norm_verify, -1, 0},
    {"shmrt_unfused", BENCH_LIBRARY, true, bench_unfused_run, NULL, bench_unfused_verify, -1, 0},
};

static const struct bench_contender creators[] = {
    {"shmrt", BENCH_LIBRARY, true, bench_create_run, bench_create_prepare, bench_create_verify, -1,
     0},
};

static const struct bench_contender floors[] = {
    {"memcpy", BENCH_FLOOR, true, bench_memcpy_run, NULL, bench_memcpy_verify, -1, 0},
    {"roundtrip", BENCH_FLOOR, false, bench_roundtrip_run, NULL, NULL, -1, 0},
    {"remote_read", BENCH_FLOOR, true, bench_remote_read_run, bench_remote_read_prepare,
     bench_remote_read_verify, -1, 0},
    {"remote_write", BENCH_FLOOR, true, bench_remote_write_run, bench_remote_write_prepare,
     bench_remote_write_verify, -1, 0},
    {"forkjoin", BENCH_FLOOR, false, bench_forkjoin_run, NULL, bench_forkjoin_verify, -1, 0},
};

static bool takes_part(const struct bench_options *options, const struct bench_contender *c)
{
    if (c->by_size && (options->collective == BENCH_BARRIER || options->collective == BENCH_CREATE))
        return false; /* a barrier moves nothing, and meeting is not made of moving */
    bool is_alone = options->ranks == 1;
    return !is_alone || c->run == bench_memcpy_run || c->run == bench_forkjoin_run;
}

#define LENGTH(array) (int)(sizeof(array) / sizeof(array)[0])

/* The library's, and each once more with shared buffers where both are asked for. */
static int list_ours(const struct bench_options *options, struct bench_contender *out)
{
    uint32_t c = options->collective;
    const struct bench_contender *from = c == BENCH_ALLREDUCE_NORM ? norms
                                         : c == BENCH_CREATE       ? creators
                                                                   : ours;
    int count = c == BENCH_ALLREDUCE_NORM ? LENGTH(norms) : 1, n = 0;
    for (int i = 0; i < count; i++)
        out[n++] = from[i];
    for (int i = 0; i < count && options->memory == BENCH_BOTH; i++) {
        out[n] = from[i];
        out[n].place = 1;
        snprintf(out[n].name, sizeof out[n].name, "%.20s_shared", from[i].name);
        n++;
    }
    return n;
}

void bench_choose(struct bench_rank *rank, int contender)
{
    const struct bench_place *place = &rank->place[rank->contenders[contender].place];
    rank->current = contender;
    rank->in = place->in;
    rank->out = place->out;
}

int bench_list_contenders(const struct bench_options *options, struct bench_contender *out)
{
    int n = list_ours(options, out);
    for (int i = 0; i < LENGTH(floors); i++)
        if (takes_part(options, &floors[i]))
            out[n++] = floors[i];
    for (int p = 0; p < options->peers; p++) {
        struct bench_contender *c = &out[n++];
        *c = (struct bench_contender){.kind = BENCH_PEER, .by_size = true, .peer = p};
        memcpy(c->name, options->peer[p].name, sizeof c->name);
    }
    return n;
}
