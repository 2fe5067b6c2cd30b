/* SPDX-License-Identifier: Apache-2.0 */
/*
 * comm_notices.c - what could not be had, in one line for the whole job.
 *
 * A container refuses mbind to all ranks alike, and 64 equal lines tell a person less than one. So
 * a rank's warnings wait until the ranks have met. Their hashes travel in the hello: the lowest
 * rank with a line says it, and for how many.
 */
#include "comm_notices.h"

#include <stdio.h>

/* FNV-1a, never 0. */
static uint64_t hash_of(const char *line)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (; *line; line++)
        hash = (hash ^ (unsigned char)*line) * UINT64_C(1099511628211);
    return hash ? hash : 1;
}

static bool was_told(const struct shmrt_told *told, uint64_t hash)
{
    bool found = false;
    for (size_t i = 0; i < sizeof told->hashes / sizeof told->hashes[0]; i++)
        found = found || told->hashes[i] == hash;
    return found;
}

static void keep(enum shmrt_log_level level, const char *line, void *arg)
{
    struct shmrt_notices *notices = arg;
    if (level == SHMRT_LOG_WARNING && was_told(notices->told, hash_of(line)))
        return;
    if (level == SHMRT_LOG_WARNING && notices->count < SHMRT_NOTICES_MOST)
        snprintf(notices->lines[notices->count++], sizeof notices->lines[0], "%s", line);
    else
        shmrt_log(&notices->logger, level, "%s", line);
}

struct shmrt_logger shmrt_notices_logger(struct shmrt_notices *notices)
{
    return (struct shmrt_logger){keep, notices};
}

void shmrt_notices_show(const struct shmrt_notices *notices, struct shmrt_hello *mine)
{
    for (int i = 0; i < notices->count; i++)
        mine->notices[i] = hash_of(notices->lines[i]);
}

static bool has(const struct shmrt_hello *hello, uint64_t hash)
{
    bool found = false;
    for (int i = 0; i < SHMRT_NOTICES_MOST; i++)
        found = found || hello->notices[i] == hash;
    return found;
}

/* How many ranks have the line; 0 when a lower one than this does. */
static int count_ranks(const struct shmrt_hello *mine, const struct shmrt_link *links,
                       uint64_t hash)
{
    int ranks = 1;
    for (int r = 0; r < mine->size; r++) {
        if (r == mine->rank || !has(&links[r].hello, hash))
            continue;
        if (r < mine->rank)
            return 0;
        ranks++;
    }
    return ranks;
}

void shmrt_notices_tell(const struct shmrt_notices *notices, const struct shmrt_hello *mine,
                        const struct shmrt_link *links)
{
    for (int i = 0; i < notices->count; i++) {
        char who[48];
        int ranks = count_ranks(mine, links, mine->notices[i]);
        if (ranks == 0)
            continue;
        if (ranks == 1)
            snprintf(who, sizeof who, "rank %d", mine->rank);
        else if (ranks == mine->size)
            snprintf(who, sizeof who, "all %d ranks", ranks);
        else
            snprintf(who, sizeof who, "rank %d and %d more of %d", mine->rank, ranks - 1,
                     mine->size);
        shmrt_log(&notices->logger, SHMRT_LOG_WARNING, "%s: %s", who, notices->lines[i]);
    }
}

void shmrt_notices_tell_alone(const struct shmrt_notices *notices)
{
    for (int i = 0; i < notices->count; i++)
        shmrt_log(&notices->logger, SHMRT_LOG_WARNING, "%s", notices->lines[i]);
}

void shmrt_notices_remember(const struct shmrt_notices *notices, struct shmrt_told *told)
{
    size_t at = 0, most = sizeof told->hashes / sizeof told->hashes[0];
    while (at < most && told->hashes[at])
        at++;
    for (int i = 0; i < notices->count && at < most; i++)
        told->hashes[at++] = hash_of(notices->lines[i]);
}
