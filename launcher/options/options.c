/* SPDX-License-Identifier: Apache-2.0 */
/* options.c - the table of options, the meaning of their values, and --help made from it. */
#include "options.h"

#include "common/say.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST_S = 30 * 24 * 3600 };

#define AT(field) offsetof(struct launch_options, field)

static const struct launch_choice places[] = {
    {"spread", SHMRT_PLACE_SPREAD},   {"socket", SHMRT_PLACE_PACKAGE},
    {"package", SHMRT_PLACE_PACKAGE}, {"numa", SHMRT_PLACE_NODE},
    {"node", SHMRT_PLACE_NODE},       {"l3", SHMRT_PLACE_L3},
    {"core", SHMRT_PLACE_CORE},       {0},
};
static const struct launch_choice policies[] = {
    {"bind", SHMRT_MEMORY_BIND},
    {"prefer", SHMRT_MEMORY_PREFER},
    {"interleave", SHMRT_MEMORY_INTERLEAVE},
    {"local", SHMRT_MEMORY_LOCAL},
    {0},
};
static const struct launch_choice tiers[] = {
    {"dram", SHMRT_TIER_DRAM},
    {"hbm", SHMRT_TIER_HBM},
    {"cxl", SHMRT_TIER_CXL},
    {"any", SHMRT_TIER_ANY},
    {0},
};
static const struct launch_choice orders[] = {
    {"near", SHMRT_ORDER_NEAR},
    {"cyclic", SHMRT_ORDER_CYCLIC},
    {0},
};

#define NUMBER(field, least, most) LAUNCH_NUMBER, AT(field), least, most, NULL
#define SECONDS(field)             LAUNCH_SECONDS, AT(field), 0, LONGEST_S, NULL
#define PLAIN(kind, field)         kind, AT(field), 0, 0, NULL
#define CHOICE(field, list)        LAUNCH_CHOICE, AT(field), 0, 0, list
/* Whether configurations may say it too. */
enum { LINE = false, BOTH = true };

