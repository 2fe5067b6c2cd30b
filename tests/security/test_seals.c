/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_seals.c - a rank that shows something else than a sealed memfd of the right size. Mapped, it
 * could be cut short later, and any read of it would be a SIGBUS.
 */
#include "comm.h"
#include "counting.h"
#include "ranks.h"
#include "stranger.h"
#include "users.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { SEGMENT = 1 << 20, POOL = 2 << 20 };
enum { GOOD_SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL };

#define HUGETLB 0x0004U /* MFD_HUGETLB */

static int reopen(int fd, int flags)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int other = open(path, flags | O_CLOEXEC);
    close(fd);
    return other;
}

static int make_good(size_t bytes)
{
    return stranger_memfd(0, bytes, GOOD_SEALS);
}

static int make_unsealed(size_t bytes)
{
    return stranger_memfd(0, bytes, 0);
}

static int make_sealed_for_now(size_t bytes)
{
    return stranger_memfd(0, bytes, F_SEAL_SHRINK | F_SEAL_GROW);
}

static int make_growing(size_t bytes)
{
    return stranger_memfd(0, bytes, F_SEAL_SHRINK | F_SEAL_SEAL);
}

static int make_short(size_t bytes)
{
    return stranger_memfd(0, bytes / 2, GOOD_SEALS);
}

static int make_empty(size_t bytes)
{
    (void)bytes;
    return stranger_memfd(0, 0, GOOD_SEALS);
}

static int make_long(size_t bytes)
{
    return stranger_memfd(0, 3 * bytes, GOOD_SEALS);
}

static int make_hugetlb(size_t bytes)
{
    return stranger_memfd(HUGETLB, bytes > POOL ? bytes : POOL, GOOD_SEALS);
}

static int make_read_only(size_t bytes)
{
    return reopen(make_good(bytes), O_RDONLY);
}

static int make_path_only(size_t bytes)
{
    return reopen(make_good(bytes), O_PATH);
}

static int make_write_sealed(size_t bytes)
{
    return stranger_memfd(0, bytes, GOOD_SEALS | F_SEAL_WRITE);
}

static int make_regular(size_t bytes)
{
    FILE *file = tmpfile();
    int fd = file ? fcntl(fileno(file), F_DUPFD_CLOEXEC, 0) : -1;
    if (file)
        fclose(file);
    return fd >= 0 && ftruncate(fd, (off_t)bytes) == 0 ? fd : -1;
}

static int make_device(size_t bytes)
{
    (void)bytes;
    return open("/dev/zero", O_RDWR | O_CLOEXEC);
}

static int make_pipe(size_t bytes)
{
    int ends[2];
    (void)bytes;
    if (pipe(ends) != 0)
        return -1;
    close(ends[1]);
    return ends[0];
}

static int make_socket(size_t bytes)
{
    (void)bytes;
    return socket(AF_UNIX, SOCK_STREAM, 0);
}

static const struct kind {
    const char *name;
    int (*make)(size_t bytes);
    int code;
    const char *words;
} kinds[] = {
    {"not sealed", make_unsealed, -EPROTO, "not sealed, or not of"},
    {"seals not sealed", make_sealed_for_now, -EPROTO, "not sealed, or not of"},
    {"may grow", make_growing, -EPROTO, "not sealed, or not of"},
    {"half as long", make_short, -EPROTO, "not sealed, or not of"},
    {"empty", make_empty, -EPROTO, "not sealed, or not of"},
    {"too long", make_long, -EPROTO, "not sealed, or not of"},
    {"hugetlb", make_hugetlb, -EPROTO, "hugetlb"},
    {"read only", make_read_only, -EACCES, "Permission denied"},
    {"a path", make_path_only, -EBADF, "Bad file descriptor"},
    {"no writing", make_write_sealed, -EPERM, "not permitted"},
    {"regular file", make_regular, -EPROTO, "not sealed, or not of"},
    {"/dev/zero", make_device, -EPROTO, "not sealed, or not of"},
    {"pipe", make_pipe, -EPROTO, "not sealed, or not of"},
    {"socket", make_socket, -EPROTO, "not sealed, or not of"},
};

struct shown {
    const struct kind *kind;
    bool as_pool;
    struct ranks_run *run;
};

/* Rank 0, with other descriptors than it should have. */
static void show(const pid_t *pids, void *arg)
{
    const struct shown *shown = arg;
    (void)pids;
    const int fds[2] = {shown->as_pool ? make_good(SEGMENT) : shown->kind->make(SEGMENT),
                        shown->as_pool ? shown->kind->make(POOL) : make_good(POOL)};
    stranger_answer(shown->run->job, fds, NULL);
}

static int refuse_it(struct rank *rank)
{
    const struct shown *shown = rank->arg;
    struct shmrt_error error;
    static const char *const settings[] = {"segment=1M", "pool=2M", "rendezvous_timeout=60", NULL};
    rank->rank = 1;
    rank->size = 2;
    rank->settings = settings;
    int before = count_entries("/proc/self/fd");
    CHECK(!rank_comm(rank, &error));
    const struct kind *kind = shown->kind;
    bool is_fit = error.code == kind->code && strstr(error.text, kind->words) &&
                  strstr(error.text, "rank 0") &&
                  strstr(error.text, shown->as_pool ? "pool" : "rank 0");
    if (!is_fit)
        fprintf(stderr, "%s: code %d: %s\n", kind->name, error.code, error.text);
    CHECK(is_fit);
    CHECK(count_entries("/proc/self/fd") == before);
    return 0;
}

static bool can_make(const struct kind *kind)
{
    int fd = kind->make(SEGMENT);
    if (fd < 0)
        fprintf(stderr, "skipped: %s can't be made here: %s\n", kind->name, strerror(errno));
    else
        close(fd);
    return fd >= 0;
}

static void what_is_not_a_sealed_memfd_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * sizeof kinds / sizeof kinds[0]; i++) {
        struct shown shown = {.kind = &kinds[i / 2], .as_pool = i % 2};
        struct ranks_run run = {.kind = RANKS_PROCESSES,
                                .size = 1,
                                .body = refuse_it,
                                .arg = &shown,
                                .meanwhile = show};
        shown.run = &run;
        if (can_make(shown.kind))
            ranks_run_well(&run);
    }
}

/* The seals as the kernel keeps them: nobody, its owner included, changes the size of a segment. */
static int try_to_cut(struct rank *rank)
{
    static const char *const settings[] = {"segment=1M", "pool=2M", NULL};
    rank->settings = settings;
    struct shmrt_segment segment;
    struct shmrt_options options;
    const struct shmrt_logger silence = {0};
    CHECK(shmrt_options_load(settings, &options, NULL) == 0);
    CHECK(shmrt_segment_create(0, &options, &silence, &segment, NULL) == 0);
    CHECK(ftruncate(segment.file.fd, 0) != 0 && errno == EPERM);
    CHECK(ftruncate(segment.file.fd, 2 << 20) != 0 && errno == EPERM);
    CHECK((fcntl(segment.file.fd, F_GET_SEALS) & GOOD_SEALS) == GOOD_SEALS);
    shmrt_segment_release(&segment, true);
    return 0;
}

static void a_segment_keeps_its_size(void **state)
{
    (void)state;
    struct ranks_run run = {.kind = RANKS_PROCESSES, .size = 1, .body = try_to_cut};
    ranks_run_well(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_a_sealed_memfd_is_refused),
        cmocka_unit_test(a_segment_keeps_its_size),
    };
    return cmocka_run_group_tests_name("seals", tests, NULL, NULL);
}
