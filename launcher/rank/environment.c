/* SPDX-License-Identifier: Apache-2.0 */
/*
 * environment.c - the variables of a rank.
 *
 * They are those of torchrun and of deepspeed, so that scripts written for either find what they
 * read. PMI_* and PMIX_* are never set, and taken away: what an mpirun or srun around us has set
 * makes its own process known to it, and every rank that kept them would be that same process.
 */
#include "environment.h"

#include "common/say.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The kernel takes no longer string, name and value together. */
enum { VARIABLE_BYTES = 128 * 1024 };

extern char **environ;

/* Ours, and what the user changes them by. */
static const struct {
    const char *name;
    const char *by;
} ours[] = {
    {"RANK", "-n"},
    {"LOCAL_RANK", "-n"},
    {"ROLE_RANK", "-n"},
    {"WORLD_SIZE", "-n"},
    {"LOCAL_WORLD_SIZE", "-n"},
    {"LOCAL_SIZE", "-n"},
    {"ROLE_WORLD_SIZE", "-n"},
    {"ROLE_NAME", NULL},
    {"GROUP_RANK", "--node-rank"},
    {"NODE_RANK", "--node-rank"},
    {"CROSS_RANK", "--node-rank"},
    {"GROUP_WORLD_SIZE", "--nnodes"},
    {"NNODES", "--nnodes"},
    {"CROSS_SIZE", "--nnodes"},
    {"MASTER_ADDR", "--master-addr"},
    {"MASTER_PORT", "--master-port"},
    {"TORCHELASTIC_MAX_RESTARTS", "--restarts"},
    {"TORCHELASTIC_RESTART_COUNT", NULL},
    {"TORCHELASTIC_RUN_ID", NULL},
    {"TORCHELASTIC_ERROR_FILE", NULL},
    {"TORCHELASTIC_USE_AGENT_STORE", NULL},
    {"SHMRT_JOB", NULL},
    {"SHM_LAUNCH_PLAN", NULL},
};

static int check_name(const char *word, size_t length, struct shmrt_error *error_out)
{
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)word[i]) && word[i] != '_')
            length = 0;
    if (!length || isdigit((unsigned char)*word))
        return launch_error(error_out, -EINVAL,
                            "--env %s: the name of a variable has letters, digits and _ and does "
                            "not begin with a digit",
                            word);
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
        const char *name = ours[i].name;
        if (strlen(name) == length && memcmp(name, word, length) == 0)
            return launch_error(error_out, -EINVAL,
                                "--env %s: shm-launch itself gives each rank its %s%s%s", word,
                                name, ours[i].by ? ", by " : "", ours[i].by ? ours[i].by : "");
    }
    return 0;
}

int launch_environment_check(const struct launch_words *env, struct shmrt_error *error_out)
{
    for (size_t i = 0; i < env->count; i++) {
        const char *word = env->words[i], *equals = strchr(word, '=');
        if (!equals)
            return launch_error(error_out, -EINVAL,
                                "--env %s has no value: --env %s=VALUE sets it; what is set here "
                                "already, the ranks get anyway",
                                word, word);
        int rc = check_name(word, (size_t)(equals - word), error_out);
        if (rc)
            return rc;
        if (strlen(word) >= VARIABLE_BYTES)
            return launch_error(error_out, -EINVAL,
                                "--env %.*s: its value has %zu bytes, and the kernel takes less "
                                "than %d",
                                (int)(equals - word), word, strlen(equals + 1), VARIABLE_BYTES);
        for (size_t j = 0; j < i; j++)
            if (strncmp(env->words[j], word, (size_t)(equals - word) + 1) == 0 &&
                strcmp(env->words[j], word) != 0)
                return launch_error(error_out, -EINVAL,
                                    "--env %.*s is given twice, with different values; keep one",
                                    (int)(equals - word), word);
    }
    return 0;
}

int launch_environment_adopt(const struct launch_words *env)
{
    for (size_t i = 0; i < env->count; i++) {
        char *name = strdup(env->words[i]), *equals = name ? strchr(name, '=') : NULL;
        int failed = !equals;
        if (equals) {
            *equals = '\0';
            failed = setenv(name, equals + 1, 1);
        }
        free(name);
        if (failed)
            return -ENOMEM;
    }
    return 0;
}

static bool starts(const char *variable, const char *with)
{
    return strncmp(variable, with, strlen(with)) == 0;
}

/* Of a launcher around us, for the process that it started. PMIX_MCA_* and OMPI_MCA_* are settings
 * of the user's, but for those that mpirun itself makes. */
