/* SPDX-License-Identifier: Apache-2.0 */
/* contenders.c - who takes turns: ours, the floors, the peers. */
#include "bench.h"

#include <string.h>

struct bench_task bench_task_of(const struct bench_options *options, size_t bytes)
{
    uint32_t c = options->collective;
    bool can = c == BENCH_ALLREDUCE || c == BENCH_REDUCE;
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

static const struct bench_contender own_contenders[] = {
    {"shmrt", BENCH_LIBRARY, true, bench_ours_run, NULL, bench_ours_verify, -1},
    {"memcpy", BENCH_FLOOR, true, bench_memcpy_run, NULL, bench_memcpy_verify, -1},
    {"roundtrip", BENCH_FLOOR, false, bench_roundtrip_run, NULL, NULL, -1},
    {"remote_read", BENCH_FLOOR, true, bench_remote_read_run, bench_remote_read_prepare,
     bench_remote_read_verify, -1},
    {"remote_write", BENCH_FLOOR, true, bench_remote_write_run, bench_remote_write_prepare,
     bench_remote_write_verify, -1},
    {"forkjoin", BENCH_FLOOR, false, bench_forkjoin_run, NULL, bench_forkjoin_verify, -1},
};

static bool takes_part(const struct bench_options *options, const struct bench_contender *c)
{
    if (c->kind != BENCH_FLOOR)
        return true;
    if (c->by_size && options->collective == BENCH_BARRIER)
        return false; /* a barrier moves nothing */
    bool is_alone = options->ranks == 1;
    return !is_alone || c->run == bench_memcpy_run || c->run == bench_forkjoin_run;
}

int bench_list_contenders(const struct bench_options *options, struct bench_contender *out)
{
    int n = 0;
    for (size_t i = 0; i < sizeof own_contenders / sizeof own_contenders[0]; i++)
        if (takes_part(options, &own_contenders[i]))
            out[n++] = own_contenders[i];
    for (int p = 0; p < options->peers; p++) {
        struct bench_contender *c = &out[n++];
        *c = (struct bench_contender){.kind = BENCH_PEER, .by_size = true, .peer = p};
        memcpy(c->name, options->peer[p].name, sizeof c->name);
    }
    return n;
}