static const struct launch_option table[] = {
    {"ranks", 'n', "N", NUMBER(request.ranks, 1, SHMRT_MAX_RANKS), BOTH,
     "ranks on this machine, 1 to 64; with --per: as many as there are"},
    {"per", 0, "PLACE", CHOICE(request.per, places), BOTH,
     "one rank on each socket, numa (node), l3 or core; spread: evenly"},
    {"cores-per-rank", 0, "N", NUMBER(request.cores_per_rank, 1, 65536), BOTH,
     "exactly N cores each, not an even share"},
    {"threads-per-core", 0, "N", NUMBER(request.threads_per_core, 1, 64), BOTH,
     "N CPUs of a core, an OpenMP thread on each; else one thread a core"},
    {"reserve", 0, "N", NUMBER(request.reserve, 0, 65536), BOTH,
     "N cores of each rank are left to threads outside OpenMP"},
    {"cpus", 0, "LIST", PLAIN(LAUNCH_LIST, cpus), BOTH, "use no other CPUs, such as 0-15,32-47"},
    {"nodes", 0, "LIST", PLAIN(LAUNCH_LIST, nodes), BOTH,
     "use no other NUMA nodes, neither CPUs nor memory"},
    {"mem", 0, "POLICY", CHOICE(request.memory, policies), BOTH,
     "bind (to a rank's nodes; default), prefer, interleave or local"},
    {"tier", 0, "TIER", CHOICE(request.tier, tiers), BOTH,
     "memory from dram (default), hbm, cxl or any node near the rank"},
    {"rank-order", 0, "ORDER", CHOICE(request.order, orders), BOTH,
     "near: neighbours side by side (default); cyclic: over the sockets"},
    {"config", 0, "FILE|NAME", PLAIN(LAUNCH_TEXT, config), LINE,
     "options from a YAML file, or from an installed one by its name"},
    {"strict", 0, NULL, PLAIN(LAUNCH_FLAG, strict), BOTH,
     "do not run where CPUs or memory can't be bound as planned"},
    {"no-bind", 0, NULL, PLAIN(LAUNCH_FLAG, no_bind), BOTH, "bind nothing; set variables only"},
    {"dry-run", 0, NULL, PLAIN(LAUNCH_FLAG, dry_run), LINE,
     "show who would run where; start nothing"},
    {"report", 0, NULL, PLAIN(LAUNCH_FLAG, report), BOTH,
     "show the same at the start, on standard error"},
    {"json", 0, NULL, PLAIN(LAUNCH_FLAG, json), LINE, "with --dry-run or plan: as JSON"},
    {"draw", 0, "FILE.svg", PLAIN(LAUNCH_TEXT, draw), LINE, "draw the machine and the ranks"},
    {"diff", 0, "A B", PLAIN(LAUNCH_PAIR, diff), LINE,
     "with plan: what differs between two saved plans or configurations"},
    {"verify", 0, NULL, PLAIN(LAUNCH_FLAG, verify), BOTH,
     "look where threads and memory really are, once libraries are loaded"},
    {"topology", 0, "TEXT|FILE", PLAIN(LAUNCH_TEXT, topology), LINE,
     "with --dry-run or plan: of a machine that lstopo saved to FILE.xml"},
    {"env", 0, "NAME=VALUE", PLAIN(LAUNCH_WORDS, env), BOTH,
     "set it for the ranks; several times: several"},
    {"preload", 0, "LIB", PLAIN(LAUNCH_WORDS, preload), BOTH,
     "LD_PRELOAD, such as libtcmalloc.so.4 or jemalloc"},
    {"stdin", 0, "RANK", PLAIN(LAUNCH_READER, stdin_rank), BOTH,
     "who reads standard input (0), or all, or none"},
    {"log-dir", 0, "DIR", PLAIN(LAUNCH_TEXT, log_dir), BOTH,
     "each rank's output also in DIR/rank-N.out and .err"},
    {"timestamps", 0, NULL, PLAIN(LAUNCH_FLAG, timestamps), BOTH,
     "the time in front of output lines"},
    {"no-prefix", 0, NULL, PLAIN(LAUNCH_FLAG, no_prefix), BOTH,
     "no [rank] in front of output lines"},
    {"timeout", 0, "SECONDS", SECONDS(timeout_ms), BOTH,
     "end the job after that time, with exit code 124"},
    {"grace", 0, "SECONDS", SECONDS(grace_ms), BOTH,
     "from the signal that ends a rank to SIGKILL (5)"},
    {"restarts", 0, "N", NUMBER(restarts, 0, 1000), BOTH,
     "start all ranks again after a failure, N times at most"},
    {"nnodes", 0, "N", NUMBER(machines, 1, 65536), LINE, "the job runs on N machines (1)"},
    {"node-rank", 0, "N", NUMBER(machine, 0, 65535), LINE, "this is machine N of them, from 0"},
    {"master-addr", 0, "ADDR", PLAIN(LAUNCH_TEXT, address), LINE, "name or address of machine 0"},
    {"master-port", 0, "PORT", NUMBER(port, 1, 65535), BOTH, "MASTER_PORT, else a free one"},
    {"help", 'h', NULL, PLAIN(LAUNCH_FLAG, help), LINE, "show this"},
    {"version", 'V', NULL, PLAIN(LAUNCH_FLAG, version), LINE, "show the version"},
    {0},
};

_Static_assert(sizeof table / sizeof table[0] <= LAUNCH_OPTIONS_MAX, "given[] has one a row");

const struct launch_option *launch_option_table(void)
{
    return table;
}

const struct launch_option *launch_option_find(const char *name, size_t length)
{
    for (const struct launch_option *o = table; o->name; o++)
        if (strlen(o->name) == length && memcmp(o->name, name, length) == 0)
            return o;
    return NULL;
}

const struct launch_option *launch_option_find_letter(char letter)
{
    for (const struct launch_option *o = table; o->name; o++)
        if (o->letter == letter)
            return o;
    return NULL;
}

/* Levenshtein's distance, for names that fit the row. */
static size_t distance(const char *a, size_t a_length, const char *b)
{
    size_t row[64], b_length = strlen(b);
    if (b_length >= sizeof row / sizeof row[0])
        return SIZE_MAX;
    for (size_t j = 0; j <= b_length; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
            size_t other = 1 + (row[j] < row[j - 1] ? row[j] : row[j - 1]);
            diagonal = row[j];
            row[j] = replaced < other ? replaced : other;
        }
    }
    return row[b_length];
}

