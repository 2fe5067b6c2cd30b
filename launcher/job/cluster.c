/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster.c - several machines: from options and variables to a place among them.
 *
 * Nothing is asked of the network or of other machines, so all of them must come to the same
 * answer by themselves: what cannot be known everywhere alike (an address that the manager does
 * not tell, a port that is free) is asked of the person.
 *
 * A manager counts only where it started this very process. In a batch script Slurm's variables
 * name all machines of the job although the script runs on one; a step of srun has a number.
 */
#include "cluster.h"

#include "common/say.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* Ports made from a job's name: above those of services, below those that the kernel gives. */
    FIRST_PORT = 20000,
    PORTS = 12000,
    STEP_STRIDE = 97, /* so that the steps of one job and the next jobs keep apart */
};

/* Slurm gives its own steps (batch, extern, interactive) numbers from here on. */
static const size_t first_special_step = 0xfffffff0;

struct world {
    const struct launch_options *options;
    launch_lookup lookup;
    const void *context;
};

/* What a manager says. */
struct told {
    enum launch_manager manager;
    size_t machines, machine, task;
    size_t unused;
    const char *hosts; /* NULL: it does not say */
    size_t port;       /* 0: it has no job name to make one from */
};

static const char *text_of(const struct world *w, const char *name)
{
    const char *value = w->lookup(name, w->context);
    return value && *value ? value : NULL;
}

/* Return: whether @name is there and a whole number. */
static bool number_of(const struct world *w, const char *name, size_t *out)
{
    const char *value = text_of(w, name);
    char *end;
    if (!value || *value < '0' || *value > '9')
        return false;
    errno = 0;
    *out = strtoull(value, &end, 10);
    return !*end && !errno;
}

const char *launch_manager_name(enum launch_manager manager)
{
    static const char *const names[] = {
        [LAUNCH_MANAGER_NONE] = "--nnodes", [LAUNCH_MANAGER_OPENMPI] = "mpirun",
        [LAUNCH_MANAGER_HYDRA] = "mpirun",  [LAUNCH_MANAGER_FLUX] = "Flux",
        [LAUNCH_MANAGER_SLURM] = "Slurm",
    };
    return names[manager];
}

/* For messages: where a number of machines comes from, unless the options say it. */
static const char *source(const struct launch_cluster *cluster, char text_out[64])
{
    text_out[0] = '\0';
    if (cluster->is_told)
        snprintf(text_out, 64, " of %s (or --nnodes 1, this one alone)",
                 launch_manager_name(cluster->manager));
    return text_out;
}

const char *launch_manager_advice(enum launch_manager manager)
{
    static const char *const advice[] = {
        [LAUNCH_MANAGER_NONE] = "--nnodes 1",
        [LAUNCH_MANAGER_OPENMPI] = "mpirun --map-by ppr:1:node --bind-to none shm-launch ...",
        [LAUNCH_MANAGER_HYDRA] = "mpirun -ppn 1 shm-launch ...",
        [LAUNCH_MANAGER_FLUX] = "flux run --exclusive -N MACHINES -n MACHINES shm-launch ...",
        [LAUNCH_MANAGER_SLURM] = "srun --ntasks-per-node=1 --cpus-per-task=CPUS "
                                 "shm-launch ...",
    };
    return advice[manager];
}

/* FNV-1a: machines agree on it without a word. */
static size_t port_from_text(const char *name)
{
    uint64_t hash = 14695981039346656037u;
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 1099511628211u;
    return FIRST_PORT + hash % PORTS;
}

/* Return: whether Slurm's srun started this process. */
static bool ask_slurm(const struct world *w, struct told *out)
{
    size_t job, step;
    if (!number_of(w, "SLURM_JOB_ID", &job))
        return false;
    if (!number_of(w, "SLURM_STEP_ID", &step) || step >= first_special_step ||
        !number_of(w, "SLURM_STEP_NUM_NODES", &out->machines) ||
        !number_of(w, "SLURM_NODEID", &out->machine)) {
        if (!number_of(w, "SLURM_JOB_NUM_NODES", &out->unused))
            out->unused = 0;
        return false;
    }
    if (!number_of(w, "SLURM_LOCALID", &out->task))
        out->task = 0;
    out->manager = LAUNCH_MANAGER_SLURM;
    out->hosts = text_of(w, "SLURM_STEP_NODELIST");
    out->port = FIRST_PORT + (job + STEP_STRIDE * step) % PORTS;
    return true;
}

