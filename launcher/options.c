/* SPDX-License-Identifier: Apache-2.0 */
/* options.c - the table of options, the meaning of their values, and --help made from it. */
#include "options.h"

#include "say.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST_S = 30 * 24 * 3600 };

#define AT(field) offsetof(struct launch_options, field)

static const struct launch_option table[] = {
    {"ranks", 'n', "N", LAUNCH_NUMBER, AT(request.ranks), 1, SHMRT_MAX_RANKS, true,
     "start N ranks, 1 to 64; may be left out with --per"},
    {"per", 0, "PLACE", LAUNCH_PLACE, AT(request.per), 0, 0, true,
     "one rank on each socket, numa (node), l3 or core;\n"
     "spread (the default): all cores shared out evenly"},
    {"cores-per-rank", 0, "N", LAUNCH_NUMBER, AT(request.cores_per_rank), 1, 65536, true,
     "a rank gets exactly N cores, not its even share"},
    {"threads-per-core", 0, "N", LAUNCH_NUMBER, AT(request.threads_per_core), 1, 64, true,
     "use N CPUs of a core, an OpenMP thread on each;\n"
     "else all of them, with one OpenMP thread a core"},
    {"reserve", 0, "N", LAUNCH_NUMBER, AT(request.reserve), 0, 65536, true,
     "N cores of each rank get no OpenMP thread and are\n"
     "left to the program's other threads"},
    {"mem", 0, "POLICY", LAUNCH_MEMORY, AT(request.memory), 0, 0, true,
     "bind (the default): memory from a rank's own NUMA\n"
     "nodes only; local: from where it is first touched"},
    {"config", 0, "FILE|NAME", LAUNCH_TEXT, AT(config), 0, 0, false,
     "read options from a YAML file, or by name from the\n"
     "installed ones; the command line wins over it"},
    {"no-bind", 0, NULL, LAUNCH_FLAG, AT(no_bind), 0, 0, true,
     "bind neither CPUs nor memory; set variables only"},
    {"strict", 0, NULL, LAUNCH_FLAG, AT(strict), 0, 0, true,
     "do not start where CPUs or memory can't be bound"},
    {"dry-run", 0, NULL, LAUNCH_FLAG, AT(dry_run), 0, 0, false,
     "show who would run where; start nothing"},
    {"topology", 0, "TEXT|FILE", LAUNCH_TEXT, AT(topology), 0, 0, false,
     "with --dry-run: plan for another machine, given as\n"
     "hwloc's synthetic text, or FILE.xml from lstopo"},
    {"timeout", 0, "SECONDS", LAUNCH_SECONDS, AT(timeout_ms), 0, LONGEST_S, true,
     "end the job after that time, with exit code 124"},
    {"grace", 0, "SECONDS", LAUNCH_SECONDS, AT(grace_ms), 0, LONGEST_S, true,
     "from the signal that ends a rank to SIGKILL (5)"},
    {"port", 0, "PORT", LAUNCH_NUMBER, AT(port), 1, 65535, true,
     "MASTER_PORT, when it has to be a certain one"},
    {"no-prefix", 0, NULL, LAUNCH_FLAG, AT(no_prefix), 0, 0, true,
     "leave out the [rank] in front of output lines"},
    {"help", 'h', NULL, LAUNCH_FLAG, AT(help), 0, 0, false, "show this"},
    {"version", 'V', NULL, LAUNCH_FLAG, AT(version), 0, 0, false, "show the version"},
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
        {"nproc-per-node", "ranks"},
        {"nproc_per_node", "ranks"},
        {"num_accelerators", "ranks"},
        {"master_port", "port"},
        {"master-port", "port"},
        {"rdzv-endpoint", "port"},
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

static int set_place(const char *value, enum shmrt_place *out, struct shmrt_error *error_out)
{
    static const struct {
        const char *word;
        enum shmrt_place place;
    } places[] = {
        {"spread", SHMRT_PLACE_SPREAD},   {"socket", SHMRT_PLACE_PACKAGE},
        {"package", SHMRT_PLACE_PACKAGE}, {"numa", SHMRT_PLACE_NODE},
        {"node", SHMRT_PLACE_NODE},       {"l3", SHMRT_PLACE_L3},
        {"core", SHMRT_PLACE_CORE},
    };
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        if (strcmp(places[i].word, value) == 0) {
            *out = places[i].place;
            return 0;
        }
    return launch_error(error_out, -EINVAL,
                        "\"%s\" is not a place; choose socket, numa, l3, core or spread", value);
}

static int set_memory(const char *value, enum shmrt_memory_policy *out,
                      struct shmrt_error *error_out)
{
    bool is_local = strcmp(value, "local") == 0;
    if (!is_local && strcmp(value, "bind") != 0)
        return launch_error(error_out, -EINVAL,
                            "\"%s\" is not a memory policy; choose bind or local", value);
    *out = is_local ? SHMRT_MEMORY_LOCAL : SHMRT_MEMORY_BIND;
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
    case LAUNCH_PLACE:
        return set_place(value, field, error_out);
    case LAUNCH_MEMORY:
        return set_memory(value, field, error_out);
    case LAUNCH_TEXT:
        if (!*value)
            return launch_error(error_out, -EINVAL, "it is empty; give %s", option->value);
        *(const char **)field = value;
        return 0;
    }
    return -EINVAL;
}

size_t launch_option_bytes(const struct launch_option *option)
{
    switch (option->kind) {
    case LAUNCH_FLAG:
        return sizeof(bool);
    case LAUNCH_NUMBER:
    case LAUNCH_SECONDS:
        return sizeof(size_t);
    case LAUNCH_TEXT:
        return sizeof(char *);
    case LAUNCH_PLACE:
        return sizeof(enum shmrt_place);
    case LAUNCH_MEMORY:
        return sizeof(enum shmrt_memory_policy);
    }
    return 0;
}

struct launch_options launch_options_default(void)
{
    return (struct launch_options){.grace_ms = 5000};
}

void launch_options_help(void)
{
    printf("shm-launch - start the ranks of one job on this machine, each on CPUs and memory of "
           "its own\n\n"
           "  shm-launch -n 2 python infer.py        two ranks, the cores shared out between them\n"
           "  shm-launch --per socket python x.py    one rank on each socket\n"
           "  shm-launch -n 4 --dry-run              who would run where\n\n"
           "Usage: shm-launch -n N [options] [--] command [arguments]\n\n");
    for (const struct launch_option *o = table; o->name; o++) {
        char left[64];
        snprintf(left, sizeof left, "%s%c%s--%s%s%s", o->letter ? "-" : "  ",
                 o->letter ? o->letter : ' ', o->letter ? ", " : " ", o->name, o->value ? " " : "",
                 o->value ? o->value : "");
        const char *line = o->help;
        for (bool first = true; line; first = false) {
            const char *end = strchr(line, '\n');
            printf("  %-26s %.*s\n", first ? left : "", end ? (int)(end - line) : (int)strlen(line),
                   line);
            line = end ? end + 1 : NULL;
        }
    }
    printf(
        "\nEach rank finds RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_SIZE, MASTER_ADDR, MASTER_PORT, "
        "OMP_NUM_THREADS\nand the rest of torch's env:// in its environment. Standard input goes "
        "to rank 0. When a rank\nfails, the others are ended and shm-launch exits with its code "
        "(128 + N after signal N).\nOther codes: 2 usage, 124 timeout, 125 launcher, 126 and 127 "
        "command not started, 130 Ctrl-C.\nMore in `man shm-launch`.\n");
}
