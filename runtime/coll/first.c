/* SPDX-License-Identifier: Apache-2.0 */
/* first.c - counters begin at 0; see first.h for who has it otherwise. */
#include "first.h"

struct shmrt_first shmrt_first_numbers(const char *job)
{
    (void)job;
    return (struct shmrt_first){0};
}
