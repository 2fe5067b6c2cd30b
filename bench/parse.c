/* SPDX-License-Identifier: Apache-2.0 */
/* parse.c - the command line of shm-bench. */
#include "bench.h"

#include <ctype.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "Usage: shm-bench COLLECTIVE [options]\n"
    "\n"
    "Measures a collective of shmrt between processes of this machine, in turns with the floors "
    "of\n"
    "the same run and, where asked for, other libraries. COLLECTIVE is allreduce, broadcast, "
    "reduce,\n"
    "allgather, reduce_scatter, alltoall, gather, scatter, sendrecv (ping-pong of ranks 0 and 1,\n"
    "half a round trip), barrier, allreduce_norm (with residual and RMS norm, beside the same in\n"
    "two calls) or create (ranks meet, and make their first all-reduce).\n"
    "\n"
    "  -n, --ranks N          processes, one pinned to each CPU where there are enough (2)\n"
    "  -t, --threads N        threads (lanes) a rank, each with a CPU where there are enough\n"
    "  -s, --sizes A[:B[:F]]  bytes of a block from A to B, times F at each step (64:64M:4); K, M, "
    "G\n"
    "  -d, --dtype TYPE       fp32, fp64, bf16, fp16, int8, uint8, int16, int32, int64 (fp32)\n"
    "  -o, --op OP            sum, min, max, prod, avg (sum)\n"
    "      --out-of-place     separate output buffer (allreduce and reduce default to in place)\n"
    "      --buffers STATE    before each call, untimed: warm (nothing), cold (flushed from the\n"
    "                         caches), rewritten (each rank writes its input); (warm)\n"
    "      --shared[=both]    buffers in shared memory, from shmrt_alloc; both: shmrt with "
    "private\n"
    "                         ones and shmrt_shared take turns\n"
    "      --seconds S        time for each size and contender (0.25)\n"
    "      --probe            measure the floors a second time, with code that uses nothing of\n"
    "                         shmrt: the two check each other\n"
    "      --traffic          count the bytes that a call moves within and between groups of\n"
    "                         ranks (SHMRT_GROUPS)\n"
    "      --peer NAME:CMD    measure another library too: CMD starts its ranks, which find the\n"
    "                         control page in SHM_BENCH_CONTROL (bench/peer.h); may be repeated\n"
    "      --peer-timeout S   a peer that takes longer to start or to answer is skipped (60)\n"
    "      --json FILE        write everything as JSON, - for standard output\n"
    "      --plot FILE        draw it (svg, png, pdf), with shm-bench-plot and matplotlib\n"
    "  -q, --quiet            no table\n"
    "  -v, --verbose          pass on what the peers print\n"
    "  -h, --help             this text\n"
    "  -V, --version\n"
    "\n"
    "Floors: memcpy (private to private, all ranks at once), roundtrip (of a cache line between\n"
    "ranks 0 and 1), remote_read (lines that another core has just written), remote_write (lines\n"
    "that another core has just read), forkjoin (an OpenMP region of the threads).\n"
    "\n"
    "Times are per call, in microseconds; a sample is a batch of at least 20 us, and of each\n"
    "sample the slowest rank counts. p99 is that of calls timed alone, from 2 us on. Every "
    "contender\n"
    "is checked for right results at every size before it is timed.\n"
    "The library's SHMRT_* variables apply (SHMRT_KERNEL, SHMRT_LANES, ...).\n";

static int complain(const char *what, const char *value, const char *advice)
{
    fprintf(stderr, "shm-bench: %s \"%s\": %s\n", what, value, advice);
    return 2;
}

static bool parse_bytes(const char *text, char **end, size_t *out)
{
    if (!isdigit((unsigned char)*text))
        return false;
    unsigned long long value = strtoull(text, end, 10);
    const char *suffix = **end ? strchr("KMG", toupper((unsigned char)**end)) : NULL;
    if (suffix) {
        int shift = suffix[0] == 'K' ? 10 : suffix[0] == 'M' ? 20 : 30;
        if (value > (1ULL << 40 >> shift))
            return false;
        value <<= shift;
        ++*end;
    }
    *out = (size_t)value;
    return value > 0 && value <= 1ULL << 40;
}

static bool parse_sizes(const char *text, struct bench_options *out)
{
    char *end;
    if (!parse_bytes(text, &end, &out->first_bytes))
        return false;
    out->last_bytes = out->first_bytes;
    if (*end == ':' && !parse_bytes(end + 1, &end, &out->last_bytes))
        return false;
    if (*end == ':' && !parse_bytes(end + 1, &end, &out->factor))
        return false;
    return *end == '\0' && out->last_bytes >= out->first_bytes && out->factor >= 2;
}

