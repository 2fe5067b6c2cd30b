/* SPDX-License-Identifier: Apache-2.0 */
/* parse.c - the command line of shm-bench. */
#include "bench.h"

#include <ctype.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "Usage: shm-bench allreduce [options]\n"
    "\n"
    "Measures the all-reduce of shmrt between processes of this machine, beside the floors of the\n"
    "same run: a local memcpy of the same size, and one cache-line round trip.\n"
    "\n"
    "  -n, --ranks N          processes, one pinned to each CPU where there are enough (2)\n"
    "  -s, --sizes A[:B[:F]]  bytes from A to B, times F at each step (64:64M:4); K, M, G\n"
    "  -d, --dtype TYPE       fp32, fp64, bf16, fp16, int8, uint8, int16, int32, int64 (fp32)\n"
    "  -o, --op OP            sum, min, max, prod, avg (sum)\n"
    "      --out-of-place     separate output buffer (the default is in place)\n"
    "      --seconds S        time for each size and contender (0.25)\n"
    "      --json FILE        write the results as JSON, - for standard output\n"
    "  -q, --quiet            no table\n"
    "  -h, --help             this text\n"
    "  -V, --version\n"
    "\n"
    "Times are per call, in microseconds; a sample is a batch of at least 20 us, and of each\n"
    "sample the slowest rank counts. Every size is checked for right results before it is timed.\n"
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

static bool parse_dtype(const char *text, enum shmrt_dtype *out)
{
    static const char *const short_names[SHMRT_DTYPE_COUNT] = {[SHMRT_FLOAT32] = "fp32",
                                                               [SHMRT_FLOAT64] = "fp64",
                                                               [SHMRT_BFLOAT16] = "bf16",
                                                               [SHMRT_FLOAT16] = "fp16"};
    for (int d = 0; d < SHMRT_DTYPE_COUNT; d++)
        if (!strcmp(text, shmrt_dtype_name((enum shmrt_dtype)d)) ||
            (short_names[d] && !strcmp(text, short_names[d]))) {
            *out = (enum shmrt_dtype)d;
            return true;
        }
    return false;
}

static bool parse_op(const char *text, enum shmrt_op *out)
{
    for (int op = 0; op < SHMRT_OP_COUNT; op++)
        if (!strcmp(text, shmrt_op_name((enum shmrt_op)op))) {
            *out = (enum shmrt_op)op;
            return true;
        }
    return false;
}

static bool parse_ranks(const char *text, int *out)
{
    char *end;
    long value = strtol(text, &end, 10);
    *out = (int)value;
    return end != text && !*end && value >= 1 && value <= SHMRT_MAX_RANKS;
}

/* One option; 0, or the exit status after a complaint. */
static int take_option(int option, const char *value, struct bench_options *out)
{
    char *end;
    switch (option) {
    case 'n':
        return parse_ranks(value, &out->ranks) ? 0 : complain("ranks", value, "give 1 to 64");
    case 's':
        return parse_sizes(value, out) ? 0
                                       : complain("sizes", value,
                                                  "give A, A:B or A:B:F with A <= B and F >= 2, as "
                                                  "64:64M:4");
    case 'd':
        return parse_dtype(value, &out->dtype)
                   ? 0
                   : complain("dtype", value,
                              "give fp32, fp64, bf16, fp16, int8, uint8, int16, "
                              "int32 or int64");
    case 'o':
        return parse_op(value, &out->op) ? 0
                                         : complain("op", value, "give sum, min, max, prod or avg");
    case 't':
        out->seconds = strtod(value, &end);
        return end != value && !*end && out->seconds > 0 && out->seconds <= 3600
                   ? 0
                   : complain("seconds", value, "give more than 0, at most 3600");
    case 'j':
        out->json_path = value;
        return 0;
    case 'p':
        out->out_of_place = true;
        return 0;
    case 'q':
        out->quiet = true;
        return 0;
    default:
        fprintf(stderr, "Try shm-bench --help.\n");
        return 2;
    }
}

int bench_parse(int argc, char **argv, struct bench_options *out)
{
    static const struct option options[] = {
        {"ranks", required_argument, NULL, 'n'},
        {"sizes", required_argument, NULL, 's'},
        {"dtype", required_argument, NULL, 'd'},
        {"op", required_argument, NULL, 'o'},
        {"seconds", required_argument, NULL, 't'},
        {"json", required_argument, NULL, 'j'},
        {"out-of-place", no_argument, NULL, 'p'},
        {"quiet", no_argument, NULL, 'q'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    *out = (struct bench_options){
        .ranks = 2, .first_bytes = 64, .last_bytes = 64 << 20, .factor = 4, .seconds = 0.25};
    int option, status = 0;
    while (status == 0 && (option = getopt_long(argc, argv, "n:s:d:o:qhV", options, NULL)) != -1) {
        if (option == 'h' || option == 'V') {
            printf(option == 'h' ? "%s" : "shm-bench %s\n",
                   option == 'h' ? usage : shmrt_version());
            return 0;
        }
        status = take_option(option, optarg, out);
    }
    if (status)
        return status;
    if (optind + 1 != argc || strcmp(argv[optind], "allreduce") != 0)
        return complain("collective", optind < argc ? argv[optind] : "",
                        "name one: shm-bench allreduce [options]");
    if (out->op == SHMRT_AVG && out->dtype > SHMRT_FLOAT16)
        return complain("op", "avg", "the average of integers is not defined");
    size_t element = shmrt_dtype_bytes(out->dtype);
    if (out->first_bytes % element)
        return complain("sizes", "", "the first size is not a whole number of elements");
    return -1;
}
