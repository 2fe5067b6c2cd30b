/* SPDX-License-Identifier: Apache-2.0 */
/*
 * error_files.c - makes, reads and removes the folder of error files.
 *
 * What is read was written by a program that then failed: a file that is no such JSON, or none at
 * all, is no error of ours and says nothing.
 */
#include "error_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { FOLDERS_OPEN = 8, FILE_MOST = 4 * 1024 * 1024, STALE_S = 60 };

static const char prefix[] = "shm-launch.";

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status, (void)kind, (void)place;
    (void)remove(path);
    return 0;
}

static void remove_tree(const char *dir)
{
    (void)nftw(dir, remove_one, FOLDERS_OPEN, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* Not one that is being made: between its making and its lock lies less than STALE_S. */
static bool is_stale(int folder)
{
    struct stat status;
    return folder >= 0 && fstat(folder, &status) == 0 && status.st_uid == geteuid() &&
           (status.st_mode & 07777) == 0700 && time(NULL) - status.st_mtime > STALE_S &&
           flock(folder, LOCK_EX | LOCK_NB) == 0;
}

/* What is left of a job whose launcher and keeper were killed at once: nobody holds its lock. */
static void remove_stale(const char *parent)
{
    DIR *all = opendir(parent);
    for (struct dirent *entry; all && (entry = readdir(all));) {
        char *path;
        if (strncmp(entry->d_name, prefix, sizeof prefix - 1) != 0 ||
            strlen(entry->d_name) != sizeof prefix - 1 + 6)
            continue;
        int folder = openat(dirfd(all), entry->d_name,
                            O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (is_stale(folder) && asprintf(&path, "%s/%s", parent, entry->d_name) >= 0) {
            remove_tree(path);
            free(path);
        }
        if (folder >= 0)
            close(folder);
    }
    if (all)
        closedir(all);
}

static char *make_under(const char *parent)
{
    char *dir = NULL;
    if (parent && *parent == '/' && asprintf(&dir, "%s/%sXXXXXX", parent, prefix) >= 0) {
        remove_stale(parent);
        if (mkdtemp(dir))
            return dir;
        free(dir);
    }
    return NULL;
}

void launch_errors_open(struct launch_job *job)
{
    char part[32];
    char *dir = make_under(getenv("TMPDIR"));
    job->error_dir = dir ? dir : make_under("/tmp");
    if (!job->error_dir)
        return;
    int folder = open(job->error_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    snprintf(part, sizeof part, "%zu", job->attempt);
    job->error_lock = folder;
    /* Where nothing can be locked, nobody takes the folder for a stale one either. */
    (void)flock(folder, LOCK_SH);
    if (folder < 0 || mkdirat(folder, part, 0700) != 0)
        launch_errors_close(job);
}

static char *path_of(const struct launch_job *job, size_t rank, const char *file)
{
    char *path;
    if (!job->error_dir ||
        asprintf(&path, "%s/%zu/%zu%s", job->error_dir, job->attempt, rank, file) < 0)
        return NULL;
    return path;
}

void launch_errors_open_rank(const struct launch_job *job, size_t rank)
{
    char *path = path_of(job, rank, "");
    if (path)
        (void)mkdir(path, 0700);
    free(path);
}

/* torch writes {"message": {"message": ..., "extraInfo": {"py_callstack": ...}}}, or a bare
 * message. */
static const char *words_in(const json_t *root)
{
    const json_t *message = json_object_get(root, "message");
    const json_t *inner = json_object_get(message, "message");
    const json_t *stack = json_object_get(json_object_get(message, "extraInfo"), "py_callstack");
    const json_t *found = json_is_string(stack) ? stack : json_is_string(inner) ? inner : message;
    return json_is_string(found) ? json_string_value(found) : NULL;
}

static json_t *load(const char *path)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    bool is_fit = fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size <= FILE_MOST;
    json_t *root = is_fit ? json_loadfd(fd, JSON_REJECT_DUPLICATES, NULL) : NULL;
    close(fd);
    return root;
}

char *launch_errors_read(const struct launch_job *job, size_t rank)
{
    char *path = path_of(job, rank, "/error.json");
    json_t *root = path ? load(path) : NULL;
    const char *words = words_in(root);
    char *copy = words && *words ? strdup(words) : NULL;
    json_decref(root);
    free(path);
    return copy;
}

/* Of a job without errors: folders only, whose names are known. */
static bool remove_empty(const struct launch_job *job)
{
    char attempt[PATH_MAX], rank[PATH_MAX + 32];
    snprintf(attempt, sizeof attempt, "%s/%zu", job->error_dir, job->attempt);
    for (size_t i = 0; i < job->plan->rank_count; i++) {
        snprintf(rank, sizeof rank, "%s/%zu", attempt, i);
        (void)rmdir(rank);
    }
    (void)rmdir(attempt);
    return rmdir(job->error_dir) == 0 || errno == ENOENT;
}

void launch_errors_remove(const struct launch_job *job)
{
    if (job->error_dir && !remove_empty(job))
        remove_tree(job->error_dir);
}

void launch_errors_close(struct launch_job *job)
{
    launch_errors_remove(job);
    if (job->error_dir && job->error_lock >= 0)
        close(job->error_lock);
    free(job->error_dir);
    job->error_dir = NULL;
}
