/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_peer.c - a library that takes part in a run of shm-bench, and may misbehave
 *
 * fake_peer RANKS MODE: forks its ranks, which sum floats through a page they share. Built by the
 * tests together with bench/{peer,meet,task}.c.
 */
#include "peer.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 1 << 16 };

struct library {
    const char *mode;
    int rank;
    int ranks;
    int calls;
    struct shared {
        struct bench_barrier barrier;
        float term[8][MOST];
    } *shared;
};

static int is(const struct library *l, const char *mode)
{
    return strcmp(l->mode, mode) == 0;
}

static void misbehave(struct library *l)
{
    if (is(l, "dies") && l->rank == 1 && l->calls > 20) {
        fprintf(stderr, "fake: out of luck\n----\n");
        _exit(7);
    }
    if (is(l, "hangs") && l->rank == 1 && l->calls > 20)
        pause();
}

static int run(void *arg, const struct bench_task *task, void *in, void *out, int calls)
{
    struct library *l = arg;
    struct bench_party all = {&l->shared->barrier, (uint32_t)l->ranks, NULL, NULL};
    if (task->collective != BENCH_ALLREDUCE || task->dtype != BENCH_FP32 || task->count > MOST)
        return -ENOTSUP;
    for (int c = 0; c < calls; c++, l->calls++) {
        misbehave(l);
        memcpy(l->shared->term[l->rank], in, task->count * sizeof(float));
        bench_meet(&all, BENCH_SPIN);
        float *to = out;
        for (size_t i = 0; i < task->count; i++) {
            to[i] = 0;
            for (int r = 0; r < l->ranks; r++)
                to[i] += l->shared->term[r][i];
        }
        if (is(l, "lies") && l->rank == 1)
            to[task->count - 1] += 1;
        bench_meet(&all, BENCH_SPIN);
    }
    return 0;
}

static int serve(struct library *l)
{
    struct bench_peer_ops ops = {.setting = "fake 1.0, \"quoted\"", .run = run, .arg = l};
    if (is(l, "mute"))
        pause();
    if (is(l, "stubborn"))
        signal(SIGTERM, SIG_IGN);
    if (is(l, "early")) {
        fprintf(stderr, "fake: no such fabric\n");
        return 5;
    }
    int rc = bench_peer_pin(NULL, l->rank);
    rc = rc ? rc : bench_peer_serve(NULL, l->rank, &ops);
    return rc ? 1 : 0;
}

int main(int argc, char **argv)
{
    struct library l = {.mode = argc > 2 ? argv[2] : "", .ranks = atoi(argv[1])};
    l.shared =
        mmap(NULL, sizeof *l.shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status = 0, one;
    for (l.rank = 0; l.rank < l.ranks; l.rank++)
        if (fork() == 0) {
            setsid(); /* as launchers do: out of every group that could be killed at once */
            _exit(serve(&l));
        }
    /* The first that fails ends the launcher, and leaves the others behind. */
    while (status == 0 && wait(&one) > 0)
        status = WEXITSTATUS(one);
    return status;
}
