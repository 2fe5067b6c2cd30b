/* SPDX-License-Identifier: Apache-2.0 */
/* plan.c - asks libshmrt for the machine and the plan, and shows the plan as a table. */
#include "plan.h"

#include "say.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int read_machine(const char *topology, struct shmrt_machine **machine_out,
                        struct shmrt_error *error_out)
{
    if (!topology)
        return shmrt_machine_read(machine_out, error_out);
    const char *dot = strrchr(topology, '.');
    if ((dot && strcmp(dot, ".xml") == 0) || access(topology, F_OK) == 0)
        return shmrt_machine_from_xml(topology, machine_out, error_out);
    return shmrt_machine_from_text(topology, machine_out, error_out);
}

int launch_plan(const struct launch_options *options, struct shmrt_machine **machine_out,
                struct shmrt_plan **plan_out, struct shmrt_error *error_out)
{
    struct shmrt_placement_request request = options->request;
    struct shmrt_machine *machine;
    request.cpus = options->cpus.words ? &options->cpus : NULL;
    request.nodes = options->nodes.words ? &options->nodes : NULL;
    int rc = read_machine(options->topology, &machine, error_out);
    if (rc)
        return rc;
    rc = -EINVAL;
    if (!machine->is_here && !options->dry_run)
        launch_error(error_out, rc,
                     "HWLOC_SYNTHETIC or HWLOC_XMLFILE describes another machine, where nothing "
                     "can be started from here: unset it, or add --dry-run");
    else
        rc = shmrt_plan_create(machine, &request, plan_out, error_out);
    if (rc)
        shmrt_machine_destroy(machine);
    else
        *machine_out = machine;
    return rc;
}

const char *launch_own_threads(void)
{
    const char *threads = getenv("OMP_NUM_THREADS");
    return threads && *threads ? threads : NULL;
}

/* The user's threads stay, even where they cannot all run at a time; but not in silence. */
static void say_own_threads(const struct shmrt_plan *plan)
{
    const char *own = launch_own_threads();
    unsigned long threads = own ? strtoul(own, NULL, 10) : 0;
    for (size_t i = 0; i < plan->rank_count; i++) {
        size_t cpus = shmrt_bitmap_count(&plan->ranks[i].cpus);
        if (threads <= cpus)
            continue;
        launch_say("OMP_NUM_THREADS=%s is set and stays, but rank %zu has %zu CPU%s: its threads "
                   "take turns",
                   own, i, cpus, cpus == 1 ? "" : "s");
        return;
    }
}

void launch_say_warnings(const struct launch_options *options, const struct shmrt_plan *plan)
{
    if (!options->no_bind)
        say_own_threads(plan);
    for (size_t i = 0; i < plan->warning_count; i++)
        launch_say("%s", plan->warnings[i]);
}

enum { COLUMNS = 8 };

struct table {
    size_t rows; /* the first has the titles */
    char *(*cells)[COLUMNS];
};

static char *copy(const char *text)
{
    return strdup(text);
}

static char *number(size_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%zu", value);
    return strdup(text);
}

static char *list(const char *before, const struct shmrt_bitmap *set)
{
    char *text = NULL;
    size_t bytes = shmrt_bitmap_format(set, NULL, 0) + 1, at = strlen(before);
    if (bytes == 1)
        return strdup("-");
    text = malloc(at + bytes);
    if (text) {
        memcpy(text, before, at);
        shmrt_bitmap_format(set, text + at, bytes);
    }
    return text;
}

static void fill_row(const struct launch_options *options, const struct shmrt_plan *plan,
                     size_t index, char *cells_out[COLUMNS])
{
    const struct shmrt_plan_rank *rank = &plan->ranks[index];
    const char *own = launch_own_threads();
    bool is_bound = rank->memory == SHMRT_MEMORY_BIND;
    char *cells[COLUMNS] = {
        number(index),
        list("", &rank->packages),
        list("", &rank->nodes),
        list("", &rank->cores),
        list("", &rank->reserved),
        options->no_bind ? copy("any") : list("", &rank->cpus),
        options->no_bind ? copy("any")
        : is_bound       ? list("bind ", &rank->memory_nodes)
                         : copy("local"),
        own ? copy(own) : number(rank->threads),
    };
    memcpy(cells_out, cells, sizeof cells);
}

