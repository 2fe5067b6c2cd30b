/* SPDX-License-Identifier: Apache-2.0 */
/* json.c - the report for a program: one object. */
#include "bench.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum { SCHEMA = 1 };

static void put_text(FILE *file, const char *text)
{
    fputc('"', file);
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\')
            fprintf(file, "\\%c", *c);
        else if (*c < 0x20 || *c >= 0x7f) /* what a peer printed need not be UTF-8 */
            fprintf(file, "\\u%04x", *c);
        else
            fputc(*c, file);
    }
    fputc('"', file);
}

static void put_field(FILE *file, const char *name, const char *text)
{
    fprintf(file, "\"%s\": ", name);
    put_text(file, text);
}

/* JSON has no infinity; what was not measured is null. */
static void put_number(FILE *file, const char *name, double value, bool is_known)
{
    if (is_known)
        fprintf(file, ", \"%s\": %.5f", name, value);
    else
        fprintf(file, ", \"%s\": null", name);
}

static void write_machine(const struct bench_report *report, FILE *file)
{
    const struct bench_machine *m = &report->machine;
    fputs("  \"machine\": {", file);
    put_field(file, "cpu", m->cpu);
    fprintf(file, ", \"cores\": %d, \"cpus\": %d, ", m->cores, m->cpus);
    put_field(file, "caches", m->caches);
    fprintf(file, ", \"numa_nodes\": %d, ", m->numa_nodes);
    put_field(file, "kernel", m->kernel);
    fprintf(file, ", \"clock_ns\": %.1f},\n", m->clock_ns);
}

static void write_options(const struct bench_report *report, FILE *file)
{
    const struct bench_rank *rank = report->rank;
    const struct bench_options *o = rank->options;
    char cpus[256], tuning[256];
    fprintf(file,
            "  \"library\": {\"name\": \"shmrt\", \"version\": \"%s\", \"kernel\": \"%s\", "
            "\"lanes\": %d, ",
            shmrt_version(), shmrt_comm_kernel(rank->comm), shmrt_comm_lanes(rank->comm));
    shmrt_comm_tuning(rank->comm, tuning, sizeof tuning);
    put_field(file, "tuning", tuning);
    fputs("},\n", file);
    fprintf(file,
            "  \"options\": {\"collective\": \"%s\", \"ranks\": %d, \"dtype\": \"%s\", "
            "\"op\": \"%s\", \"in_place\": %s, \"buffers\": \"%s\", \"shared\": %s, "
            "\"first_bytes\": %zu, \"last_bytes\": %zu, \"factor\": %zu, \"seconds\": %g, "
            "\"min_sample_us\": %g, \"cpus\": [",
            bench_collective_name(o->collective), o->ranks, shmrt_dtype_name(o->dtype),
            shmrt_op_name(o->op), rank->task.in_place ? "true" : "false",
            bench_buffers_name(o->buffers),
            o->memory == BENCH_BOTH     ? "\"both\""
            : o->memory == BENCH_SHARED ? "true"
                                        : "false",
            o->first_bytes, o->last_bytes, o->factor, o->seconds, MIN_SAMPLE_US);
    for (int r = 0; r < o->ranks; r++) {
        bench_cpus_text(rank->shared->cpus[r], cpus, sizeof cpus);
        fprintf(file, "%s\"%s\"", r ? ", " : "", cpus);
    }
    fputs("]},\n", file);
}

static void write_peers(const struct bench_report *report, FILE *file)
{
    const struct bench_rank *rank = report->rank;
    bool is_first = true;
    fputs("  \"peers\": [", file);
    for (int c = 0; c < rank->contender_count; c++) {
        const struct bench_contender *contender = &rank->contenders[c];
        if (contender->kind != BENCH_PEER)
            continue;
        fputs(is_first ? "\n    {" : ",\n    {", file);
        is_first = false;
        put_field(file, "name", contender->name);
        fputs(", ", file);
        put_field(file, "command", rank->options->peer[contender->peer].command);
        fputs(", ", file);
        put_field(file, "setting", rank->hosts[contender->peer].page->setting);
        fputs(", \"skipped\": ", file);
        if (rank->shared->skipped[c][0])
            put_text(file, rank->shared->skipped[c]);
        else
            fputs("null", file);
        fputc('}', file);
    }
    fputs("],\n", file);
}

static void write_results(const struct bench_report *report, FILE *file)
{
    static const char *const kinds[] = {"library", "floor", "probe", "peer"};
    fputs("  \"results\": [", file);
    for (size_t i = 0; i < report->count; i++) {
        const struct bench_result *r = &report->results[i];
        fprintf(file,
                "%s\n    {\"contender\": \"%s\", \"kind\": \"%s\", \"bytes\": %zu, "
                "\"moved_bytes\": %zu, \"best_us\": %.5f, \"median_us\": %.5f",
                i ? "," : "", r->contender, kinds[r->kind], r->bytes, r->moved_bytes, r->best_us,
                r->median_us);
        put_number(file, "p99_us", r->p99_us, r->singles > 0);
        fprintf(file, ", \"batch\": %d, \"samples\": %d, \"singles\": %d}", r->batch, r->samples,
                r->singles);
    }
    fputs("\n  ],\n", file);
}

static void write_ratios(const struct bench_report *report, FILE *file)
{
    bool is_first = true;
    fputs("  \"ratios\": [", file);
    for (size_t i = 0; i < report->count; i++) {
        const struct bench_result *r = &report->results[i];
        if (r->kind != BENCH_LIBRARY)
            continue;
        struct bench_ratios x = bench_ratios_at(report, r->contender, r->bytes);
        fprintf(file, "%s\n    {\"contender\": \"%s\", \"bytes\": %zu", is_first ? "" : ",",
                r->contender, r->bytes);
        is_first = false;
        put_number(file, "memcpy", x.memcpy_x, x.memcpy_x > 0);
        put_number(file, "roundtrip", x.roundtrip_x, x.roundtrip_x > 0);
        put_number(file, "floor", x.floor_x, x.floor_x > 0);
        put_number(file, "floor_us", x.floor_us, x.floor_us > 0);
        put_number(file, "best_peer", x.best_peer_x, x.best_peer != NULL);
        fputs(", \"best_peer_name\": ", file);
        if (x.best_peer)
            put_text(file, x.best_peer);
        else
            fputs("null", file);
        fputc('}', file);
    }
    fputs("\n  ]\n", file);
}

static void write_traffic(const struct bench_report *report, FILE *file)
{
    fputs("  \"traffic\": [", file);
    for (size_t i = 0; i < report->traffic_count; i++) {
        const struct bench_traffic *t = &report->traffic[i];
        fprintf(file,
                "%s\n    {\"bytes\": %zu, \"groups\": %d, \"within_bytes\": %" PRIu64
                ", \"between_bytes\": %" PRIu64 ", \"busiest_bytes\": %" PRIu64 "}",
                i ? "," : "", t->bytes, t->groups, t->within_bytes, t->between_bytes,
                t->busiest_bytes);
    }
    fputs(report->traffic_count ? "\n  ],\n" : "],\n", file);
}

int bench_write_json(const struct bench_report *report, FILE *file)
{
    fprintf(file, "{\n  \"schema\": %d,\n", SCHEMA);
    write_machine(report, file);
    write_options(report, file);
    write_peers(report, file);
    write_results(report, file);
    write_traffic(report, file);
    write_ratios(report, file);
    fputs("}\n", file);
    return ferror(file) ? -EIO : 0;
}