const char *launch_option_guess(const char *name, size_t length, bool in_config)
{
    /* What the launchers that people come from call these. */
    static const char *const aliases[][2] = {
        {"np", "ranks"},
        {"rank", "ranks"},
        {"nproc-per-node", "ranks"},
        {"nproc_per_node", "ranks"},
        {"num_accelerators", "ranks"},
        {"port", "master-port"},
        {"master_port", "master-port"},
        {"master_addr", "master-addr"},
        {"rdzv-endpoint", "master-addr"},
        {"node_rank", "node-rank"},
        {"num_nodes", "nnodes"},
        {"max-restarts", "restarts"},
        {"max_restarts", "restarts"},
        {"cpunodebind", "nodes"},
        {"physcpubind", "cpus"},
        {"cpu-bind", "cpus"},
        {"cpu-list", "cpus"},
        {"cpu-set", "cpus"},
        {"mem-bind", "mem"},
        {"tag-output", "no-prefix"},
        {"map-by", "per"},
        {"per-socket", "per"},
        {"membind", "mem"},
        {"bind-to", "per"},
        {"oversubscribe", "ranks"},
    };
    for (size_t i = 0; i < sizeof aliases / sizeof aliases[0]; i++)
        if (strlen(aliases[i][0]) == length && memcmp(aliases[i][0], name, length) == 0)
            return aliases[i][1];
    const char *best = NULL;
    size_t least = length / 3 + 2; /* farther than that it is not a slip */
    for (const struct launch_option *o = table; o->name; o++) {
        size_t d = distance(name, length, o->name);
        bool is_start = length >= 3 && strncmp(o->name, name, length) == 0;
        if ((d < least || is_start) && (!in_config || o->in_config)) {
            best = o->name;
            least = is_start ? 0 : d;
        }
    }
    return best;
}

static int set_number(const struct launch_option *option, const char *value, size_t *out,
                      struct shmrt_error *error_out)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(value, &end, 10);
    if (value[0] < '0' || value[0] > '9' || *end || errno || number < option->least ||
        number > option->most)
        return launch_error(error_out, -EINVAL, "\"%s\" is not a whole number from %zu to %zu",
                            value, option->least, option->most);
    *out = (size_t)number;
    return 0;
}

static int set_seconds(const struct launch_option *option, const char *value, size_t *out,
                       struct shmrt_error *error_out)
{
    char *end;
    double seconds = strtod(value, &end);
    if (end == value || *end || !isfinite(seconds) || seconds < 0 || seconds > (double)option->most)
        return launch_error(error_out, -EINVAL, "\"%s\" is not a number of seconds from 0 to %zu",
                            value, option->most);
    *out = (size_t)ceil(seconds * 1000);
    return 0;
}

/* "a, b or c" */
static void list_choices(const struct launch_choice *choices, char *text_out, size_t bytes)
{
    text_out[0] = '\0';
    for (const struct launch_choice *c = choices; c->word; c++) {
        size_t at = strlen(text_out);
        const char *between = c == choices ? "" : c[1].word ? ", " : " or ";
        snprintf(text_out + at, bytes - at, "%s%s", between, c->word);
    }
}

static int set_choice(const struct launch_option *option, const char *value, int *out,
                      struct shmrt_error *error_out)
{
    char words[128];
    for (const struct launch_choice *c = option->choices; c->word; c++)
        if (strcmp(c->word, value) == 0) {
            *out = c->value;
            return 0;
        }
    list_choices(option->choices, words, sizeof words);
    return launch_error(error_out, -EINVAL, "\"%s\" is none of %s", value, words);
}

static int set_list(const char *value, struct shmrt_bitmap *out, struct shmrt_error *error_out)
{
    struct shmrt_bitmap set;
    int rc = shmrt_bitmap_parse(value, &set, error_out);
    if (rc)
        return rc;
    shmrt_bitmap_free(out);
    *out = set;
    return 0;
}

static int copy_text(const struct launch_option *option, const char *value, char **out,
                     struct shmrt_error *error_out)
{
    if (!*value)
        return launch_error(error_out, -EINVAL, "it is empty; give %s", option->value);
    *out = strdup(value);
    return *out ? 0 : launch_error(error_out, -ENOMEM, "no memory for \"%s\"", value);
}

static int set_text(const struct launch_option *option, const char *value, char **out,
                    struct shmrt_error *error_out)
{
    char *before = *out;
    int rc = copy_text(option, value, out, error_out);
    if (rc == 0)
        free(before);
    return rc;
}

static int add_word(const struct launch_option *option, const char *value, struct launch_words *out,
                    struct shmrt_error *error_out)
{
    if (out->count == LAUNCH_WORDS_MAX)
        return launch_error(error_out, -EINVAL, "\"%s\" is one more than %d", value,
                            LAUNCH_WORDS_MAX);
    int rc = copy_text(option, value, &out->words[out->count], error_out);
    out->count += rc == 0;
    return rc;
}

