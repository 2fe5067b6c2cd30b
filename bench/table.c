/* SPDX-License-Identifier: Apache-2.0 */
/* table.c - the tables and the progress bar for a person, and the ratios that all reports use. */
#include "bench.h"

#include <string.h>
#include <unistd.h>

enum { BAR = 24 };

const char *bench_size_text(size_t bytes, char out[24])
{
    static const char units[] = " KMG";
    int unit = 0;
    while (bytes >= 1024 && bytes % 1024 == 0 && unit < 3) {
        bytes /= 1024;
        unit++;
    }
    snprintf(out, 24, unit ? "%zu %ciB" : "%zu B", bytes, units[unit]);
    return out;
}

const struct bench_result *bench_find(const struct bench_report *report, const char *contender,
                                      size_t bytes)
{
    for (size_t i = 0; i < report->count; i++)
        if (report->results[i].bytes == bytes && !strcmp(report->results[i].contender, contender))
            return &report->results[i];
    return NULL;
}

static double median(const struct bench_report *report, const char *contender, size_t bytes)
{
    const struct bench_result *found = bench_find(report, contender, bytes);
    return found ? found->median_us : 0;
}

static double ratio(double us, double to_us)
{
    return us > 0 && to_us > 0 ? us / to_us : 0;
}

struct bench_ratios bench_ratios_at(const struct bench_report *report, const char *contender,
                                    size_t bytes)
{
    struct bench_ratios out = {0};
    double own_us = median(report, contender, bytes), copy_us = median(report, "memcpy", bytes);
    double read_us = median(report, "remote_read", bytes), peer_us = 0;
    double write_us = median(report, "remote_write", bytes);
    out.memcpy_x = ratio(own_us, copy_us);
    out.roundtrip_x = ratio(own_us, median(report, "roundtrip", bytes));
    if (read_us > 0 && write_us > 0)
        out.floor_us = write_us + read_us + copy_us / 2;
    out.floor_x = ratio(own_us, out.floor_us);
    for (size_t i = 0; i < report->count; i++) {
        const struct bench_result *r = &report->results[i];
        if (r->bytes == bytes && r->kind == BENCH_PEER &&
            (peer_us == 0 || r->median_us < peer_us)) {
            peer_us = r->median_us;
            out.best_peer = r->contender;
        }
    }
    out.best_peer_x = ratio(own_us, peer_us);
    return out;
}

/* Whether the library has more than one contender, whose rows need a name. */
static bool is_one_of_several(const struct bench_report *report)
{
    int ours = 0;
    for (int c = 0; c < report->rank->contender_count; c++)
        ours += report->rank->contenders[c].kind == BENCH_LIBRARY;
    return ours > 1;
}

static void print_peers(const struct bench_report *report)
{
    const struct bench_rank *rank = report->rank;
    for (int c = 0; c < rank->contender_count; c++) {
        const struct bench_contender *contender = &rank->contenders[c];
        const char *why = rank->shared->skipped[c];
        if (contender->kind != BENCH_PEER)
            continue;
        printf("%s: %s%s\n", contender->name, why[0] ? "skipped: " : "",
               why[0] ? why : rank->hosts[contender->peer].page->setting);
    }
}

static void print_task(const struct bench_rank *rank)
{
    const struct bench_options *o = rank->options;
    const struct bench_task *t = &rank->task;
    bool reduces = t->collective == BENCH_ALLREDUCE || t->collective == BENCH_REDUCE ||
                   t->collective == BENCH_REDUCE_SCATTER;
    int lanes = shmrt_comm_lanes(rank->comm);
    printf("shmrt %s  %s", shmrt_version(), bench_collective_name(t->collective));
    if (reduces)
        printf(", %s", shmrt_op_name(o->op));
    if (t->collective != BENCH_BARRIER)
        printf(", %s, %s, %s buffers%s", shmrt_dtype_name(o->dtype),
               t->in_place ? "in place" : "out of place", bench_buffers_name(t->buffers),
               o->memory == BENCH_SHARED ? " in shared memory"
               : o->memory == BENCH_BOTH ? ", private and shared"
                                         : "");
    printf(", %d rank%s of %d lane%s, %s kernels\n", o->ranks, o->ranks > 1 ? "s" : "", lanes,
           lanes > 1 ? "s" : "", shmrt_comm_kernel(rank->comm));
}

