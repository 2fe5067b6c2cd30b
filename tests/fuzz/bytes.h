/* SPDX-License-Identifier: Apache-2.0 */
/* bytes.h - a fuzzer's input, taken from the front; zeroes when it is used up */
#ifndef FUZZ_BYTES_H
#define FUZZ_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct bytes {
    const uint8_t *at, *end;
};

static inline uint8_t take(struct bytes *bytes)
{
    return bytes->at < bytes->end ? *bytes->at++ : 0;
}

static inline unsigned take_two(struct bytes *bytes)
{
    unsigned low = take(bytes);
    return low | (unsigned)take(bytes) << 8;
}

/* What has to hold for any input: else the fuzzer has found something. */
static inline void must(bool holds)
{
    if (!holds)
        abort();
}

#endif
