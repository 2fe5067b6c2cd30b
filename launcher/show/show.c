/* SPDX-License-Identifier: Apache-2.0 */
/* show.c - the words that table, JSON and drawing share. */
#include "show.h"

#include <ctype.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

char *launch_set_text(const struct shmrt_bitmap *set)
{
    size_t bytes = shmrt_bitmap_format(set, NULL, 0) + 1;
    char *text = malloc(bytes);
    if (text)
        shmrt_bitmap_format(set, text, bytes);
    return text;
}

const char *launch_choice_word(const char *name, int value)
{
    const struct launch_option *option = launch_option_find(name, strlen(name));
    for (const struct launch_choice *c = option->choices; c->word; c++)
        if (c->value == value)
            return c->word;
    return "?";
}

void launch_bytes_text(uint64_t bytes, char *text_out, size_t size)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    double value = (double)bytes / 1024;
    while (value >= 1000 && unit < 3) {
        value /= 1024;
        unit++;
    }
    snprintf(text_out, size, value < 9.95 ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

char *launch_utf8(const char *text)
{
    char *clean = strdup(text);
    json_t *json = json_string(text); /* NULL: this is no UTF-8 */
    for (char *c = clean; c && !json && *c; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    json_decref(json);
    return clean;
}

size_t launch_terminal_width(int fd)
{
    struct winsize size;
    return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : LAUNCH_PAPER_WIDTH;
}

struct tally {
    size_t cpus, cores;              /* allowed, and not left out by the request */
    size_t cpus_denied, cpus_unused; /* not allowed; allowed and left out */
    size_t places, memories;
};

/* A list without words is none. */
static bool is_listed(const struct shmrt_bitmap *list, size_t number)
{
    return !list->words || shmrt_bitmap_has(list, number);
}

static struct tally count(const struct launch_shown *shown)
{
    const struct launch_options *options = shown->options;
    const struct shmrt_machine *machine = shown->machine;
    struct tally tally = {0};
    size_t last = SIZE_MAX;
    for (size_t i = 0; i < machine->cpu_count; i++) {
        const struct shmrt_machine_cpu *cpu = &machine->cpus[i];
        bool is_asked_for = is_listed(&options->cpus, cpu->number) &&
                            is_listed(&options->nodes, machine->nodes[cpu->node].number);
        tally.cpus_denied += !cpu->allowed;
        tally.cpus_unused += cpu->allowed && !is_asked_for;
        if (!cpu->allowed || !is_asked_for)
            continue;
        tally.cpus++;
        tally.cores += machine->cpus[i].core != last;
        last = machine->cpus[i].core;
    }
    for (size_t i = 0; i < machine->node_count; i++) {
        tally.places += machine->nodes[i].has_cpus;
        tally.memories += !machine->nodes[i].has_cpus;
    }
    return tally;
}

static const char *plural(size_t count)
{
    return count == 1 ? "" : "s";
}

const char *launch_machine_name(const struct launch_shown *shown)
{
    if (shown->options->topology)
        return shown->options->topology;
    return shown->machine->is_here ? "this machine"
                                   : "the machine of HWLOC_XMLFILE or HWLOC_SYNTHETIC";
}

void launch_put_machine(const struct launch_shown *shown, FILE *out)
{
    const char *name = launch_machine_name(shown);
    fprintf(out, "%c%s: ", shown->options->topology ? *name : toupper(*name), name + 1);
    launch_put_parts(shown, out);
}

void launch_put_parts(const struct launch_shown *shown, FILE *out)
{
    const struct shmrt_machine *machine = shown->machine;
    struct tally tally = count(shown);
    fprintf(out, "%zu package%s, %zu NUMA node%s", machine->package_count,
            plural(machine->package_count), tally.places, plural(tally.places));
    if (tally.memories)
        fprintf(out, " (and %zu of memory only)", tally.memories);
    fprintf(out, ", %zu core%s", tally.cores, plural(tally.cores));
    if (machine->kind_count > 1)
        fprintf(out, " of %zu kinds", machine->kind_count);
    fprintf(out, " and %zu CPU%s to use", tally.cpus, plural(tally.cpus));
    if (tally.cpus < machine->cpu_count)
        fprintf(out, " (of %zu CPUs; the others are %s)", machine->cpu_count,
                !tally.cpus_unused   ? "not allowed here"
                : !tally.cpus_denied ? "not asked for"
                                     : "not allowed here, or not asked for");
    if (machine->quota_milli)
        fprintf(out, ", for %zu.%zu CPUs' time", machine->quota_milli / 1000,
                machine->quota_milli % 1000 / 100);
}
