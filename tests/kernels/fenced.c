/* SPDX-License-Identifier: Apache-2.0 */
/* fenced.c - buffers for kernels: pages without access around them, a painted rest inside. */
#include "fenced.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

enum { PAINT = 0xa5 };

static size_t page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

struct fenced fenced_open(size_t bytes)
{
    size_t page = page_bytes();
    struct fenced fenced = {.bytes = (bytes + page - 1) / page * page};
    char *map = mmap(NULL, fenced.bytes + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    fenced.begin = map + page;
    assert_int_equal(mprotect(fenced.begin, fenced.bytes, PROT_READ | PROT_WRITE), 0);
    return fenced;
}

void fenced_close(struct fenced *fenced)
{
    size_t page = page_bytes();
    assert_int_equal(munmap(fenced->begin - page, fenced->bytes + 2 * page), 0);
    fenced->begin = NULL;
}

char *fenced_place(const struct fenced *fenced, size_t bytes, int offset)
{
    if (offset < 0)
        return fenced->begin + fenced->bytes - bytes;
    assert_true((size_t)offset + bytes <= fenced->bytes);
    return fenced->begin + offset;
}

void fenced_paint(const struct fenced *fenced)
{
    memset(fenced->begin, PAINT, fenced->bytes);
}

/* All bytes are the same when each equals the next: one call, which sanitizers do not slow down. */
static void check_range(const char *from, const char *to)
{
    if (from == to ||
        ((unsigned char)*from == PAINT && memcmp(from, from + 1, (size_t)(to - from) - 1) == 0))
        return;
    while ((unsigned char)*from == PAINT)
        from++;
    fail_msg("a byte outside the vector was written, %td bytes before %p", to - from,
             (const void *)to);
}

void fenced_check_paint(const struct fenced *fenced, const char *at, size_t bytes)
{
    check_range(fenced->begin, at);
    check_range(at + bytes, fenced->begin + fenced->bytes);
}
