/* SPDX-License-Identifier: Apache-2.0 */
/* clock.h - monotonic time in nanoseconds (L0) */
#ifndef SHMRT_CLOCK_H
#define SHMRT_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t shmrt_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline struct timespec shmrt_timespec_from_ns(int64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / 1000000000),
                             .tv_nsec = (long)(ns % 1000000000)};
}

#endif