static void print_table(const struct table *table)
{
    size_t widths[COLUMNS] = {0};
    for (size_t row = 0; row < table->rows; row++)
        for (size_t column = 0; column < COLUMNS; column++) {
            size_t width = strlen(table->cells[row][column]);
            widths[column] = width > widths[column] ? width : widths[column];
        }
    for (size_t row = 0; row < table->rows; row++) {
        for (size_t column = 0; column < COLUMNS; column++)
            printf("%s%*s", column ? "  " : "", (int)widths[column], table->cells[row][column]);
        putchar('\n');
    }
}

static int make_table(const struct launch_options *options, const struct shmrt_plan *plan)
{
    static const char *const titles[COLUMNS] = {"rank",     "package", "nodes",  "cores",
                                                "reserved", "CPUs",    "memory", "threads"};
    struct table table = {.rows = plan->rank_count + 1};
    table.cells = calloc(table.rows, sizeof *table.cells);
    if (!table.cells)
        return -ENOMEM;
    for (size_t column = 0; column < COLUMNS; column++)
        table.cells[0][column] = copy(titles[column]);
    for (size_t i = 0; i < plan->rank_count; i++)
        fill_row(options, plan, i, table.cells[i + 1]);
    bool complete = true;
    for (size_t row = 0; row < table.rows; row++)
        for (size_t column = 0; column < COLUMNS; column++)
            complete = complete && table.cells[row][column];
    if (complete)
        print_table(&table);
    for (size_t row = 0; row < table.rows; row++)
        for (size_t column = 0; column < COLUMNS; column++)
            free(table.cells[row][column]);
    free(table.cells);
    return complete ? 0 : -ENOMEM;
}

static void show_machine(const struct launch_options *options, const struct shmrt_machine *machine)
{
    size_t cpus = 0, cores = 0, places = 0, memories = 0, last = SIZE_MAX;
    for (size_t i = 0; i < machine->cpu_count; i++) {
        if (!machine->cpus[i].allowed)
            continue;
        cpus++;
        cores += machine->cpus[i].core != last;
        last = machine->cpus[i].core;
    }
    for (size_t i = 0; i < machine->node_count; i++) {
        places += machine->nodes[i].has_cpus;
        memories += !machine->nodes[i].has_cpus;
    }
    printf("%s: %zu package%s, %zu NUMA node%s",
           options->topology ? options->topology : "This machine", machine->package_count,
           machine->package_count == 1 ? "" : "s", places, places == 1 ? "" : "s");
    if (memories)
        printf(" (and %zu of memory only)", memories);
    printf(", %zu core%s and %zu CPU%s to use", cores, cores == 1 ? "" : "s", cpus,
           cpus == 1 ? "" : "s");
    if (cpus < machine->cpu_count)
        printf(" (of %zu CPUs; the others are not allowed here)", machine->cpu_count);
    printf("\n\n");
}

int launch_show(const struct launch_options *options, const struct shmrt_machine *machine,
                const struct shmrt_plan *plan)
{
    show_machine(options, machine);
    int rc = make_table(options, plan);
    if (rc)
        return rc;
    if (plan->warning_count || launch_own_threads())
        putchar('\n');
    if (launch_own_threads())
        printf("note: OMP_NUM_THREADS=%s is set and stays; the plan would set %zu%s\n",
               launch_own_threads(), plan->ranks[0].threads,
               plan->rank_count > 1 ? " for rank 0" : "");
    for (size_t i = 0; i < plan->warning_count; i++)
        printf("note: %s\n", plan->warnings[i]);
    return fflush(stdout) == 0 ? 0 : -errno;
}
