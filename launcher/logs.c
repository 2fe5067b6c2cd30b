/* SPDX-License-Identifier: Apache-2.0 */
/*
 * logs.c - files that take what the ranks write before we do anything with it.
 *
 * They are opened once, so that a restart goes on in them and tail -f follows it. A file that
 * cannot be written any more is given up whole: one with holes would be taken for complete.
 */
#include "logs.h"

#include "say.h"

#include <errno.h>
#include <fcntl.h>
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

static int open_file(const char *dir, size_t rank, const char *ending, struct launch_log *log,
                     struct shmrt_error *error_out)
{
    char *path;
    if (asprintf(&path, "%s/rank-%zu.%s", dir, rank, ending) < 0)
        return launch_error(error_out, -ENOMEM, "no memory for the name of a log");
    log->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOCTTY | O_CLOEXEC, 0666);
    int rc = log->fd < 0 ? -errno : 0;
    if (rc)
        launch_error(error_out, rc, "--log-dir: %s cannot be written: %s", path, strerror(-rc));
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
