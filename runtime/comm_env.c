/* SPDX-License-Identifier: Apache-2.0 */
/* comm_env.c - what the launchers say in the environment: who am I, and which job is this. */
#include "comm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *rank;
    const char *size;
} launchers[] = {
    {"RANK", "WORLD_SIZE"},                           /* torch: shm-launch, torchrun, deepspeed */
    {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"}, /* Open MPI's mpirun */
    {"PMI_RANK", "PMI_SIZE"},                         /* MPICH's and Intel's mpirun */
    {"SLURM_PROCID", "SLURM_NTASKS"},                 /* srun */
};

/* Words that tell two jobs of one user apart; those that are set are joined. */
static const char *const job_words[] = {
    "MASTER_ADDR",  "MASTER_PORT",   "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT",
    "SLURM_JOB_ID", "SLURM_STEP_ID", "PMIX_NAMESPACE",      "PMI_JOBID",
};

static const char *given(const char *name)
{
    const char *text = secure_getenv(name);
    return text && *text ? text : NULL;
}

static int parse_int(const char *name, const char *text, int min, int max, int *out,
                     struct shmrt_error *error_out)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (end == text || *end || errno || value < min || value > max)
        return shmrt_error_set(error_out, -EINVAL, "%s=%s is not a whole number from %d to %d",
                               name, text, min, max);
    *out = (int)value;
    return 0;
}

int shmrt_params_from_env(struct shmrt_params *params, struct shmrt_error *error_out)
{
    for (size_t i = 0; i < sizeof launchers / sizeof launchers[0]; i++) {
        const char *rank = given(launchers[i].rank), *size = given(launchers[i].size);
        if (!rank && !size)
            continue;
        if (!rank || !size)
            return shmrt_error_set(error_out, -EINVAL,
                                   "%s is set but %s is not; set both or neither",
                                   rank ? launchers[i].rank : launchers[i].size,
                                   rank ? launchers[i].size : launchers[i].rank);
        int n = 0, r = 0;
        int rc = parse_int(launchers[i].size, size, 1, SHMRT_MAX_RANKS, &n, error_out);
        if (!rc)
            rc = parse_int(launchers[i].rank, rank, 0, n - 1, &r, error_out);
        if (rc)
            return rc;
        params->rank = r;
        params->size = n;
        return 0;
    }
    return shmrt_error_set(error_out, -ENOENT,
                           "no launcher's variables are set (RANK and WORLD_SIZE, or those of Open "
                           "MPI, MPICH or Slurm): start with shm-launch -n N, torchrun, mpirun or "
                           "srun, or give rank and size");
}

static int too_long(struct shmrt_error *error_out)
{
    return shmrt_error_set(error_out, -EINVAL,
                           "the job key is longer than %d characters; set a shorter SHMRT_JOB",
                           SHMRT_JOB_BYTES - 1);
}

int shmrt_job_key(const char *job, const char *name, char out[SHMRT_JOB_BYTES],
                  struct shmrt_error *error_out)
{
    size_t at = 0;
    memset(out, 0, SHMRT_JOB_BYTES);
    if (name && strchr(name, '/'))
        return shmrt_error_set(
            error_out, -EINVAL,
            "the communicator's name \"%s\" has a slash, which parts it from the "
            "job key; use another character",
            name);
    if (!job)
        job = given("SHMRT_JOB");
    for (size_t i = 0; !job && i < sizeof job_words / sizeof job_words[0]; i++) {
        const char *word = given(job_words[i]);
        if (word)
            at += (size_t)snprintf(out + at, SHMRT_JOB_BYTES - at, "%s%s", at ? ":" : "", word);
        if (at >= SHMRT_JOB_BYTES)
            return too_long(error_out);
    }
    at += (size_t)snprintf(out + at, SHMRT_JOB_BYTES - at, "%s/%s", job ? job : "",
                           name ? name : "default");
    return at < SHMRT_JOB_BYTES ? 0 : too_long(error_out);
}
