/* SPDX-License-Identifier: Apache-2.0 */
/* threads.c - an OMP_NUM_THREADS that a launcher around us has set for its own processes, or that
 * is no number, is taken away, so that all later code finds the user's or none. */
#include "environment.h"
#include "say.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char name[] = "OMP_NUM_THREADS";

/* What the plan of the shm-launch around us gives to the rank that we are in; 0: there is none. */
static size_t planned_around_us(void)
{
    const char *plan = getenv("SHM_LAUNCH_PLAN"), *rank = getenv("LOCAL_RANK");
    json_t *json = plan && rank ? json_loads(plan, 0, NULL) : NULL;
    const json_t *ranks = json_object_get(json, "ranks");
    const json_t *ours = json ? json_array_get(ranks, strtoull(rank, NULL, 10)) : NULL;
    json_int_t threads = json_integer_value(json_object_get(ours, "threads"));
    json_decref(json);
    return threads > 0 ? (size_t)threads : 0;
}

/* A number, or one for each level of nesting: "4,2". */
static bool is_number(const char *text)
{
    for (;; text++) {
        char *end;
        errno = 0;
        text += strspn(text, " ");
        if (!isdigit((unsigned char)*text) || strtoul(text, &end, 10) == 0 || errno)
            return false;
        text = end + strspn(end, " ");
        if (*text != ',')
            return !*text;
    }
}

static bool is_given(const struct launch_words *env)
{
    for (size_t i = 0; i < env->count; i++)
        if (strncmp(env->words[i], name, strlen(name)) == 0 && env->words[i][strlen(name)] == '=')
            return true;
    return false;
}

void launch_threads_drop_outer(const struct launch_words *env)
{
    const char *value = getenv(name);
    if (!value || !is_number(value) || is_given(env))
        return;
    bool is_torchruns =
        getenv("TORCHELASTIC_RUN_ID") && !getenv("SHM_LAUNCH_PLAN") && strcmp(value, "1") == 0;
    if (is_torchruns)
        launch_say("OMP_NUM_THREADS=1 is what torchrun around this job sets where it finds none: "
                   "the ranks get the plan's instead; --env OMP_NUM_THREADS=1 keeps it");
    if (is_torchruns || strtoul(value, NULL, 10) == planned_around_us())
        unsetenv(name);
}

void launch_threads_drop_bad(void)
{
    const char *value = getenv(name);
    if (!value || !*value || is_number(value))
        return;
    launch_say("OMP_NUM_THREADS=%.64s is no number of threads, such as 4: the ranks get the plan's",
               value);
    unsetenv(name);
}
