/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tiny_epochs.c - in place of runtime/coll/first.c: every counter wraps after a few calls, each
 * after a number of its own that the job's key decides. So in many communicators they wrap at all
 * kinds of moments.
 */
#include "coll/first.h"

struct shmrt_first shmrt_first_numbers(const char *job)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (; *job; job++)
        hash = (hash ^ (unsigned char)*job) * UINT64_C(1099511628211);
    hash ^= hash >> 29;
    return (struct shmrt_first){
        .epoch = 0 - (1 + hash % 24),
        .round = 0 - (1 + (hash >> 8) % 24),
        .chunk = 0 - (1 + (hash >> 16) % 12),
        .message = 0 - (1 + (hash >> 24) % 4),
    };
}
