/* SPDX-License-Identifier: Apache-2.0 */
/* plan.c - asks libshmrt for the machine and the plan, and says what a person should know of it. */
#include "plan.h"

#include "common/processes.h"
#include "common/say.h"
#include "instances.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* hwloc would first load all of its plugins, and with them OpenCL, X and ICU: a third of the time
 * that a start takes. What is asked of this machine it knows without. Where there is no /sys it
 * would say that in words of its own; the plan says it for a person. */
static int read_this_machine(struct shmrt_machine **machine_out, struct shmrt_error *error_out)
{
    static const char plugins[] = "HWLOC_PLUGINS_PATH", hides[] = "HWLOC_HIDE_ERRORS";
    bool is_plain = !getenv(plugins) && !getenv("HWLOC_XMLFILE");
    bool is_loud = !getenv(hides) && access("/sys/devices/system/cpu", F_OK) != 0;
    if ((is_plain && setenv(plugins, "/dev/null", 1)) || (is_loud && setenv(hides, "2", 1)))
        return launch_error(error_out, -ENOMEM, "no memory for hwloc's variables");
    int rc = shmrt_machine_read(machine_out, error_out);
    if (is_plain)
        (void)unsetenv(plugins);
    if (is_loud)
        (void)unsetenv(hides);
    return rc;
}

/*
 * hwloc 2.9 trusts its files: one that lacks a set, as lstopo never writes it, crashes it. So a
 * child reads it first; not from a pipe, which can be read only once. Return: 0, also where the
 * file is refused, or -EINVAL.
 */
static int try_xml(const char *path, struct shmrt_error *error_out)
{
    int status = 0;
    struct stat file;
    if (stat(path, &file) != 0 || !S_ISREG(file.st_mode))
        return 0;
    signal(SIGCHLD, SIG_DFL); /* an ignored one would leave nothing to wait for */
    pid_t child = fork();
    if (child == 0) {
        struct shmrt_machine *machine;
        const struct rlimit no_core = {0};
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGSEGV, SIG_DFL); /* a sanitizer's would make it an exit */
        _exit(shmrt_machine_from_xml(path, &machine, NULL) != 0);
    }
    if (child < 0 || !launch_process_reap(child, &status) || !WIFSIGNALED(status))
        return 0;
    return launch_error(error_out, -EINVAL,
                        "%s is XML that crashes hwloc (signal %d); save the topology with `lstopo "
                        "FILE.xml` on its machine, and do not edit the file",
                        path, WTERMSIG(status));
}

static int read_xml(const char *path, struct shmrt_machine **machine_out,
                    struct shmrt_error *error_out)
{
    int rc = try_xml(path, error_out);
    return rc ? rc : shmrt_machine_from_xml(path, machine_out, error_out);
}

static int read_machine(const char *topology, struct shmrt_machine **machine_out,
                        struct shmrt_error *error_out)
{
    if (!topology)
        return read_this_machine(machine_out, error_out);
    const char *dot = strrchr(topology, '.');
    if ((dot && strcmp(dot, ".xml") == 0) || access(topology, F_OK) == 0)
        return read_xml(topology, machine_out, error_out);
    return shmrt_machine_from_text(topology, machine_out, error_out);
}

/* Ranks that start tell of a refused memory policy themselves; so the plan does when none does. */
static int make_plan(const struct launch_options *options, struct shmrt_machine *machine,
                     const struct shmrt_placement_request *request, struct shmrt_plan **plan_out,
                     struct shmrt_error *error_out)
{
    bool is_memory_denied = machine->is_memory_denied;
    if (machine->is_here && !options->no_bind)
        launch_instances_mark("/proc", getpid(), machine);
    machine->is_memory_denied = is_memory_denied && options->dry_run && !options->no_bind;
    int rc = shmrt_plan_create(machine, request, plan_out, error_out);
    machine->is_memory_denied = is_memory_denied;
    return rc;
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
        rc = make_plan(options, machine, &request, plan_out, error_out);
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
