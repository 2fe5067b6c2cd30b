/* SPDX-License-Identifier: Apache-2.0 */
/* flat.c - samples of /proc/self and of the heap, and what they say about growth. */
#include "flat.h"

#include "counting.h"
#include "stress.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * What may grow, in all, without being a leak. Samples are taken while no communicator exists.
 *
 * The heap's own count is exact: a leak of the smallest block, 32 bytes, in one of ten of 3,000
 * episodes is 10 KB. Resident memory also has what malloc keeps for itself: free, but between
 * blocks in use. That depends on the order of sizes, which is random; it is given back where it can
 * be before each sample. Files are counted and have no reason to differ at all. Threads do: OpenMP
 * keeps those of the last team, which has 1 to 3 (mixed_plan.c). Mappings may, by a few: each
 * thread has a stack, and a heap from when it first allocates.
 */
static const struct {
    const char *name;
    int64_t most;
    int64_t unit;
} kinds[FLAT_KINDS] = {
    [FLAT_HEAP] = {"heap KiB", 2 << 10, 1 << 10}, [FLAT_RSS] = {"RSS KiB", 1 << 20, 1 << 10},
    [FLAT_PSS] = {"Pss KiB", 1 << 20, 1 << 10},   [FLAT_SHMEM] = {"Shmem KiB", 0, 1 << 10},
    [FLAT_FILES] = {"descriptors", 0, 1},         [FLAT_THREADS] = {"threads", 2, 1},
    [FLAT_MAPPINGS] = {"mappings", 4, 1},
};

/* Of a shorter run, or of fewer samples, most is warm-up. */
enum { MIN_THIRD = 8 };
#define MIN_NS INT64_C(30000000000)

/* RSS, and the parts of it that are shared with others counted in proportion. */
static void read_rollup(int64_t value[FLAT_KINDS])
{
    static const struct {
        const char *key;
        enum flat_kind kind;
    } keys[] = {{"Rss:", FLAT_RSS}, {"Pss:", FLAT_PSS}, {"Pss_Shmem:", FLAT_SHMEM}};
    FILE *file = fopen("/proc/self/smaps_rollup", "re");
    char line[256];
    while (file && fgets(line, sizeof line, file))
        for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
            if (strncmp(line, keys[i].key, strlen(keys[i].key)) == 0)
                value[keys[i].kind] = strtoll(line + strlen(keys[i].key), NULL, 10) * 1024;
    if (file)
        fclose(file);
}

void flat_count_exactly(char **argv)
{
    static const char name[] = "GLIBC_TUNABLES", exact[] = "glibc.malloc.tcache_count=0";
    const char *now = getenv(name);
    if (now && strstr(now, exact))
        return;
    fflush(stdout);
    if (setenv(name, exact, 1) == 0)
        execv("/proc/self/exe", argv);
    perror("the heap is not counted exactly");
}

static void measure(int64_t value[FLAT_KINDS])
{
    malloc_trim(0);
    struct mallinfo2 heap = mallinfo2();
    value[FLAT_HEAP] = (int64_t)(heap.uordblks + heap.hblkhd);
    read_rollup(value);
    value[FLAT_FILES] = count_entries("/proc/self/fd");
    value[FLAT_THREADS] = count_entries("/proc/self/task");
    value[FLAT_MAPPINGS] = count_lines("/proc/self/maps", "");
}

static void thin_out(struct flat *flat)
{
    for (int i = 0; i < flat->n / 2; i++) {
        flat->at_ns[i] = flat->at_ns[2 * i];
        memcpy(flat->value[i], flat->value[2 * i], sizeof flat->value[i]);
    }
    flat->n /= 2;
    flat->every_ns *= 2;
}

void flat_sample(struct flat *flat)
{
    int64_t at_ns = now_ns();
    if (flat->n && at_ns - flat->last_ns < flat->every_ns)
        return;
    if (flat->n == FLAT_MOST_SAMPLES)
        thin_out(flat);
    flat->last_ns = flat->at_ns[flat->n] = at_ns;
    measure(flat->value[flat->n++]);
}

void flat_describe(const struct flat *flat, char *out, int bytes)
{
    int at = 0;
    out[0] = '\0';
    for (int k = 0; flat->n && k < FLAT_KINDS && at < bytes; k++)
        at += snprintf(out + at, (size_t)(bytes - at), "%s%s %lld", k ? ", " : "", kinds[k].name,
                       (long long)(flat->value[flat->n - 1][k] / kinds[k].unit));
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int64_t median(const struct flat *flat, int from, int to, int kind)
{
    static int64_t sorted[FLAT_MOST_SAMPLES];
    for (int i = from; i < to; i++)
        sorted[i - from] = flat->value[i][kind];
    qsort(sorted, (size_t)(to - from), sizeof sorted[0], compare);
    return sorted[(to - from) / 2];
}

bool flat_judge(const struct flat *flat)
{
    int warm = flat->n / 4, third = (flat->n - warm) / 3;
    bool flat_all = true;
    int64_t watched_ns = flat->n ? flat->at_ns[flat->n - 1] - flat->at_ns[0] : 0;
    if (third < MIN_THIRD || watched_ns < MIN_NS) {
        printf("memory: not judged, %d samples of %.0f s are too few\n", flat->n,
               (double)watched_ns / 1e9);
        return true;
    }
    for (int k = 0; k < FLAT_KINDS; k++) {
        int64_t before = median(flat, warm, warm + third, k);
        int64_t after = median(flat, flat->n - third, flat->n, k);
        bool grew = after - before > kinds[k].most;
        printf("memory: %-11s %8lld, then %8lld (may grow by %lld)%s\n", kinds[k].name,
               (long long)(before / kinds[k].unit), (long long)(after / kinds[k].unit),
               (long long)(kinds[k].most / kinds[k].unit), grew ? ": GREW" : "");
        flat_all = flat_all && !grew;
    }
    return flat_all;
}
