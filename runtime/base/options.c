/* SPDX-License-Identifier: Apache-2.0 */
/* options.c - the table of options, and the one parser that reads it. */
#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { BYTES, BYTES_OR_AUTO, NUMBER, SECONDS, NAME, GROUPS, NODES, PAGES, PATH };

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

/* Ranges are in the unit of the text: bytes, a plain number, or seconds. */
static const struct option {
    const char *key;
    const char *env;
    enum kind kind;
    const char *initial;
    double min, max;
    size_t offset;
    const char *doc;
} table[] = {
#define AT(field) offsetof(struct shmrt_options, field)
    {"segment", "SHMRT_SEGMENT", BYTES, "8M", 256 * KIB, 64 * GIB, AT(segment_bytes),
     "shared memory of each rank, all lanes together; the same on all ranks"},
    {"pool", "SHMRT_POOL", BYTES, "256M", 0, 1024.0 * GIB, AT(pool_bytes),
     "most memory that each rank gives out with shmrt_alloc, taken as it is used; 0 switches that "
     "off; the same on all ranks"},
    {"chunk", "SHMRT_CHUNK", BYTES, "0", 0, 16 * MIB, AT(chunk_bytes),
     "two-shot: bytes of one rank's part in a round; 0 fits it to the segment; the same on all "
     "ranks"},
    {"oneshot_max", "SHMRT_ONESHOT_MAX", BYTES_OR_AUTO, "auto", 0, 1 * MIB, AT(oneshot_max_bytes),
     "largest vector that goes in one shot on the caller's thread; the same on all ranks; auto: "
     "see tune"},
    {"exchange_max", "SHMRT_EXCHANGE_MAX", BYTES_OR_AUTO, "auto", 0, 1024 * GIB,
     AT(exchange_max_bytes),
     "largest all-reduce that goes in one pass, each rank reducing all of it, where it is more "
     "than oneshot_max; rank 0 decides; auto: see tune"},
    {"hierarchy_min", "SHMRT_HIERARCHY_MIN", BYTES_OR_AUTO, "auto", 0, 1024 * GIB,
     AT(hierarchy_min_bytes),
     "where ranks lie in several groups, smallest all-reduce, reduce-scatter, all-gather or "
     "broadcast that goes from group to group once and on within the groups, if it is more than "
     "oneshot_max; rank 0 decides; auto: see tune"},
    {"lane_min", "SHMRT_LANE_MIN", BYTES_OR_AUTO, "auto", 1 * KIB, 1 * GIB, AT(lane_bytes),
     "a vector wakes one lane for each of these; rank 0 decides; auto is 32K"},
    {"tune", "SHMRT_TUNE", NAME, "auto", 0, 0, AT(tune),
     "where thresholds that are auto come from; rank 0 decides: auto measures them once for a "
     "machine and number of ranks and keeps them in the cache folder, now measures again, off "
     "takes fixed ones"},
    {"lanes", "SHMRT_LANES", NUMBER, "0", 0, 256, AT(lanes),
     "threads of a rank that reduce side by side; 0 takes the OpenMP threads, as far as there are "
     "CPUs for those of all ranks; the rank with the fewest decides"},
    {"timeout", "SHMRT_TIMEOUT", SECONDS, "1800", 0.001, 1e7, AT(timeout_ms),
     "longest that a collective waits for one rank"},
    {"rendezvous_timeout", "SHMRT_RENDEZVOUS_TIMEOUT", SECONDS, "60", 0.001, 1e7,
     AT(rendezvous_timeout_ms), "deadline for all ranks to meet"},
    {"warn", "SHMRT_WARN", SECONDS, "10", 0.001, 1e7, AT(warn_ms),
     "after waiting this long, one line says who is missing"},
    {"spin", "SHMRT_SPIN_US", NUMBER, "30", 0, 1e6, AT(spin_us),
     "microseconds a wait spins before it yields the CPU; at most 1 when there are more ranks than "
     "CPUs"},
    {"yield", "SHMRT_YIELD_US", NUMBER, "1000", 0, 1e6, AT(yield_us),
     "microseconds from the start of a wait until it sleeps"},
    {"bind", "SHMRT_BIND", NUMBER, "1", 0, 1, AT(bind),
     "1 binds each segment to its rank's NUMA nodes with mbind; 0 leaves it to first touch"},
    {"nodes", "SHMRT_NODES", NODES, "auto", 0, SHMRT_NODES_MAX - 1, AT(nodes),
     "NUMA nodes that this rank's shared memory is bound to, such as 0 or 8-9; auto: those of the "
     "CPUs it may run on"},
    {"groups", "SHMRT_GROUPS", GROUPS, "auto", 0, 0, AT(groups),
     "ranks that are near each other, for hierarchical collectives and the order of summation: "
     "socket or node (of the CPUs a rank may run on), one (all ranks), or lists of ranks such as "
     "0-3/4-7; auto: by socket where every rank runs on one only; the same on all ranks"},
    {"sum_order", "SHMRT_SUM_ORDER", NAME, "placement", 0, 0, AT(sum_order),
     "in which floating-point terms are added: placement: within each group in the order of ranks, "
     "then the groups; rank: in the order of ranks, which costs more bytes between groups; rank if "
     "any rank says so"},
    {"huge_pages", "SHMRT_HUGE_PAGES", PAGES, "off", 0, 0, AT(huge_pages),
     "pages of segments and of shmrt_alloc's memory: off, transparent (the kernel makes huge ones "
     "where it finds room), hugetlb (out of the pool that vm.nr_hugepages sets aside: segment and "
     "pool of each rank, whole); where there are too few, ordinary ones serve and a line says so"},
    {"kernel", "SHMRT_KERNEL", NAME, "auto", 0, 0, AT(kernel),
     "reduce kernels: auto, or a rung's name (reference; on x86-64 sse2, avx2, avx512, avx512fp16; "
     "on aarch64 neon, neonfp16, neonbf16, sve, svebf16; on riscv64 rvv)"},
    {"disable", "SHMRT_DISABLE", NUMBER, "0", 0, 1, AT(disable),
     "1 switches shared memory off: no rank's shmrt_comm_create() succeeds, and all are told of "
     "it at once"},
    {"recorder", "SHMRT_RECORDER", PATH, "off", 0, 0, AT(recorder),
     "keep each rank's latest calls in a file too, which outlives a kill of all ranks: this name "
     "with .rankR.PID behind it; removed when the communicator comes to a good end; off: none"},
#undef AT
};