/* The index of @text among the names, or -1. */
static int find(const char *text, const char *(*name)(uint32_t))
{
    for (uint32_t i = 0; name(i); i++)
        if (!strcmp(text, name(i)))
            return (int)i;
    return -1;
}

static bool parse_dtype(const char *text, enum shmrt_dtype *out)
{
    static const char *const short_names[] = {"fp32", "fp64", "bf16", "fp16"};
    int found = find(text, bench_dtype_name);
    for (int d = 0; d < 4; d++)
        if (!strcmp(text, short_names[d]))
            found = d;
    *out = (enum shmrt_dtype)found;
    return found >= 0;
}

static bool parse_op(const char *text, enum shmrt_op *out)
{
    int found = find(text, bench_op_name);
    *out = (enum shmrt_op)found;
    return found >= 0;
}

static bool parse_buffers(const char *text, uint32_t *out)
{
    int found = find(text, bench_buffers_name);
    *out = (uint32_t)found;
    return found >= 0;
}

static bool parse_memory(const char *text, enum bench_memory *out)
{
    *out = text ? BENCH_BOTH : BENCH_SHARED;
    return !text || !strcmp(text, "both");
}

static bool parse_number(const char *text, int *out)
{
    char *end;
    long value = strtol(text, &end, 10);
    *out = (int)value;
    return end != text && !*end && value >= 1 && value <= SHMRT_MAX_RANKS;
}

static bool parse_seconds(const char *text, double *out)
{
    char *end;
    *out = strtod(text, &end);
    return end != text && !*end && *out > 0 && *out <= 3600;
}

static int take_peer(const char *text, struct bench_options *out)
{
    const char *colon = strchr(text, ':');
    struct bench_peer_option *peer = &out->peer[out->peers];
    if (out->peers == MAX_PEERS)
        return complain("peer", text, "too many");
    if (!colon || colon == text || (size_t)(colon - text) >= sizeof peer->name || !colon[1])
        return complain("peer", text, "give NAME:COMMAND, as 'openmpi:mpirun -n 2 ./peer'");
    memcpy(peer->name, text, (size_t)(colon - text));
    for (const char *c = peer->name; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("._+-", *c))
            return complain("peer", text, "a name is made of letters, digits and . _ + -");
    for (int p = 0; p < out->peers; p++)
        if (!strcmp(out->peer[p].name, peer->name))
            return complain("peer", peer->name, "two peers have that name");
    peer->command = colon + 1;
    out->peers++;
    return 0;
}

static int take_plot(const char *path, struct bench_options *out)
{
    const char *dot = strrchr(path, '.');
    out->plot_path = path;
    if (dot && (!strcmp(dot, ".svg") || !strcmp(dot, ".png") || !strcmp(dot, ".pdf")))
        return 0;
    return complain("plot", path, "the name has to end with .svg, .png or .pdf");
}

/* What has no value. */
static bool take_flag(int option, struct bench_options *out)
{
    bool *flag = option == 'p'   ? &out->out_of_place
                 : option == 'q' ? &out->quiet
                 : option == 'v' ? &out->verbose
                 : option == 'P' ? &out->probe
                 : option == 'F' ? &out->traffic
                                 : NULL;
    if (flag)
        *flag = true;
    return flag;
}

/* One option; 0, or the exit status after a complaint. */
static int take_option(int option, const char *value, struct bench_options *out)
{
    switch (option) {
    case 'n':
        return parse_number(value, &out->ranks) ? 0 : complain("ranks", value, "give 1 to 64");
    case 't':
        return parse_number(value, &out->threads) ? 0 : complain("threads", value, "give 1 to 64");
    case 's':
        return parse_sizes(value, out)
                   ? 0
                   : complain("sizes", value,
                              "give A, A:B or A:B:F with A <= B and F >= 2, as 64:64M:4");
    case 'd':
        return parse_dtype(value, &out->dtype)
                   ? 0
                   : complain("dtype", value,
                              "give fp32, fp64, bf16, fp16, int8, uint8, int16, int32 or int64");
    case 'o':
        return parse_op(value, &out->op) ? 0
                                         : complain("op", value, "give sum, min, max, prod or avg");
    case 'b':
        return parse_buffers(value, &out->buffers)
                   ? 0
                   : complain("buffers", value, "give warm, cold or rewritten");
    case 'T':
        return parse_seconds(value, &out->seconds)
                   ? 0
                   : complain("seconds", value, "give more than 0, at most 3600");
    case 'O':
        return parse_seconds(value, &out->peer_timeout_s)
                   ? 0
                   : complain("peer-timeout", value, "give more than 0, at most 3600");
    case 'e':
        return take_peer(value, out);
    case 'S':
        return parse_memory(value, &out->memory)
                   ? 0
                   : complain("shared", value, "give both or nothing");
    case 'j':
        out->json_path = value;
        return 0;
    case 'l':
        return take_plot(value, out);
    default:
        if (take_flag(option, out))
            return 0;
        fprintf(stderr, "Try shm-bench --help.\n");
        return 2;
    }
}