/* The first that is not there yet. */
static int set_half(const char *value, char *pair[2], struct shmrt_error *error_out)
{
    size_t half = pair[0] != NULL;
    if (pair[half])
        return launch_error(error_out, -EINVAL, "\"%s\" is a third one; two are compared", value);
    if (!*value || (value[0] == '-' && value[1]))
        return launch_error(error_out, -EINVAL,
                            "\"%s\" is neither a saved plan (FILE.json, or -) nor a "
                            "configuration (FILE.yaml, or a name)",
                            value);
    pair[half] = strdup(value);
    return pair[half] ? 0 : launch_error(error_out, -ENOMEM, "no memory for \"%s\"", value);
}

static int set_reader(const char *value, int *out, struct shmrt_error *error_out)
{
    char *end;
    long rank = strtol(value, &end, 10);
    if (strcmp(value, "none") == 0)
        *out = LAUNCH_STDIN_NONE;
    else if (strcmp(value, "all") == 0)
        *out = LAUNCH_STDIN_ALL;
    else if (*value < '0' || *value > '9' || *end || rank >= SHMRT_MAX_RANKS)
        return launch_error(error_out, -EINVAL, "\"%s\" is not a rank from 0 to %d, all or none",
                            value, SHMRT_MAX_RANKS - 1);
    else
        *out = (int)rank;
    return 0;
}

/* On the command line a flag has no value; in a file it is true or false. */
static int set_flag(const char *value, bool *out, struct shmrt_error *error_out)
{
    bool is_true = !value || strcmp(value, "true") == 0;
    if (!is_true && strcmp(value, "false") != 0)
        return launch_error(error_out, -EINVAL, "\"%s\" is neither true nor false", value);
    *out = is_true;
    return 0;
}

int launch_option_set(const struct launch_option *option, const char *value,
                      struct launch_options *options, struct shmrt_error *error_out)
{
    void *field = (char *)options + option->offset;
    switch (option->kind) {
    case LAUNCH_FLAG:
        return set_flag(value, field, error_out);
    case LAUNCH_NUMBER:
        return set_number(option, value, field, error_out);
    case LAUNCH_SECONDS:
        return set_seconds(option, value, field, error_out);
    case LAUNCH_TEXT:
        return set_text(option, value, field, error_out);
    case LAUNCH_PAIR:
        return set_half(value, field, error_out);
    case LAUNCH_WORDS:
        return add_word(option, value, field, error_out);
    case LAUNCH_LIST:
        return set_list(value, field, error_out);
    case LAUNCH_CHOICE:
        return set_choice(option, value, field, error_out);
    case LAUNCH_READER:
        return set_reader(value, field, error_out);
    }
    return -EINVAL;
}

struct launch_options launch_options_default(void)
{
    return (struct launch_options){.grace_ms = 5000};
}

void launch_options_free(struct launch_options *options)
{
    for (const struct launch_option *o = table; o->name; o++) {
        void *field = (char *)options + o->offset;
        struct launch_words *words = field;
        if (o->kind == LAUNCH_TEXT)
            free(*(char **)field);
        else if (o->kind == LAUNCH_LIST)
            shmrt_bitmap_free(field);
        for (size_t i = 0; o->kind == LAUNCH_WORDS && i < words->count; i++)
            free(words->words[i]);
    }
    free(options->diff[0]);
    free(options->diff[1]);
}

/* One screen: an option a line. The manual page has the rest. */
void launch_options_help(void)
{
    printf("shm-launch - start the ranks of one job, each on CPUs and memory of its own\n\n"
           "  shm-launch -n 2 python infer.py       two ranks, the cores shared out between them\n"
           "  shm-launch --per socket python x.py   one rank on each socket\n"
           "  shm-launch plan -n 4 --draw 4.svg     who would run where; start nothing\n\n"
           "Usage: shm-launch [plan] -n N [options] [--] command [arguments]\n\n");
    for (const struct launch_option *o = table; o->name; o++) {
        char left[64];
        snprintf(left, sizeof left, "%s%c%s--%s%s%s", o->letter ? "-" : "  ",
                 o->letter ? o->letter : ' ', o->letter ? ", " : " ", o->name, o->value ? " " : "",
                 o->value ? o->value : "");
        printf("  %-26s %s\n", left, o->help);
    }
    printf("\nWhen a rank fails, the others are ended, and shm-launch exits with its code (128 + N "
           "after\nsignal N). Else 2: usage, 124: timeout, 125: launcher, 126, 127: command, 130: "
           "Ctrl-C.\nMore, with the variables that ranks find: man shm-launch\n");
}