enum { OPTIONS = sizeof table / sizeof table[0] };

static const char *unit_of(enum kind kind)
{
    switch (kind) {
    case BYTES:
        return " bytes (suffixes K, M, G)";
    case BYTES_OR_AUTO:
        return " bytes (suffixes K, M, G) or auto";
    case SECONDS:
        return " seconds";
    default:
        return "";
    }
}

/* A number with an optional binary suffix; false when @text is anything else. */
static bool parse_number(const char *text, enum kind kind, double *value_out)
{
    char *end;
    if (!isdigit((unsigned char)text[0]))
        return false;
    double value = strtod(text, &end);
    if ((kind == BYTES || kind == BYTES_OR_AUTO) && *end) {
        const char *suffix = strchr("KMG", toupper((unsigned char)*end));
        if (!suffix)
            return false;
        value *= suffix[0] == 'K' ? KIB : suffix[0] == 'M' ? MIB : GIB;
        end++;
    }
    *value_out = value;
    return *end == '\0' && isfinite(value) && (kind == SECONDS || value == floor(value));
}

static int set_name(const struct option *option, const char *source, const char *text, char *out,
                    struct shmrt_error *error_out)
{
    size_t length = strlen(text);
    size_t most = option->kind == GROUPS ? SHMRT_GROUPS_BYTES - 1
                  : option->kind == PATH ? SHMRT_PATH_BYTES - 1
                                         : SHMRT_KERNEL_NAME_BYTES - 1;
    if (length == 0 || length > most)
        return shmrt_error_set(error_out, -EINVAL,
                               "%s=%s is not a name of 1 to %zu characters (%s)", source, text,
                               most, option->doc);
    memcpy(out, text, length + 1);
    return 0;
}

static int set_nodes(const struct option *option, const char *source, const char *text,
                     struct shmrt_nodeset *out, struct shmrt_error *error_out)
{
    struct shmrt_nodeset set = {0};
    size_t first, last;
    const char *at = strcmp(text, "auto") == 0 ? "" : text;
    for (bool is_first = at == text; is_first || *at; is_first = false) {
        at = shmrt_list_next(at, SHMRT_NODES_MAX - 1, &first, &last);
        if (!at)
            return shmrt_error_set(error_out, -EINVAL,
                                   "%s=%s is not a list of numbers up to %d, or auto: %s", source,
                                   text, SHMRT_NODES_MAX - 1, option->doc);
        for (size_t node = first; node <= last; node++)
            shmrt_nodeset_add(&set, node);
    }
    *out = set;
    return 0;
}

/* Stored as the word's index: enum shmrt_page_kind. */
static int set_pages(const struct option *option, const char *source, const char *text,
                     uint64_t *out, struct shmrt_error *error_out)
{
    static const char *const words[] = {"off", "transparent", "hugetlb"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(text, words[i]) == 0) {
            *out = i;
            return 0;
        }
    return shmrt_error_set(error_out, -EINVAL, "%s=%s is not off, transparent or hugetlb: %s",
                           source, text, option->doc);
}

