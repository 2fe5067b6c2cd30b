/* SPDX-License-Identifier: Apache-2.0 */
/* conflicts.c - what the user has set stays; what of it works against the plan is said, once. */
#include "environment.h"

#include <dlfcn.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

struct listener {
    const struct launch_job *job;
    launch_environment_say say;
    void *context;
};

static void tell(const struct listener *to, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void tell(const struct listener *to, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    to->say(to->context, line);
}

static const char *get(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

/* " A=1 and B=2" of those that are set. */
static void list_set(const char *const *names, char *out, size_t bytes)
{
    size_t at = 0;
    *out = '\0';
    for (; *names; names++)
        if (get(*names) && at < bytes)
            at += (size_t)snprintf(out + at, bytes - at, "%s%s=%s", at ? " and " : "", *names,
                                   get(*names));
}

/* Any of them binds the main thread as soon as libgomp is loaded, unless OMP_PROC_BIND is false.
 * Places of many cores are harmless. */
static bool is_narrowing(void)
{
    const char *bind = get("OMP_PROC_BIND"), *places = get("OMP_PLACES");
    if (!bind && !places && !get("GOMP_CPU_AFFINITY"))
        return false;
    if (bind && strcasecmp(bind, "false") == 0)
        return false;
    return !places ||
           (strncasecmp(places, "sockets", 7) != 0 && strncasecmp(places, "numa", 4) != 0);
}

/* Has some rank more than one CPU? */
static bool is_wide(const struct shmrt_plan *plan)
{
    for (size_t i = 0; i < plan->rank_count; i++)
        if (shmrt_bitmap_count(&plan->ranks[i].cpus) > 1)
            return true;
    return false;
}

/* Does a list such as "0 3-7:2,12" name @cpu? It ends at @end or with the text. */
static bool list_has(const char *list, char end, size_t cpu)
{
    while (*list && *list != end) {
        char *after;
        size_t first = strtoull(list, &after, 10), last = first, stride = 1;
        if (after == list) {
            list++;
            continue;
        }
        if (*after == '-')
            last = strtoull(after + 1, &after, 10);
        if (*after == ':')
            stride = strtoull(after + 1, &after, 10);
        if (cpu >= first && cpu <= last && (cpu - first) % (stride ? stride : 1) == 0)
            return true;
        list = after;
    }
    return false;
}

/* The first CPU of such a list that is below @count, as many as the machine has; SIZE_MAX: none. */
static size_t list_first(const char *list, size_t count)
{
    while (*list) {
        char *after;
        size_t first = strtoull(list, &after, 10);
        if (after > list && first < count)
            return first;
        list = after > list ? after + strcspn(after, " ,") : list + 1;
    }
    return SIZE_MAX;
}

/* The list by which libgomp places threads, or NULL: there is none, or another variable wins. */
static const char *gomp_list(void)
{
    const char *bind = get("OMP_PROC_BIND");
    return get("OMP_PLACES") || (bind && strcasecmp(bind, "false") == 0) ? NULL
                                                                         : get("GOMP_CPU_AFFINITY");
}

/* libgomp binds the thread that loads it to the list's first CPU, whatever the process is bound
 * to. Return: whether a rank leaves its CPUs by that; then the line is said. */
static bool say_first_of_list(const struct listener *to)
{
    const char *list = gomp_list();
    size_t first = list ? list_first(list, (size_t)sysconf(_SC_NPROCESSORS_CONF)) : SIZE_MAX;
    for (size_t i = 0; first != SIZE_MAX && i < to->job->plan->rank_count; i++) {
        if (shmrt_bitmap_has(&to->job->plan->ranks[i].cpus, first))
            continue;
        tell(to,
             "GOMP_CPU_AFFINITY=%s is set and stays, but once libgomp is loaded (import "
             "torch) it binds the main thread of every rank to the first CPU of that list, "
             "%zu, which rank %zu does not have: they share it; unset it, the ranks are "
             "bound already",
             list, first, to->job->first_rank + i);
        return true;
    }
    return false;
}

static void say_narrowing(const struct listener *to)
{
    static const char *const names[] = {"OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", NULL};
    char set[256];
    if (!is_narrowing())
        return;
    list_set(names, set, sizeof set);
    if (dlsym(RTLD_DEFAULT, "GOMP_parallel")) {
        tell(to,
             "%s with libgomp in LD_PRELOAD has bound shm-launch itself, so the plan has "
             "those CPUs only: set OMP_PROC_BIND=false, or give the ranks alone "
             "--preload libgomp.so.1",
             set);
        return;
    }
    if (!is_wide(to->job->plan))
        return;
    tell(to,
         "%s: set, and left as set; but once libgomp is loaded (import torch) a rank's main "
         "thread may use one place only, and so may what it starts. The ranks are bound "
         "already: unset it, or set OMP_PROC_BIND=false",
         set);
}

/* @list of variable @name binds OpenMP's threads to CPUs; ranks have other ones. */
static void say_left_out(const struct listener *to, const char *name, const char *list, char end)
{
    for (size_t i = 0; i < to->job->plan->rank_count; i++) {
        const struct shmrt_bitmap *cpus = &to->job->plan->ranks[i].cpus;
        size_t cpu = shmrt_bitmap_next(cpus, 0);
        while (cpu < cpus->bits && list_has(list, end, cpu))
            cpu = shmrt_bitmap_next(cpus, cpu + 1);
        if (cpu >= cpus->bits)
            continue;
        tell(to,
             "%s=%s is set and stays, but it leaves out CPU %zu, which rank %zu has: its "
             "OpenMP threads crowd on other CPUs or are not bound as you say; unset it, the "
             "ranks are bound already",
             name, get(name), cpu, i);
        return;
    }
}

static void say_intel(const struct listener *to)
{
    static const char proclist[] = "proclist=[";
    const char *kmp = get("KMP_AFFINITY");
    const char *list = kmp ? strstr(kmp, proclist) : NULL;
    if (list)
        say_left_out(to, "KMP_AFFINITY", list + strlen(proclist), ']');
    if (kmp && strstr(kmp, "norespect"))
        tell(to,
             "KMP_AFFINITY=%s is set and stays, but norespect lets Intel's OpenMP leave the "
             "CPUs of a rank for those of others; without that word it keeps to them",
             kmp);
}

static void say_thread_limit(const struct listener *to)
{
    const char *limit = get("OMP_THREAD_LIMIT");
    size_t most = limit ? strtoull(limit, NULL, 10) : 0;
    for (size_t i = 0; most && !to->job->own_threads && i < to->job->plan->rank_count; i++)
        if (to->job->plan->ranks[i].threads > most) {
            tell(to,
                 "OMP_THREAD_LIMIT=%s is set and stays, but rank %zu is planned with %zu "
                 "threads",
                 limit, i, to->job->plan->ranks[i].threads);
            return;
        }
}

/* Under srun or mpirun an outer world is what one expects. */
static void say_outer_world(const struct listener *to)
{
    const char *outer = get("WORLD_SIZE");
    size_t all = to->job->plan->rank_count * to->job->cluster.machines;
    if (outer && to->job->cluster.manager == LAUNCH_MANAGER_NONE &&
        strtoull(outer, NULL, 10) != all)
        tell(to,
             "WORLD_SIZE=%s of a launcher around this one is replaced: the ranks of this job "
             "are %zu",
             outer, all);
}

static bool is_this_machine(const char *address)
{
    char name[LAUNCH_ADDRESS_BYTES] = "";
    if (strncmp(address, "127.", 4) == 0 || strcmp(address, "localhost") == 0 ||
        strcmp(address, "::1") == 0)
        return true;
    size_t length = strcspn(address, ".");
    return gethostname(name, sizeof name - 1) == 0 && strcspn(name, ".") == length &&
           strncasecmp(name, address, length) == 0;
}

static bool is_masked(void)
{
    cpu_set_t mask;
    return sched_getaffinity(0, sizeof mask, &mask) == 0 &&
           CPU_COUNT(&mask) < sysconf(_SC_NPROCESSORS_ONLN);
}

static void say_cluster(const struct listener *to)
{
    const struct launch_cluster *c = &to->job->cluster;
    size_t here = to->job->plan->rank_count, last = (c->machine + 1) * here - 1;
    char ranks[64];
    if (here == 1)
        snprintf(ranks, sizeof ranks, "rank %zu", last);
    else
        snprintf(ranks, sizeof ranks, "ranks %zu-%zu", last + 1 - here, last);
    if (c->is_told && c->machines > 1)
        tell(to,
             "machine %zu of %zu (%s), %s of %zu, master %s:%zu; --nnodes 1 is for "
             "this machine alone",
             c->machine, c->machines, launch_manager_name(c->manager), ranks, c->machines * here,
             c->address, c->port);
    if (c->unused > 1)
        tell(to,
             "Slurm gave this job %zu machines, and without srun ranks start on this one "
             "only: srun --ntasks-per-node=1 shm-launch ... uses all, --nnodes 1 says that "
             "one is meant",
             c->unused);
    if (get("OMPI_MCA_orte_bound_at_launch") && is_masked())
        tell(to, "mpirun has bound this task to some CPUs of the machine, and the ranks get no "
                 "others: mpirun --bind-to none leaves them all");
    if (c->machines == 1 && !to->job->options->address && !is_this_machine(c->address))
        tell(to,
             "MASTER_ADDR=%s is set and stays, though the job has one machine: unset it if "
             "that is another one",
             c->address);
}

void launch_environment_conflicts(const struct launch_job *job, launch_environment_say say,
                                  void *context)
{
    const struct listener to = {job, say, context};
    if (*job->cluster.address) {
        say_cluster(&to);
        say_outer_world(&to);
    }
    if (job->options->no_bind)
        return;
    if (!say_first_of_list(&to)) {
        say_narrowing(&to);
        if (gomp_list())
            say_left_out(&to, "GOMP_CPU_AFFINITY", gomp_list(), '\0');
    }
    say_intel(&to);
    say_thread_limit(&to);
}
