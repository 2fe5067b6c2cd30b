/* SPDX-License-Identifier: Apache-2.0 */
/* random64.h - random numbers that follow from a seed, the same everywhere and for ever */
#ifndef TEST_RANDOM64_H
#define TEST_RANDOM64_H

#include <stdint.h>

/** splitmix64: any seed will do. */
static inline uint64_t next_random(uint64_t *state)
{
    uint64_t x = (*state += UINT64_C(0x9e3779b97f4a7c15));
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/** xorshift64: any seed but 0. */
static inline uint64_t next_shifted(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

#endif
