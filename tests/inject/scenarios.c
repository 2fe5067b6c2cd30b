/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scenarios.c - the lives of a communicator. Every result is checked; the first call that fails
 * ends a scenario, but where the communicator stays usable.
 */
#include "scenarios.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>

enum { SMALL = 16, MIDDLE = 40000, MOST = 3, BLOCK_BYTES = 3 << 20 };

/* Waits sleep at once; nobody waits so long that a run of many cases would stand still. */
#define USUAL "segment=512K", "pool=8M", "spin=0", "yield=0", "timeout=10", "tune=off"

static const char *const usual[] = {USUAL, "lanes=1", NULL};
static const char *const larger[] = {USUAL, "lanes=1", "segment=1M", NULL};
static const char *const brief[] = {USUAL, "lanes=1", "rendezvous_timeout=0.5", NULL};
static const char *const impatient[] = {USUAL, "lanes=1", "rendezvous_timeout=2.5", NULL};
static const char *const threads[] = {USUAL, "lanes=2", NULL};
static const char *const huge[] = {USUAL, "lanes=1", "segment=4M", "huge_pages=transparent", NULL};
static const char *const hugetlb[] = {USUAL, "lanes=1", "segment=4M", "huge_pages=hugetlb", NULL};
static const char *const tuned[] = {USUAL, "lanes=1", "tune=auto", NULL};
static const char *const measured[] = {USUAL, "lanes=1", "tune=now", NULL};
static const char *const bare[] = {USUAL, "lanes=1", "pool=0", NULL};
static const char *const refused[] = {USUAL, "lanes=1", "disable=1", NULL};

static void nap(int ms)
{
    struct timeval t = {0, ms * 1000};
    select(0, NULL, NULL, NULL, &t); /* which the library does not use */
}

static int fail(struct inject_run *run, const char *at, int code, const char *text)
{
    if (!run->code && !run->is_wrong) {
        run->code = code;
        run->at = at;
        snprintf(run->text, sizeof run->text, "%s", text);
    }
    return code;
}

static int expect(struct inject_run *run, const char *at, bool is_right)
{
    if (!is_right && !run->code && !run->is_wrong) {
        run->is_wrong = 1;
        run->at = at;
    }
    return is_right ? 0 : -1;
}

/* What is told only, since the communicator does without. */
static void keep_warning(enum shmrt_log_level level, const char *line, void *text)
{
    const char *why = strstr(line, "no file of records is kept: ");
    if (level == SHMRT_LOG_WARNING && why)
        snprintf(text, SHMRT_ERROR_TEXT_BYTES, "%s", strstr(why, ": ") + 2);
}

static struct shmrt_comm *create(struct inject_run *run, const char *const *settings)
{
    enum { SETTINGS = 16 };
    const char *with_patience[SETTINGS] = {run->patience}; /* what @settings say comes after it */
    for (int i = 0; i + 2 < SETTINGS && settings[i]; i++)
        with_patience[i + 1] = settings[i];
    struct shmrt_comm *comm = NULL;
    struct shmrt_error error = {0};
    struct shmrt_params params = {.rank = run->rank,
                                  .size = run->size,
                                  .job = run->job,
                                  .settings = with_patience,
                                  .log = keep_warning,
                                  .log_arg = run->warning};
    int rc = shmrt_comm_create(&params, &comm, &error);
    if (rc)
        fail(run, "shmrt_comm_create", rc, error.text);
    return comm;
}

