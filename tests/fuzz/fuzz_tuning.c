/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_tuning.c - any bytes as the file of measured thresholds, which another process may have
 * written or cut short: sizes within their limits, or nothing.
 */
#include "bytes.h"
#include "tuning_cache.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void put(int fd, const void *data, size_t size)
{
    must(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    static char path[32];
    const size_t untouched = 12345;
    struct shmrt_tuning tuning = {.oneshot_max_bytes = untouched, .exchange_max_bytes = untouched};
    size_t from = untouched;
    if (fd < 0) {
        fd = memfd_create("tuning", MFD_CLOEXEC);
        must(fd >= 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    put(fd, data, size);
    if (shmrt_tuning_read(path, &tuning))
        must(tuning.oneshot_max_bytes <= 1 << 30 && tuning.exchange_max_bytes <= 1 << 30);
    else
        must(tuning.oneshot_max_bytes == untouched && tuning.exchange_max_bytes == untouched);
    if (shmrt_tuning_read_groups(path, &from))
        must(from <= SHMRT_HIERARCHY_NEVER);
    else
        must(from == untouched);
    return 0;
}