/* Flux and mpirun number their tasks, not the machines. Return: 0 or -EINVAL. */
static int count_machines(size_t tasks, size_t rank, struct told *out,
                          struct shmrt_error *error_out)
{
    if (out->machines == 1)
        return 0;
    out->machine = rank;
    if (tasks == out->machines)
        return 0;
    return launch_error(error_out, -EINVAL,
                        "%zu tasks on several machines, more than one on some: shm-launch wants "
                        "one on each, and starts all ranks of its machine itself: %s",
                        tasks, launch_manager_advice(out->manager));
}

/* Return: 1: Flux started this process; 0: it did not; -EINVAL. */
static int ask_flux(const struct world *w, struct told *out, struct shmrt_error *error_out)
{
    size_t rank, tasks;
    const char *job = text_of(w, "FLUX_JOB_ID");
    if (!job || !number_of(w, "FLUX_JOB_NNODES", &out->machines) ||
        !number_of(w, "FLUX_TASK_RANK", &rank) || !number_of(w, "FLUX_TASK_LOCAL_ID", &out->task))
        return 0;
    if (!number_of(w, "FLUX_JOB_SIZE", &tasks))
        tasks = out->machines;
    out->manager = LAUNCH_MANAGER_FLUX;
    out->port = port_from_text(job);
    int rc = count_machines(tasks, rank, out, error_out);
    return rc ? rc : 1;
}

/* What an mpirun calls a task's number and those on its machine. */
struct mpirun {
    enum launch_manager manager;
    const char *rank, *tasks, *local_rank, *local_tasks, *job;
};
static const struct mpirun mpiruns[] = {
    {LAUNCH_MANAGER_OPENMPI, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
     "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE", "PMIX_NAMESPACE"},
    {LAUNCH_MANAGER_HYDRA, "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS", NULL},
};

/* Return: 1: @mpirun started this process; 0: it did not; -EINVAL. */
static int ask_mpirun(const struct world *w, const struct mpirun *mpirun, struct told *out,
                      struct shmrt_error *error_out)
{
    size_t rank, tasks, local_tasks;
    const char *job = mpirun->job ? text_of(w, mpirun->job) : NULL;
    if (!number_of(w, mpirun->rank, &rank) || !number_of(w, mpirun->tasks, &tasks) ||
        !number_of(w, mpirun->local_rank, &out->task) ||
        !number_of(w, mpirun->local_tasks, &local_tasks))
        return 0;
    out->manager = mpirun->manager;
    out->port = job ? port_from_text(job) : 0;
    /* With one task on each machine there are as many; where all are here, one. Else it may be any
     * number, and is refused. */
    out->machines = local_tasks == tasks ? 1 : local_tasks == 1 ? tasks : 0;
    int rc = count_machines(tasks, rank, out, error_out);
    return rc ? rc : 1;
}

/* The ranks of a job of ours inherit the manager's variables, which are not meant for a job of
 * their own. */
static int ask_managers(const struct world *w, struct told *out, struct shmrt_error *error_out)
{
    *out = (struct told){.machines = 1};
    if (text_of(w, "SHM_LAUNCH_PLAN") || w->options->machines == 1)
        return 0;
    int rc = ask_mpirun(w, &mpiruns[0], out, error_out);
    if (rc == 0)
        rc = ask_mpirun(w, &mpiruns[1], out, error_out);
    if (rc == 0)
        rc = ask_flux(w, out, error_out);
    if (rc == 0 && !ask_slurm(w, out))
        *out = (struct told){.machines = 1, .unused = out->unused};
    return rc < 0 ? rc : 0;
}

int launch_cluster_first_host(const char *list, char *out, size_t bytes)
{
    size_t at = 0;
    const char *c = list;
    for (; *c && *c != ','; c++) {
        if (*c != '[') {
            if (at + 1 >= bytes || *c == ']' || *c <= ' ')
                return -EINVAL;
            out[at++] = *c;
            continue;
        }
        size_t digits = strspn(c + 1, "0123456789");
        const char *end = strchr(c, ']');
        if (!digits || !end || at + digits + 1 >= bytes)
            return -EINVAL;
        memcpy(out + at, c + 1, digits);
        at += digits;
        c = end;
    }
    out[at] = '\0';
    return at ? 0 : -EINVAL;
}

static bool is_given(const struct launch_options *options, const char *name)
{
    const struct launch_option *option = launch_option_find(name, strlen(name));
    return options->given[option - launch_option_table()] != NULL;
}