static int count_sizes(const struct bench_options *o)
{
    int n = 0;
    for (size_t bytes = o->first_bytes; bytes && bytes <= o->last_bytes; bytes *= o->factor)
        n++;
    return n;
}

/* What every rank takes: in, out, memcpy's target, its part of the plane; more pairs of buffers. */
static bool fits_memory(const struct bench_options *o)
{
    struct bench_task largest = bench_task_of(o, o->last_bytes);
    int pairs = 2 + (o->memory == BENCH_BOTH) + (o->collective == BENCH_ALLREDUCE_NORM);
    double wanted = 2.0 * pairs * (double)bench_payload_bytes(&largest) * o->ranks;
    unsigned long long kib = 0;
    char line[128];
    FILE *file = fopen("/proc/meminfo", "re");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
            break;
    if (file)
        fclose(file);
    if (kib == 0 || wanted <= (double)kib * 1024)
        return true;
    fprintf(stderr, "shm-bench: sizes: %d ranks would take %.1f GiB, and %.1f GiB are free\n",
            o->ranks, wanted / (1 << 30), (double)kib / (1 << 20));
    return false;
}

/* What can't be said of one option alone; -1 when all is well. */
static int check(struct bench_options *o)
{
    const char *name = bench_collective_name(o->collective);
    if (!bench_ours_exists(o->collective))
        return complain("collective", name, "this build of shmrt does not have it");
    if (o->collective == BENCH_SENDRECV && o->ranks < 2)
        return complain("collective", name, "takes two ranks or more");
    if (o->collective == BENCH_BARRIER)
        o->first_bytes = o->last_bytes = 0;
    if (o->op == SHMRT_AVG && o->dtype > SHMRT_FLOAT16)
        return complain("op", "avg", "the average of integers is not defined");
    if (o->collective == BENCH_ALLREDUCE_NORM &&
        (o->op != SHMRT_SUM || o->dtype == SHMRT_FLOAT64 || o->dtype > SHMRT_FLOAT16))
        return complain("collective", name, "takes sums of fp32, bf16 or fp16");
    if (o->first_bytes % shmrt_dtype_bytes(o->dtype))
        return complain("sizes", "", "the first size is not a whole number of elements");
    if (count_sizes(o) > MAX_SIZES)
        return complain("sizes", "", "more than 48 of them");
    return fits_memory(o) ? -1 : 2;
}

int bench_parse(int argc, char **argv, struct bench_options *out)
{
    static const struct option options[] = {
        {"ranks", required_argument, NULL, 'n'},
        {"threads", required_argument, NULL, 't'},
        {"sizes", required_argument, NULL, 's'},
        {"dtype", required_argument, NULL, 'd'},
        {"op", required_argument, NULL, 'o'},
        {"out-of-place", no_argument, NULL, 'p'},
        {"buffers", required_argument, NULL, 'b'},
        {"shared", optional_argument, NULL, 'S'},
        {"seconds", required_argument, NULL, 'T'},
        {"probe", no_argument, NULL, 'P'},
        {"traffic", no_argument, NULL, 'F'},
        {"peer", required_argument, NULL, 'e'},
        {"peer-timeout", required_argument, NULL, 'O'},
        {"json", required_argument, NULL, 'j'},
        {"plot", required_argument, NULL, 'l'},
        {"quiet", no_argument, NULL, 'q'},
        {"verbose", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    *out = (struct bench_options){.ranks = 2,
                                  .first_bytes = 64,
                                  .last_bytes = 64 << 20,
                                  .factor = 4,
                                  .seconds = 0.25,
                                  .peer_timeout_s = 60};
    int option, status = 0;
    while (status == 0 &&
           (option = getopt_long(argc, argv, "n:t:s:d:o:qvhV", options, NULL)) != -1) {
        if (option == 'h' || option == 'V') {
            printf(option == 'h' ? "%s" : "shm-bench %s\n",
                   option == 'h' ? usage : shmrt_version());
            return 0;
        }
        status = take_option(option, optarg, out);
    }
    if (status)
        return status;
    int collective = optind < argc ? find(argv[optind], bench_collective_name) : -1;
    if (optind + 1 != argc || collective < 0)
        return complain("collective", optind < argc ? argv[optind] : "",
                        "name one: shm-bench allreduce [options]");
    out->collective = (uint32_t)collective;
    return check(out);
}
