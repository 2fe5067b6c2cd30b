/* SPDX-License-Identifier: Apache-2.0 */
/*
 * logs.c - files that take what the ranks write before we do anything with it.
 *
 * They are opened once, so that a restart goes on in them and tail -f follows it. A file that
 * cannot be written any more is given up whole: one with holes would be taken for complete.
 */
#include "logs.h"

#include "common/say.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int make_folder(const char *dir, struct shmrt_error *error_out)
{
    struct stat status;
    if (mkdir(dir, 0777) == 0 ||
        (errno == EEXIST && stat(dir, &status) == 0 && S_ISDIR(status.st_mode)))
        return 0;
    int rc = -errno;
    if (rc == -ENOENT)
        return launch_error(error_out, rc,
                            "--log-dir %s: the folder that it should lie in does not exist; "
                            "create that first (mkdir -p)",
                            dir);
    return launch_error(error_out, rc, "--log-dir %s: %s", dir,
                        rc == -EEXIST ? "this is no folder" : strerror(-rc));
}

/*
 * In a folder that others may write to, a link of theirs would have us empty a file of ours, and a
 * pipe would hold us up. A link of our own is followed, by the words that are in it.
 */
static int open_link(const char *dir, const char *path, int flags)
{
    char target[PATH_MAX];
    struct stat status;
    int link = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    ssize_t length = link < 0 ? -1 : readlinkat(link, "", target, sizeof target - 1);
    bool is_ours = length >= 0 && fstat(link, &status) == 0 && status.st_uid == geteuid();
    if (link >= 0)
        close(link);
    if (!is_ours) {
        errno = ELOOP;
        return -1;
    }
    target[length] = '\0';
    int folder = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd = openat(folder, target, flags, 0666);
    if (folder >= 0)
        close(folder);
    return fd;
}

/* Return: the descriptor, or a negative errno. */
static int open_fit(const char *dir, const char *path)
{
    static const int flags =
        O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOCTTY | O_NONBLOCK | O_CLOEXEC;
    struct stat status;
    int fd = open(path, flags | O_NOFOLLOW, 0666);
    if (fd < 0 && errno == ELOOP)
        fd = open_link(dir, path, flags);
    if (fd < 0)
        return errno == ENXIO ? -EINVAL : -errno;
    if (fstat(fd, &status) == 0 && (S_ISREG(status.st_mode) || S_ISCHR(status.st_mode))) {
        (void)fcntl(fd, F_SETFL, O_APPEND);
        return fd;
    }
    close(fd);
    return -EINVAL;
}

static const char *why_not(int code)
{
    return code == -ELOOP    ? "it is a link of another user; remove it, or choose another folder"
           : code == -EINVAL ? "it is neither a file nor a device"
                             : strerror(-code);
}

static int open_file(const char *dir, size_t rank, const char *ending, struct launch_log *log,
                     struct shmrt_error *error_out)
{
    char *path;
    if (asprintf(&path, "%s/rank-%zu.%s", dir, rank, ending) < 0)
        return launch_error(error_out, -ENOMEM, "no memory for the name of a log");
    int fd = open_fit(dir, path), rc = fd < 0 ? fd : 0;
    log->fd = rc ? -1 : fd;
    if (rc)
        launch_error(error_out, rc, "--log-dir: %.300s cannot be written: %s", path, why_not(rc));
    free(path);
    return rc;
}

int launch_logs_open(const char *dir, size_t first, size_t ranks, struct launch_logs **logs_out,
                     struct shmrt_error *error_out)
{
    struct launch_logs *logs = calloc(1, sizeof *logs);
    if (!logs)
        return launch_error(error_out, -ENOMEM, "no memory for logs");
    logs->ranks = ranks;
    for (size_t i = 0; i < ranks; i++)
        logs->out[i].fd = logs->err[i].fd = -1;
    int rc = make_folder(dir, error_out);
    for (size_t i = 0; i < ranks && rc == 0; i++) {
        rc = open_file(dir, first + i, "out", &logs->out[i], error_out);
        if (rc == 0)
            rc = open_file(dir, first + i, "err", &logs->err[i], error_out);
    }
    if (rc)
        (void)launch_logs_close(logs);
    else
        *logs_out = logs;
    return rc;
}

static void give_up(struct launch_log *log, int error)
{
    log->error = log->error ? log->error : error;
    close(log->fd);
    log->fd = -1;
}

void launch_log_write(struct launch_log *log, const char *bytes, size_t count)
{
    while (count > 0 && log->fd >= 0) {
        ssize_t put = write(log->fd, bytes, count);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0) {
            give_up(log, errno);
            return;
        }
        bytes += put;
        count -= (size_t)put;
        if (put > 0)
            log->is_mid_line = bytes[-1] != '\n';
    }
}

static void say_in(struct launch_log *log, const char *line)
{
    if (log->is_mid_line)
        launch_log_write(log, "\n", 1);
    launch_log_write(log, line, strlen(line));
    launch_log_write(log, "\n", 1);
}

void launch_logs_say(struct launch_logs *logs, const char *line)
{
    for (size_t i = 0; i < logs->ranks; i++) {
        say_in(&logs->out[i], line);
        say_in(&logs->err[i], line);
    }
}

int launch_logs_error(const struct launch_logs *logs)
{
    for (size_t i = 0; i < logs->ranks; i++)
        if (logs->out[i].error || logs->err[i].error)
            return logs->out[i].error ? logs->out[i].error : logs->err[i].error;
    return 0;
}

static void close_one(struct launch_log *log)
{
    if (log->fd >= 0 && close(log->fd) != 0 && errno != EINTR)
        log->error = errno;
}

int launch_logs_close(struct launch_logs *logs)
{
    for (size_t i = 0; i < logs->ranks; i++) {
        close_one(&logs->out[i]);
        close_one(&logs->err[i]);
    }
    int error = launch_logs_error(logs);
    free(logs);
    return error;
}
