/* SPDX-License-Identifier: Apache-2.0 */
/* record_file.c - the file of a communicator's records: made, mapped, and removed at a good end. */
#include "record_file.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MOST_TRIES = 1000, MODE = 0600 };

static int64_t realtime_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The program may change its folder before the file is to be removed. */
static int find_folder(const char *path, char *out, size_t bytes)
{
    out[0] = '\0';
    if (path[0] == '/')
        return 0;
    if (!getcwd(out, bytes - 1))
        return -errno;
    strcat(out, "/");
    return 0;
}

/* O_EXCL: neither another run's evidence nor what a link leads to is written over. */
static int open_fresh(const char *path, uint32_t rank, char *name, size_t name_bytes)
{
    char folder[PATH_MAX];
    int rc = find_folder(path, folder, sizeof folder);
    snprintf(name, name_bytes, "%s", path); /* for words */
    if (rc)
        return rc;
    for (int i = 1; i <= MOST_TRIES; i++) {
        char number[16] = "";
        if (i > 1)
            snprintf(number, sizeof number, "-%d", i);
        snprintf(name, name_bytes, "%s%s.rank%u.%d%s", folder, path, rank, (int)getpid(), number);
        int fd;
        do
            fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, MODE);
        while (fd < 0 && errno == EINTR);
        if (fd >= 0 || errno != EEXIST)
            return fd >= 0 ? fd : -errno;
    }
    return -EEXIST;
}

/* A child of fork() must not write into its parent's records: it has no mapping of them. */
static int map(int fd, struct shmrt_record_file *file)
{
    int rc;
    do
        rc = -posix_fallocate(fd, 0, (off_t)file->bytes);
    while (rc == -EINTR);
    if (rc)
        return rc;
    void *base = mmap(NULL, file->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return -errno;
    do
        rc = madvise(base, file->bytes, MADV_DONTFORK) == 0 ? 0 : -errno;
    while (rc == -EINTR);
    if (rc) {
        munmap(base, file->bytes);
        return rc;
    }
    file->head = base;
    return 0;
}

static void fill_head(struct shmrt_record_file *file, int lanes,
                      const struct shmrt_record_file_head *head)
{
    struct shmrt_record_file_head *to = file->head;
    char *base = (char *)to;
    size_t notes_at = SHMRT_PAGE_BYTES + sizeof(struct shmrt_records);
    memcpy(to, head, sizeof *to);
    to->version = SHMRT_RECORD_FILE_VERSION;
    to->pid = (uint32_t)getpid();
    to->newest_at = SHMRT_PAGE_BYTES + (uint32_t)offsetof(struct shmrt_records, newest);
    to->ring_at = SHMRT_PAGE_BYTES + (uint32_t)offsetof(struct shmrt_records, ring);
    to->records = SHMRT_RECORDS;
    to->notes_at = (uint32_t)notes_at;
    to->notes = (uint32_t)lanes;
    to->note_bytes = sizeof(struct shmrt_wait_note);
    to->made_realtime_ns = realtime_ns();
    to->made_monotonic_ns = shmrt_now_ns();
    to->magic = SHMRT_RECORD_FILE_MAGIC;
    file->records = (struct shmrt_records *)(void *)(base + SHMRT_PAGE_BYTES);
    file->notes = (struct shmrt_wait_note *)(void *)(base + notes_at);
}

int shmrt_record_file_create(const char *path, int lanes, const struct shmrt_record_file_head *head,
                             struct shmrt_record_file *out, struct shmrt_error *error_out)
{
    _Static_assert(sizeof(struct shmrt_record_file_head) <= SHMRT_PAGE_BYTES, "one page");
    size_t name_bytes = PATH_MAX + strlen(path) + 64;
    struct shmrt_record_file file = {
        .bytes = SHMRT_PAGE_BYTES + sizeof(struct shmrt_records) +
                 (size_t)lanes * sizeof(struct shmrt_wait_note),
        .path = malloc(name_bytes),
    };
    if (!file.path)
        return shmrt_error_set(error_out, -ENOMEM, "no memory for the name of a file");
    int fd = open_fresh(path, head->rank, file.path, name_bytes);
    int rc = fd < 0 ? fd : map(fd, &file);
    if (fd >= 0)
        close(fd);
    if (rc) {
        shmrt_error_set(error_out, rc, "SHMRT_RECORDER names %s: %s", file.path, strerror(-rc));
        if (fd >= 0)
            unlink(file.path);
        free(file.path);
        return rc;
    }
    fill_head(&file, lanes, head);
    *out = file;
    return 0;
}

void shmrt_record_file_close(struct shmrt_record_file *file, bool is_owner)
{
    if (!file->head)
        return;
    if (is_owner) {
        bool failed = atomic_load_explicit(&file->head->code, memory_order_relaxed) != 0;
        munmap(file->head, file->bytes);
        if (!failed)
            unlink(file->path);
    }
    free(file->path);
    *file = (struct shmrt_record_file){0};
}

void shmrt_record_file_fail(struct shmrt_record_file *file, const struct shmrt_error *error)
{
    if (!file->head)
        return;
    memcpy(file->head->error, error->text, sizeof file->head->error);
    atomic_store_explicit(&file->head->code, error->code, memory_order_release);
}
