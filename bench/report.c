/* SPDX-License-Identifier: Apache-2.0 */
/* report.c - the table for a person, the JSON for a program. */
#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *size_text(size_t bytes, char out[24])
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

void bench_print_head(const struct bench_rank *rank, double roundtrip_us)
{
    const struct bench_options *o = rank->options;
    printf("shmrt %s  all-reduce, %s of %s, %s, %d rank%s, %d lane%s, %s kernels\n",
           shmrt_version(), shmrt_op_name(o->op), shmrt_dtype_name(o->dtype),
           o->out_of_place ? "out of place" : "in place", o->ranks, o->ranks > 1 ? "s" : "",
           shmrt_comm_lanes(rank->comm), shmrt_comm_lanes(rank->comm) > 1 ? "s" : "",
           shmrt_comm_kernel(rank->comm));
    for (int r = 0; r < o->ranks; r++)
        printf("rank %d on CPU %s%s", r, rank->shared->cpus[r],
               r + 1 == o->ranks || r % 6 == 5 ? "\n" : ", ");
    if (roundtrip_us > 0)
        printf("cache-line round trip between ranks 0 and 1: %.3f us (median)\n", roundtrip_us);
    printf("\n%10s %12s %12s %12s %12s %10s %12s %8s\n", "size", "median us", "best us", "p99 us",
           "memcpy us", "x memcpy", "x round trip", "GB/s");
}

void bench_print_row(const struct bench_result *results, double roundtrip_us)
{
    char size[24];
    const struct bench_result *own = &results[0], *copy = &results[1];
    printf("%10s %12.3f %12.3f %12.3f %12.3f %10.2f", size_text(own->bytes, size), own->median_us,
           own->best_us, own->p99_us, copy->median_us, own->median_us / copy->median_us);
    if (roundtrip_us > 0)
        printf(" %12.2f", own->median_us / roundtrip_us);
    else
        printf(" %12s", "-");
    printf(" %8.2f\n", (double)own->bytes / own->median_us / 1e3);
    fflush(stdout);
}

int bench_write_json(const struct bench_options *options, const struct bench_result *results,
                     size_t count)
{
    FILE *file = strcmp(options->json_path, "-") ? fopen(options->json_path, "we") : stdout;
    if (!file)
        return -errno;
    fputs("[", file);
    for (size_t i = 0; i < count; i++)
        fprintf(file,
                "%s\n  {\"collective\": \"allreduce\", \"ranks\": %d, \"dtype\": \"%s\", "
                "\"op\": \"%s\", \"in_place\": %s, \"bytes\": %zu, \"contender\": \"%s\", "
                "\"best_us\": %.4f, \"median_us\": %.4f, \"p99_us\": %.4f}",
                i ? "," : "", options->ranks, shmrt_dtype_name(options->dtype),
                shmrt_op_name(options->op), options->out_of_place ? "false" : "true",
                results[i].bytes, results[i].contender, results[i].best_us, results[i].median_us,
                results[i].p99_us);
    fputs("\n]\n", file);
    int rc = ferror(file) ? -EIO : 0;
    if (file != stdout && fclose(file) != 0)
        rc = -errno;
    return rc;
}