/* Machines and this one's number: the options', else the manager's. */
static int find_place(const struct world *w, const struct told *told, struct launch_cluster *out,
                      struct shmrt_error *error_out)
{
    const struct launch_options *o = w->options;
    bool is_numbered = is_given(o, "node-rank");
    out->is_told = !o->machines && told->manager != LAUNCH_MANAGER_NONE;
    out->machines = o->machines ? o->machines : told->machines;
    out->machine = is_numbered ? o->machine : told->machine;
    if (out->machines == 0)
        return launch_error(error_out, -EINVAL,
                            "%s says that the job has no machine at all: give --nnodes",
                            launch_manager_name(told->manager));
    if (out->machines > 1 && !is_numbered && told->machines != out->machines)
        return launch_error(
            error_out, -EINVAL,
            "--nnodes %zu, but which of them is this machine? Give --node-rank: 0 where "
            "--master-addr is, then 1 to %zu, each once",
            out->machines, out->machines - 1);
    if (out->machine >= out->machines)
        return launch_error(error_out, -EINVAL,
                            "--node-rank %zu with %zu machine%s: they are numbered from 0 to %zu; "
                            "--nnodes says how many there are",
                            out->machine, out->machines, out->machines == 1 ? "" : "s",
                            out->machines - 1);
    if (out->machines > 1 && o->restarts)
        return launch_error(error_out, -EINVAL,
                            "--restarts works on one machine only: the ranks of the other %zu "
                            "would not hear of it, and wait",
                            out->machines - 1);
    return 0;
}

/* A launcher around us has set them for its own ranks, not for ours. */
static const char *users_own(const struct world *w, const char *name)
{
    bool is_inside = text_of(w, "RANK") || text_of(w, "SHM_LAUNCH_PLAN");
    return is_inside ? NULL : text_of(w, name);
}

static int copy_address(const char *from, const char *text, struct launch_cluster *out,
                        struct shmrt_error *error_out)
{
    const char *colon = strchr(text, ':');
    if (colon && !strchr(colon + 1, ':'))
        return launch_error(error_out, -EINVAL,
                            "%s has a port: say --master-addr %.*s --master-port %s", from,
                            (int)(colon - text), text, colon + 1);
    bool has_control = false;
    for (const char *c = text; *c; c++)
        has_control = has_control || (unsigned char)*c < ' ' || *c == 0x7f;
    if (has_control || strpbrk(text, " /,[]") || strlen(text) >= sizeof out->address)
        return launch_error(error_out, -EINVAL,
                            "%s: \"%s\" is neither the name nor the address of a machine", from,
                            text);
    snprintf(out->address, sizeof out->address, "%s", text);
    return 0;
}

static int find_address(const struct world *w, const struct told *told, struct launch_cluster *out,
                        struct shmrt_error *error_out)
{
    const char *own = users_own(w, "MASTER_ADDR");
    char from[64];
    if (w->options->address)
        return copy_address("--master-addr", w->options->address, out, error_out);
    if (own)
        return copy_address("MASTER_ADDR", own, out, error_out);
    if (out->machines == 1)
        return copy_address("", "127.0.0.1", out, error_out);
    if (!told->hosts)
        return launch_error(error_out, -EINVAL,
                            "%zu machines%s need --master-addr: the name or address of machine "
                            "0, the same on all of them",
                            out->machines, source(out, from));
    if (launch_cluster_first_host(told->hosts, out->address, sizeof out->address))
        return launch_error(error_out, -EINVAL,
                            "SLURM_STEP_NODELIST=%s is no list of machines: give --master-addr, "
                            "the name or address of machine 0",
                            told->hosts);
    return 0;
}

static int find_port(const struct world *w, const struct told *told, struct launch_cluster *out,
                     struct shmrt_error *error_out)
{
    const char *own = users_own(w, "MASTER_PORT");
    char from[64];
    if (w->options->port)
        out->port = w->options->port;
    else if (own && (!number_of(w, "MASTER_PORT", &out->port) || out->port - 1 >= 65535))
        return launch_error(error_out, -EINVAL,
                            "MASTER_PORT=%s is not a port from 1 to 65535: unset it, or give "
                            "--master-port",
                            own);
    else if (!own && out->machines > 1)
        out->port = told->port;
    if (out->machines > 1 && !out->port)
        return launch_error(error_out, -EINVAL,
                            "%zu machines%s need --master-port: a port that is free on machine "
                            "0, the same on all of them",
                            out->machines, source(out, from));
    return 0;
}

int launch_cluster_find(const struct launch_options *options, launch_lookup lookup,
                        const void *context, struct launch_cluster *out,
                        struct shmrt_error *error_out)
{
    const struct world w = {options, lookup, context};
    struct told told;
    *out = (struct launch_cluster){.machines = 1};
    int rc = ask_managers(&w, &told, error_out);
    if (rc)
        return rc;
    out->manager = told.manager;
    out->task = told.task;
    if (out->task) /* another process of this machine does the rest */
        return 0;
    if (!options->machines)
        out->unused = told.unused;
    rc = find_place(&w, &told, out, error_out);
    if (rc == 0)
        rc = find_address(&w, &told, out, error_out);
    if (rc == 0)
        rc = find_port(&w, &told, out, error_out);
    return rc;
}