void bench_print_head(const struct bench_report *report)
{
    const struct bench_rank *rank = report->rank;
    const struct bench_machine *m = &report->machine;
    char cpus[256], tuning[256];
    print_task(rank);
    shmrt_comm_tuning(rank->comm, tuning, sizeof tuning);
    printf("%s\n", tuning);
    printf("%s, %d core%s, %d CPU%s, %d NUMA node%s, %s\n%s; reading the clock takes %.0f ns\n",
           m->cpu, m->cores, m->cores == 1 ? "" : "s", m->cpus, m->cpus == 1 ? "" : "s",
           m->numa_nodes, m->numa_nodes == 1 ? "" : "s", m->kernel, m->caches, m->clock_ns);
    for (int r = 0; r < rank->options->ranks; r++) {
        bench_cpus_text(rank->shared->cpus[r], cpus, sizeof cpus);
        printf("rank %d on CPU %s%s", r, cpus,
               r + 1 == rank->options->ranks || r % 6 == 5 ? "\n" : ", ");
    }
    print_peers(report);
    printf("\n");
    if (is_one_of_several(report))
        printf("%-22s", "contender");
    printf("%10s %11s %11s %11s %9s %9s %11s %8s  %s\n", "size", "median us", "best us", "p99 us",
           "GB/s", "x memcpy", "x roundtrip", "x floor", "x best peer");
}

static void print_ratio(double x, int width)
{
    if (x > 0)
        printf(" %*.2f", width, x);
    else
        printf(" %*s", width, "-");
}

static void print_own(const struct bench_report *report, const struct bench_result *own)
{
    char size[24];
    struct bench_ratios r = bench_ratios_at(report, own->contender, own->bytes);
    if (is_one_of_several(report))
        printf("%-22s", own->contender);
    printf("%10s %11.3f %11.3f", bench_size_text(own->bytes, size), own->median_us, own->best_us);
    if (own->singles > 0)
        printf(" %11.3f", own->p99_us);
    else
        printf(" %11s", "-");
    print_ratio((double)own->moved_bytes / own->median_us / 1e3, 9);
    print_ratio(r.memcpy_x, 9);
    print_ratio(r.roundtrip_x, 11);
    print_ratio(r.floor_x, 8);
    if (r.best_peer)
        printf("  %.2f %s", r.best_peer_x, r.best_peer);
    printf("\n");
}

void bench_print_row(const struct bench_report *report, size_t bytes)
{
    for (size_t i = 0; i < report->count; i++)
        if (report->results[i].bytes == bytes && report->results[i].kind == BENCH_LIBRARY)
            print_own(report, &report->results[i]);
    fflush(stdout);
}

static bool is_first_of_its_name(const struct bench_report *report, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (!strcmp(report->results[k].contender, report->results[i].contender))
            return false;
    return true;
}

static void print_medians(const struct bench_report *report, size_t bytes, const char *size)
{
    printf("%10s", size);
    for (size_t i = 0; i < report->count; i++)
        if (is_first_of_its_name(report, i)) {
            double us = median(report, report->results[i].contender, bytes);
            int width = (int)strlen(report->results[i].contender);
            width = width < 10 ? 10 : width;
            if (us > 0)
                printf(" %*.3f", width, us);
            else
                printf(" %*s", width, "-");
        }
    printf("\n");
}

void bench_print_tail(const struct bench_report *report)
{
    const struct bench_options *o = report->rank->options;
    char size[24];
    printf("\nmedians of all, us; floor: remote_write + remote_read + memcpy / 2\n%10s", "size");
    for (size_t i = 0; i < report->count; i++)
        if (is_first_of_its_name(report, i))
            printf(" %10s", report->results[i].contender);
    printf("\n");
    for (size_t bytes = o->first_bytes; bytes <= o->last_bytes; bytes *= o->factor) {
        print_medians(report, bytes, bench_size_text(bytes, size));
        if (bytes == 0)
            break;
    }
    if (report->rank->bytes > 0 && bench_payload_bytes(&report->rank->task) != report->rank->bytes)
        printf("memcpy, remote_read and remote_write move %zu times the size: what a rank hands "
               "in or gets out\n",
               bench_payload_bytes(&report->rank->task) / report->rank->bytes);
    for (int c = 0; c < report->rank->contender_count; c++)
        if (report->rank->shared->skipped[c][0])
            printf("%s skipped: %s\n", report->rank->contenders[c].name,
                   report->rank->shared->skipped[c]);
}

void bench_progress(const struct bench_rank *rank, const char *contender, double done)
{
    const struct bench_options *o = rank->options;
    char size[24], bar[BAR + 1];
    if (rank->rank != 0 || !isatty(STDERR_FILENO))
        return;
    if (!contender) {
        fprintf(stderr, "\r\033[K");
        return;
    }
    int sizes = 0, before = 0;
    for (size_t bytes = o->first_bytes; bytes && bytes <= o->last_bytes; bytes *= o->factor) {
        sizes++;
        before += bytes < rank->bytes;
    }
    double all = (before + done) / (sizes ? sizes : 1);
    for (int i = 0; i < BAR; i++)
        bar[i] = i < (int)(all * BAR) ? '#' : '.';
    bar[BAR] = '\0';
    fprintf(stderr, "\r[%s] %3.0f%%  %s  %s \033[K", bar, all * 100,
            bench_size_text(rank->bytes, size), contender);
}