/* Nonzero: the scenario ends. */
#define DO(call)                                                                                   \
    do {                                                                                           \
        int rc_ = (call);                                                                          \
        if (rc_) {                                                                                 \
            fail(run, #call, rc_, shmrt_comm_error(comm)->text);                                   \
            return;                                                                                \
        }                                                                                          \
    } while (0)

#define RIGHT(condition)                                                                           \
    do {                                                                                           \
        if (expect(run, #condition, condition))                                                    \
            return;                                                                                \
    } while (0)

/* Element i of rank r's vector is r + 1 + i. */
static void fill(int32_t *x, size_t count, int rank)
{
    for (size_t i = 0; i < count; i++)
        x[i] = rank + 1 + (int32_t)i;
}

static bool is_sum(const int32_t *x, size_t count, size_t first, int size)
{
    for (size_t i = 0; i < count; i++)
        if (x[i] != size * (size + 1) / 2 + size * (int32_t)(first + i))
            return false;
    return true;
}

static bool is_of(const int32_t *x, size_t count, size_t first, int rank)
{
    for (size_t i = 0; i < count; i++)
        if (x[i] != rank + 1 + (int32_t)(first + i))
            return false;
    return true;
}

/* @in has a vector of @count for each rank, @out as much room. */
static void reductions(struct inject_run *run, struct shmrt_comm *comm, int32_t *in, int32_t *out,
                       size_t count)
{
    size_t all = count * (size_t)run->size, first = count * (size_t)run->rank;
    fill(in, all, run->rank);
    DO(shmrt_allreduce(comm, in, out, count, SHMRT_INT32, SHMRT_SUM));
    RIGHT(is_sum(out, count, 0, run->size));
    DO(shmrt_reduce(comm, in, out, count, SHMRT_INT32, SHMRT_SUM, 1));
    RIGHT(run->rank != 1 || is_sum(out, count, 0, run->size));
    DO(shmrt_reduce_scatter(comm, in, out, count, SHMRT_INT32, SHMRT_SUM));
    RIGHT(is_sum(out, count, first, run->size));
}

static void movements(struct inject_run *run, struct shmrt_comm *comm, int32_t *in, int32_t *out,
                      size_t count)
{
    size_t all = count * (size_t)run->size, first = count * (size_t)run->rank;
    int next = (run->rank + 1) % run->size, last = (run->rank + run->size - 1) % run->size;
    fill(in, all, run->rank);
    DO(shmrt_allgather(comm, in, out, count, SHMRT_INT32));
    for (int r = 0; r < run->size; r++)
        RIGHT(is_of(out + (size_t)r * count, count, 0, r));
    DO(shmrt_alltoall(comm, in, out, count, SHMRT_INT32));
    for (int r = 0; r < run->size; r++)
        RIGHT(is_of(out + (size_t)r * count, count, first, r));
    DO(shmrt_gather(comm, in, out, count, SHMRT_INT32, 1));
    RIGHT(run->rank != 1 || is_of(out, count, 0, 0));
    DO(shmrt_scatter(comm, in, out, count, SHMRT_INT32, 0));
    RIGHT(is_of(out, count, first, 0));
    fill(out, count, run->rank);
    DO(shmrt_broadcast(comm, out, count, SHMRT_INT32, 2 % run->size));
    RIGHT(is_of(out, count, 0, 2 % run->size));
    if (run->rank == 0)
        DO(shmrt_send(comm, in, count, SHMRT_INT32, next));
    DO(shmrt_recv(comm, out, count, SHMRT_INT32, last));
    RIGHT(is_of(out, count, 0, last));
    if (run->rank != 0)
        DO(shmrt_send(comm, in, count, SHMRT_INT32, next));
}

static void started(struct inject_run *run, struct shmrt_comm *comm, int32_t *in, int32_t *out,
                    size_t count)
{
    struct shmrt_request *first, *second;
    fill(in, count, run->rank);
    const struct shmrt_args sum = {.collective = SHMRT_ALLREDUCE,
                                   .in = in,
                                   .out = out,
                                   .count = count,
                                   .dtype = SHMRT_INT32,
                                   .op = SHMRT_SUM};
    const struct shmrt_args barrier = {.collective = SHMRT_BARRIER};
    DO(shmrt_start(comm, &sum, &first));
    DO(shmrt_start(comm, &barrier, &second));
    DO(shmrt_wait(first));
    DO(shmrt_wait(second));
    RIGHT(is_sum(out, count, 0, run->size));
}

static void all_kinds(struct inject_run *run, struct shmrt_comm *comm, int32_t *in, int32_t *out)
{
    const size_t counts[] = {SMALL, MIDDLE};
    for (size_t i = 0; i < 2; i++) {
        reductions(run, comm, in, out, counts[i]);
        if (!run->code && !run->is_wrong)
            movements(run, comm, in, out, counts[i]);
        if (!run->code && !run->is_wrong)
            started(run, comm, in, out, counts[i]);
        if (run->code || run->is_wrong)
            return;
    }
}

/* First the victim sleeps in its wait, then the others do. */
static void sleeping(struct inject_run *run, struct shmrt_comm *comm)
{
    for (int turn = 0; turn < 4; turn++) {
        if (turn % run->size == run->rank)
            nap(3);
        DO(shmrt_barrier(comm));
    }
}

static void looked_at(struct inject_run *run, struct shmrt_comm *comm)
{
    struct shmrt_placement_proof proof;
    char page[4096];
    int rc = shmrt_comm_verify(comm, &proof);
    if (rc)
        fail(run, "shmrt_comm_verify", rc, strerror(-rc)); /* it has no words of its own */
    expect(run, "shmrt_comm_report", shmrt_comm_report(comm, page, sizeof page) > 0);
}

static void split(struct inject_run *run, struct shmrt_comm *comm)
{
    struct shmrt_comm *half;
    int32_t in[SMALL], out[SMALL];
    DO(shmrt_comm_split(comm, 0, -run->rank, &half));
    fill(in, SMALL, run->rank);
    int rc = shmrt_allreduce(half, in, out, SMALL, SHMRT_INT32, SHMRT_SUM);
    if (rc)
        fail(run, "shmrt_allreduce of the split", rc, shmrt_comm_error(half)->text);
    else
        expect(run, "sum of the split", is_sum(out, SMALL, 0, run->size));
    shmrt_comm_destroy(half);
}

/* What one rank lacks in memory of the pool, it does in its own. */
static int32_t *block_or(struct inject_run *run, struct shmrt_comm *comm, int32_t *instead)
{
    void *block;
    int rc = shmrt_alloc(comm, BLOCK_BYTES, &block);
    if (rc == 0)
        return block;
    fail(run, "shmrt_alloc", rc, shmrt_comm_error(comm)->text);
    return instead;
}

/* An error that leaves the communicator usable is kept while the rest has to go well. */
static void usable(struct inject_run *run, void (*step)(struct inject_run *, struct shmrt_comm *),
                   struct shmrt_comm *comm)
{
    struct inject_run rest = *run;
    rest.code = 0;
    rest.is_wrong = 0;
    step(&rest, comm);
    if (rest.is_wrong || (rest.code && !run->code))
        *run = rest;
}

static int32_t private_in[MOST * MIDDLE], private_out[MOST * MIDDLE];

static void privately(struct inject_run *run, struct shmrt_comm *comm)
{
    all_kinds(run, comm, private_in, private_out);
}

static void shared(struct inject_run *run, struct shmrt_comm *comm)
{
    int32_t *in = block_or(run, comm, private_in), *out = block_or(run, comm, private_out);
    struct inject_run rest = *run;
    rest.code = rest.is_wrong = 0;
    all_kinds(&rest, comm, in, out);
    if (rest.is_wrong || (rest.code && !run->code))
        *run = rest;
    shmrt_free(in == private_in ? NULL : in);
    shmrt_free(out == private_out ? NULL : out);
}

static void calls(struct inject_run *run)
{
    struct shmrt_comm *comm = create(run, usual);
    if (!comm)
        return;
    static void (*const steps[])(struct inject_run *, struct shmrt_comm *) = {
        privately, sleeping, shared, looked_at, split};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
        usable(run, steps[i], comm);
    shmrt_comm_destroy(comm);
}

static void short_life(struct inject_run *run, const char *const *settings)
{
    struct shmrt_comm *comm = create(run, settings);
    if (!comm)
        return;
    privately(run, comm);
    if (!run->code)
        shared(run, comm);
    shmrt_comm_destroy(comm);
}

static void with_threads(struct inject_run *run)
{
    short_life(run, threads);
}

static void with_huge_pages(struct inject_run *run)
{
    short_life(run, huge);
}

static void with_hugetlb(struct inject_run *run)
{
    short_life(run, hugetlb);
}

/* Of rank 0, which measures, and draws the names of splits. */
static void with_tuning(struct inject_run *run)
{
    struct shmrt_comm *comm = create(run, tuned);
    if (!comm)
        return;
    privately(run, comm);
    if (!run->code && !run->is_wrong)
        split(run, comm);
    shmrt_comm_destroy(comm);
}

static void with_measuring(struct inject_run *run)
{
    short_life(run, measured);
}

/* More than the pool can describe in what it begins with. */
static void with_blocks(struct inject_run *run)
{
    enum { BLOCKS = 80 };
    void *blocks[BLOCKS] = {NULL};
    struct shmrt_comm *comm = create(run, usual);
    if (!comm)
        return;
    int rc = 0;
    for (int i = 0; i < BLOCKS && rc == 0; i++)
        rc = shmrt_alloc(comm, 1, &blocks[i]);
    if (rc)
        fail(run, "shmrt_alloc", rc, shmrt_comm_error(comm)->text);
    rc = shmrt_barrier(comm);
    if (rc && run->code)
        run->is_wrong = 1; /* the communicator should have stayed usable */
    else if (rc)
        fail(run, "shmrt_barrier", rc, shmrt_comm_error(comm)->text);
    for (int i = 0; i < BLOCKS; i++)
        shmrt_free(blocks[i]);
    shmrt_comm_destroy(comm);
}

/* Only of the victim, who has a folder of its own for it. */
static void with_recorder(struct inject_run *run)
{
    char recorder[256];
    const char *folder = getenv("XDG_CACHE_HOME");
    const char *const recorded[] = {USUAL, "lanes=1", recorder, NULL};
    snprintf(recorder, sizeof recorder, "recorder=%s/records", folder ? folder : ".");
    short_life(run, run->rank == 1 ? recorded : usual);
    if (*run->warning)
        fail(run, "SHMRT_RECORDER", -EIO, run->warning);
}

/* Meetings that fail: all of them have to, and leave nothing. */
static void differing(struct inject_run *run)
{
    shmrt_comm_destroy(create(run, run->rank == 0 ? larger : bare));
}

static void lonely(struct inject_run *run)
{
    if (run->rank == 0)
        nap(999); /* never comes */
    else
        shmrt_comm_destroy(create(run, brief));
    if (run->rank == 0)
        fail(run, "nap", -ETIMEDOUT, "not there");
}

static void switched_off(struct inject_run *run)
{
    shmrt_comm_destroy(create(run, refused));
}

/* Two ranks of one number: who comes later, the victim, has to be told, and the other, too. */
static void taken(struct inject_run *run)
{
    struct inject_run twin = {.job = run->job, .rank = 1, .size = 2, .patience = run->patience};
    if (run->rank == 1)
        nap(30);
    shmrt_comm_destroy(create(&twin, impatient));
    twin.rank = run->rank;
    *run = twin;
}

inject_scenario inject_scenario_find(const char *name, int *is_cold_out)
{
    static const struct {
        const char *name;
        inject_scenario run;
        int is_cold;
    } known[] = {
        {"calls", calls, 0},          {"threads", with_threads, 1},
        {"huge", with_huge_pages, 0}, {"hugetlb", with_hugetlb, 0},
        {"tuning", with_tuning, 0},   {"differing", differing, 0},
        {"lonely", lonely, 0},        {"off", switched_off, 0},
        {"taken", taken, 0},          {"measuring", with_measuring, 0},
        {"blocks", with_blocks, 0},   {"recording", with_recorder, 0},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i].name, name) == 0) {
            *is_cold_out = known[i].is_cold;
            return known[i].run;
        }
    return NULL;
}
