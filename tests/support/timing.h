/* SPDX-License-Identifier: Apache-2.0 */
/* timing.h - how long something took */
#ifndef TEST_TIMING_H
#define TEST_TIMING_H

#include <stdint.h>
#include <time.h>

/** CLOCK_MONOTONIC, which all processes of a machine share. */
static inline int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline double now_s(void)
{
    return (double)now_ns() / 1e9;
}

#endif