static bool is_in_range(const struct option *option, double value)
{
    return value >= option->min && value <= option->max; /* no NaN is */
}

static int refuse_number(const struct option *option, const char *source, const char *text,
                         struct shmrt_error *error_out)
{
    return shmrt_error_set(error_out, -EINVAL, "%s=%s is not a number from %.15g to %.15g%s: %s",
                           source, text, option->min, option->max, unit_of(option->kind),
                           option->doc);
}

static int set_option(const struct option *option, const char *source, const char *text,
                      struct shmrt_options *out, struct shmrt_error *error_out)
{
    char *field = (char *)out + option->offset;
    double value;
    if (option->kind == NAME || option->kind == GROUPS || option->kind == PATH)
        return set_name(option, source, text, field, error_out);
    if (option->kind == NODES)
        return set_nodes(option, source, text, (struct shmrt_nodeset *)field, error_out);
    if (option->kind == PAGES)
        return set_pages(option, source, text, (uint64_t *)field, error_out);
    if (option->kind == BYTES_OR_AUTO && strcmp(text, "auto") == 0) {
        memcpy(field, &(uint64_t){SHMRT_AUTO}, sizeof(uint64_t));
        return 0;
    }
    if (!parse_number(text, option->kind, &value) || !is_in_range(option, value))
        return refuse_number(option, source, text, error_out);
    uint64_t stored = (uint64_t)(option->kind == SECONDS ? value * 1000 : value);
    memcpy(field, &stored, sizeof stored);
    return 0;
}

static const struct option *find_option(const char *key, size_t length)
{
    for (size_t i = 0; i < OPTIONS; i++)
        if (strlen(table[i].key) == length && memcmp(table[i].key, key, length) == 0)
            return &table[i];
    return NULL;
}

static int apply_setting(const char *setting, struct shmrt_options *out,
                         struct shmrt_error *error_out)
{
    const char *equals = strchr(setting, '=');
    const struct option *option = equals ? find_option(setting, (size_t)(equals - setting)) : NULL;
    if (option)
        return set_option(option, option->key, equals + 1, out, error_out);
    char keys[320] = "";
    for (size_t i = 0, at = 0; i < OPTIONS; i++)
        at += (size_t)snprintf(keys + at, sizeof keys - at, "%s%s", i ? ", " : "", table[i].key);
    return shmrt_error_set(error_out, -EINVAL, "setting \"%s\" is not key=value with one of: %s",
                           setting, keys);
}

static int keep_first(int first, int next)
{
    return first ? first : next;
}

int shmrt_options_load(const char *const *settings, struct shmrt_options *out,
                       struct shmrt_error *error_out)
{
    int rc = 0;
    memset(out, 0, sizeof *out);
    out->parent_group = SHMRT_GROUP_UNKNOWN;
    for (size_t i = 0; i < OPTIONS; i++) {
        const char *text = secure_getenv(table[i].env);
        (void)set_option(&table[i], table[i].env, table[i].initial, out, NULL); /* it is right */
        if (text && *text)
            rc = keep_first(rc,
                            set_option(&table[i], table[i].env, text, out, rc ? NULL : error_out));
    }
    for (; settings && *settings; settings++)
        rc = keep_first(rc, apply_setting(*settings, out, rc ? NULL : error_out));
    return rc;
}

int shmrt_options_set_timeout(struct shmrt_options *options, double seconds,
                              struct shmrt_error *error_out)
{
    char text[32];
    const struct option *option = find_option("timeout", strlen("timeout"));
    if (!is_in_range(option, seconds)) {
        snprintf(text, sizeof text, "%.15g", seconds);
        return refuse_number(option, option->key, text, error_out);
    }
    options->timeout_ms = (uint64_t)(seconds * 1000);
    return 0;
}

size_t shmrt_options_describe(char *buffer, size_t bytes)
{
    size_t at = 0;
    for (size_t i = 0; i < OPTIONS; i++) {
        const struct option *option = &table[i];
        char range[96] = "";
        bool has_range = option->kind != NAME && option->kind != GROUPS && option->kind != NODES &&
                         option->kind != PAGES && option->kind != PATH;
        if (has_range)
            snprintf(range, sizeof range, ", %.15g to %.15g%s", option->min, option->max,
                     unit_of(option->kind));
        at += (size_t)snprintf(at < bytes ? buffer + at : NULL, at < bytes ? bytes - at : 0,
                               "%s (%s, default %s%s)\n    %s\n", option->key, option->env,
                               option->initial, range, option->doc);
    }
    return at;
}
