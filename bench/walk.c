/* SPDX-License-Identifier: Apache-2.0 */
/* walk.c - a rank: its buffers, then verify and measure size by size. Rank 0 tells. */
#include "bench.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { POOL_SPARE_BYTES = 16 << 20, DEFAULT_POOL_BYTES = 256 << 20 };

static void hear(enum shmrt_log_level level, const char *line, void *arg)
{
    (void)level;
    (void)arg;
    fprintf(stderr, "shm-bench: %s\n", line);
}

static int fail(const struct bench_rank *rank, int rc, const char *what)
{
    const char *text = rank->comm ? shmrt_comm_error(rank->comm)->text : "";
    fprintf(stderr, "shm-bench: rank %d: %s: %s\n", rank->rank, what, *text ? text : strerror(-rc));
    return 1;
}

static int verify_all(struct bench_rank *rank)
{
    for (int c = 0; c < rank->contender_count; c++) {
        const struct bench_contender *contender = &rank->contenders[c];
        bench_choose(rank, c);
        int rc = 0;
        if (contender->kind == BENCH_PEER)
            rc = bench_host_verify(rank, c);
        else if (contender->verify)
            rc = contender->verify(rank);
        if (rc == -EBADMSG) {
            fprintf(stderr, "shm-bench: rank %d: wrong result of %s at %zu bytes\n", rank->rank,
                    contender->name, rank->bytes);
            return 1;
        }
        if (rc)
            return fail(rank, rc, contender->name);
    }
    return 0;
}

/* After a size: its results, and those of the probe for it. */
static void keep(struct bench_report *report, const struct bench_result *results, int count,
                 const struct bench_result *probes, size_t probe_count)
{
    size_t bytes = report->rank->bytes;
    for (int c = 0; c < count; c++)
        if (results[c].samples > 0)
            report->results[report->count++] = results[c];
    for (size_t p = 0; p < probe_count; p++)
        if (probes[p].bytes == bytes)
            report->results[report->count++] = probes[p];
}

static int measure_sizes(struct bench_rank *rank, struct bench_report *report,
                         const struct bench_result *probes, size_t probe_count)
{
    struct bench_result results[MAX_CONTENDERS];
    const struct bench_options *o = rank->options;
    for (size_t bytes = o->first_bytes; bytes <= o->last_bytes; bytes *= o->factor) {
        rank->bytes = bytes;
        rank->task = bench_task_of(o, bytes);
        int rc = verify_all(rank);
        if (rc)
            return rc;
        if ((rc = bench_measure(rank, results)) != 0)
            return fail(rank, rc, "measuring failed");
        if (o->traffic &&
            (rc = bench_traffic_take(rank, &report->traffic[report->traffic_count++])))
            return fail(rank, rc, "counting bytes failed");
        if (rank->rank == 0) {
            keep(report, results, rank->contender_count, probes, probe_count);
            bench_progress(rank, NULL, 0);
            if (!o->quiet && bytes == o->first_bytes)
                bench_print_head(report);
            if (!o->quiet)
                bench_print_row(report, bytes);
        }
        if (bytes == 0)
            break; /* a barrier has one size */
    }
    return 0;
}

static int write_json(const struct bench_report *report)
{
    const char *path = report->rank->options->json_path;
    bool is_stdout = strcmp(path, "-") == 0;
    FILE *file = is_stdout ? stdout : fopen(path, "we");
    int rc = file ? bench_write_json(report, file) : -errno;
    if (file && (is_stdout ? fflush(file) : fclose(file)) != 0 && rc == 0)
        rc = -errno;
    if (rc)
        fprintf(stderr, "shm-bench: %s: %s\n", path, strerror(-rc));
    return rc ? 1 : 0;
}

static int tell(const struct bench_report *report)
{
    const struct bench_options *o = report->rank->options;
    int status = 0;
    if (!o->quiet)
        bench_print_tail(report);
    if (!o->quiet && o->traffic)
        bench_print_traffic(report);
    if (o->json_path)
        status = write_json(report);
    if (o->plot_path && bench_plot(report, o->plot_path) != 0)
        status = 1;
    return status;
}

