/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_tuning.c - any bytes as the file of measured thresholds, which another process may have
 * written or cut short: sizes within their limits, or nothing.
 */
#include "bytes.h"
#include "tuning_cache.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/fuzz_tuning.XXXXXX", path[sizeof folder + 8];
static int fd = -1;

static void put(const void *data, size_t size)
{
    must(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
}

static void clean_up(void)
{
    unlink(path);
    rmdir(folder);
}

/* A file of its own, since none that a link leads to is read; and one that is good can be read. */
static void begin(void)
{
    static const char good[] = "oneshot_max 4096 exchange_max 65536\n";
    struct shmrt_tuning tuning;
    must(mkdtemp(folder) != NULL && atexit(clean_up) == 0);
    snprintf(path, sizeof path, "%s/file", folder);
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    must(fd >= 0);
    put(good, strlen(good));
    must(shmrt_tuning_read(path, &tuning) && tuning.exchange_max_bytes == 65536);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const size_t untouched = 12345;
    struct shmrt_tuning tuning = {.oneshot_max_bytes = untouched, .exchange_max_bytes = untouched};
    size_t from = untouched;
    if (fd < 0)
        begin();
    put(data, size);
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
