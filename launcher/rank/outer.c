/* SPDX-License-Identifier: Apache-2.0 */
/* outer.c - what a launcher around us has set for its own ranks is taken away, so that all later
 * code finds the user's or none; so is an OMP_NUM_THREADS that is no number. */
#include "common/say.h"
#include "environment.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char threads[] = "OMP_NUM_THREADS";

/* What the plan of the shm-launch around us gives to the rank that we are in, to json_decref();
 * NULL: there is none. */
static json_t *place_around_us(void)
{
    const char *plan = getenv("SHM_LAUNCH_PLAN"), *rank = getenv("LOCAL_RANK");
    json_t *json = plan && rank ? json_loads(plan, 0, NULL) : NULL;
    const json_t *ranks = json_object_get(json, "ranks");
    json_t *place = ranks ? json_array_get(ranks, strtoull(rank, NULL, 10)) : NULL;
    json_incref(place);
    json_decref(json);
    return place;
}

/* Only where the variable still has the planned value: another is the user's. */
static void drop_planned(const char *variable, const json_t *planned)
{
    char text[32];
    const char *value = getenv(variable);
    snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(planned));
    if (value && json_is_integer(planned) && strcmp(value, text) == 0)
        unsetenv(variable);
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
        if (strncmp(env->words[i], threads, strlen(threads)) == 0 &&
            env->words[i][strlen(threads)] == '=')
            return true;
    return false;
}

static void drop_torchruns(const struct launch_words *env)
{
    const char *value = getenv(threads);
    if (!value || strcmp(value, "1") != 0 || !getenv("TORCHELASTIC_RUN_ID") ||
        getenv("SHM_LAUNCH_PLAN") || is_given(env))
        return;
    launch_say("OMP_NUM_THREADS=1 is what torchrun around this job sets where it finds none: the "
               "ranks get the plan's instead; --env OMP_NUM_THREADS=1 keeps it");
    unsetenv(threads);
}

void launch_outer_drop(const struct launch_words *env)
{
    json_t *place = place_around_us();
    drop_planned(threads, json_object_get(place, "threads"));
    drop_planned("SHMRT_NODES", json_object_get(place, "segment_node"));
    json_decref(place);
    drop_torchruns(env);
}

void launch_threads_drop_bad(void)
{
    const char *value = getenv(threads);
    if (!value || !*value || is_number(value))
        return;
    launch_say("OMP_NUM_THREADS=%.64s is no number of threads, such as 4: the ranks get the plan's",
               value);
    unsetenv(threads);
}