/* What the options ask of the library; buffers that the default pool can't hold get a larger one.
 */
static void choose_settings(const struct bench_options *o, char lanes[32], char pool[32],
                            const char *settings[3])
{
    struct bench_task largest = bench_task_of(o, o->last_bytes);
    size_t needed = 2 * bench_payload_bytes(&largest) + POOL_SPARE_BYTES;
    int n = 0;
    if (o->threads) {
        snprintf(lanes, 32, "lanes=%d", o->threads);
        settings[n++] = lanes;
    }
    if (o->memory != BENCH_PRIVATE && needed > DEFAULT_POOL_BYTES) {
        snprintf(pool, 32, "pool=%zu", needed);
        settings[n++] = pool;
    }
    settings[n] = NULL;
}

static int join(struct bench_rank *rank)
{
    struct shmrt_error error;
    char lanes[32], pool[32];
    const char *settings[3];
    const struct bench_options *o = rank->options;
    choose_settings(o, lanes, pool, settings);
    struct shmrt_params params = {
        .rank = rank->rank, .size = o->ranks, .job = rank->job, .settings = settings, .log = hear};
    if (shmrt_comm_create(&params, &rank->comm, &error) == 0)
        return 0;
    fprintf(stderr, "shm-bench: rank %d: %s\n", rank->rank, error.text);
    return 1;
}

static int take_buffers(struct bench_rank *rank)
{
    struct bench_task largest = bench_task_of(rank->options, rank->options->last_bytes);
    size_t payload = bench_payload_bytes(&largest), bytes = payload > 4096 ? payload : 4096;
    int rc = bench_places_take(rank);
    rc = rc ? rc : bench_norm_take(rank);
    if (rc == 0 && (rc = -posix_memalign((void **)&rank->copy, 4096, bytes)) == 0)
        memset(rank->copy, 0, bytes);
    if (rank->plane) /* on this rank's node */
        memset(rank->plane + (size_t)rank->rank * rank->plane_bytes, 0, rank->plane_bytes);
    return rc;
}

static void free_buffers(struct bench_rank *rank)
{
    (void)bench_create_prepare(rank);
    bench_norm_give_back(rank);
    bench_places_give_back(rank);
    free(rank->copy);
}

static int measure_and_tell(struct bench_rank *rank, const struct bench_result *probes,
                            size_t probe_count)
{
    struct bench_report report = {.rank = rank};
    report.room = (size_t)MAX_SIZES * MAX_CONTENDERS;
    report.results = calloc(report.room, sizeof *report.results);
    if (!report.results)
        return fail(rank, -ENOMEM, "no memory for results");
    if (rank->rank == 0)
        bench_machine_read(&report.machine);
    bench_hosts_await(rank);
    int status = measure_sizes(rank, &report, probes, probe_count);
    if (rank->rank == 0)
        bench_hosts_quit(rank);
    if (status == 0 && rank->rank == 0)
        status = tell(&report);
    free(report.results);
    return status;
}

int bench_walk(struct bench_rank *rank, const char *job, const struct bench_result *probes,
               size_t probe_count)
{
    struct bench_contender contenders[MAX_CONTENDERS];
    rank->contender_count = bench_list_contenders(rank->options, contenders);
    rank->contenders = contenders;
    rank->party =
        (struct bench_party){&rank->shared->barrier, (uint32_t)rank->options->ranks, NULL, NULL};
    int rc = bench_pin(rank->shared->cpus[rank->rank], BENCH_CPU_WORDS);
    if (rc)
        return fail(rank, rc, "can't be pinned");
    rank->job = job;
    int status = join(rank);
    if (status)
        return status;
    if ((rc = take_buffers(rank)) != 0)
        status = fail(rank, rc, "no memory for the buffers");
    if (status == 0)
        status = measure_and_tell(rank, probes, probe_count);
    free_buffers(rank);
    shmrt_comm_destroy(rank->comm);
    return status;
}