static bool is_outer(const char *variable, bool is_under_mpirun)
{
    static const char *const always[] = {
        "PMI_",
        "OMPI_COMM_WORLD_",
        "OMPI_UNIVERSE_SIZE=",
        "OMPI_APP_CTX_NUM_PROCS=",
        "OMPI_FIRST_RANKS=",
        "OMPI_NUM_APP_CTX=",
        "OMPI_COMMAND=",
        "OMPI_ARGV=",
        "OMPI_FILE_LOCATION=",
        "MPI_LOCALRANKID=",
        "MPI_LOCALNRANKS=",
        "HYDI_CONTROL_FD=",
        /* Ranks would look for the store of the torchrun around us, and hang. */
        "TORCHELASTIC_USE_AGENT_STORE=",
        /* Its watchdog's: it would hear of processes that it does not know. */
        "TORCHELASTIC_TIMER_FILE=",
        "TORCHELASTIC_ERROR_FILE=",
        "SHM_LAUNCH_PLAN=",
    };
    /* What keeps an Open MPI program from starting on its own. */
    static const char *const of_mpirun[] = {"OMPI_MCA_ess", "OMPI_MCA_orte_", "OMPI_MCA_pmix="};
    for (size_t i = 0; i < sizeof always / sizeof always[0]; i++)
        if (starts(variable, always[i]))
            return true;
    for (size_t i = 0; is_under_mpirun && i < sizeof of_mpirun / sizeof of_mpirun[0]; i++)
        if (starts(variable, of_mpirun[i]))
            return true;
    return starts(variable, "PMIX_") && !starts(variable, "PMIX_MCA_");
}

static void remove_outer(void)
{
    bool is_under_mpirun = getenv("OMPI_COMM_WORLD_RANK") != NULL;
    char **to = environ;
    for (char **from = environ; *from; from++)
        if (!is_outer(*from, is_under_mpirun))
            *to++ = *from;
    *to = NULL;
}

static int set_number(const char *name, size_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%zu", value);
    return setenv(name, text, 1);
}

static int set_numbers(const struct launch_job *job, size_t rank)
{
    const struct launch_cluster *c = &job->cluster;
    size_t here = job->plan->rank_count, all = here * c->machines;
    const struct {
        const char *name;
        size_t value;
    } numbers[] = {
        {"RANK", job->first_rank + rank},
        {"ROLE_RANK", job->first_rank + rank},
        {"WORLD_SIZE", all},
        {"ROLE_WORLD_SIZE", all},
        {"LOCAL_RANK", rank},
        {"LOCAL_WORLD_SIZE", here},
        {"LOCAL_SIZE", here},
        {"GROUP_RANK", c->machine},
        {"CROSS_RANK", c->machine},
        {"NODE_RANK", c->machine},
        {"GROUP_WORLD_SIZE", c->machines},
        {"CROSS_SIZE", c->machines},
        {"NNODES", c->machines},
        {"MASTER_PORT", (size_t)job->port},
        {"TORCHELASTIC_RESTART_COUNT", job->attempt},
        {"TORCHELASTIC_MAX_RESTARTS", job->options->restarts},
    };
    int failed = 0;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        failed |= set_number(numbers[i].name, numbers[i].value);
    return failed;
}

static int set_error_file(const struct launch_job *job, size_t rank)
{
    char *file;
    if (!job->error_dir)
        return 0;
    if (asprintf(&file, "%s/%zu/%zu/error.json", job->error_dir, job->attempt, rank) < 0)
        return -1;
    int failed = setenv("TORCHELASTIC_ERROR_FILE", file, 1);
    free(file);
    return failed;
}

/* Without a word libshmrt takes all nodes of its CPUs. */
static int set_segment_node(const struct launch_job *job, size_t rank)
{
    const struct shmrt_plan_rank *place = &job->plan->ranks[rank];
    if (job->options->no_bind || getenv("SHMRT_NODES") ||
        !shmrt_bitmap_has(&place->memory_nodes, place->segment_node))
        return 0;
    return set_number("SHMRT_NODES", place->segment_node);
}

int launch_environment_set(const struct launch_job *job, size_t rank)
{
    remove_outer();
    int failed = set_numbers(job, rank);
    failed |= setenv("ROLE_NAME", "default", 1);
    failed |= setenv("MASTER_ADDR", job->cluster.address, 1);
    failed |= setenv("SHMRT_JOB", job->key, 1);
    /* It says that RANK and the others are there to be used: to torch's is_torchelastic_launched()
     * and to frameworks that would otherwise believe Slurm's variables, which are of the task
     * around us. An inherited one would name the job around us. */
    failed |= setenv("TORCHELASTIC_RUN_ID", job->run_id, 1);
    failed |= set_error_file(job, rank);
    failed |= set_segment_node(job, rank);
    if (job->plan_line && strlen(job->plan_line) < VARIABLE_BYTES - sizeof "SHM_LAUNCH_PLAN=")
        failed |= setenv("SHM_LAUNCH_PLAN", job->plan_line, 1);
    if (job->preload)
        failed |= setenv("LD_PRELOAD", job->preload, 1);
    if (!job->own_threads)
        failed |= set_number("OMP_NUM_THREADS", job->plan->ranks[rank].threads);
    /* Through a pipe Python would show nothing before the end, and lose it in a crash. */
    if (job->piped)
        failed |= setenv("PYTHONUNBUFFERED", "1", 0);
    return failed ? -ENOMEM : 0;
}
