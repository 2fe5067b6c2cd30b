/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wiring.c - sets up pipes and moves bytes through them, never waiting for any one of them.
 *
 * A sink that is full stops the reading of its streams, and so slows the ranks down to the speed of
 * who reads us. When our reader is gone, the streams are closed, and the ranks learn of it as any
 * writer to a closed pipe does.
 */
#include "wiring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LOOK_FOR_FOREGROUND_MS = 500 };

static bool is_same_file(int a, int b)
{
    struct stat sa, sb;
    return fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
           sa.st_ino == sb.st_ino && sa.st_rdev == sb.st_rdev;
}

static int open_stream(struct launch_wiring *w, struct launch_job *job, const char *prefix,
                       struct launch_sink *sink, int *write_end_out)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -errno;
    launch_stream_open(&w->streams[w->stream_count++], ends[0], prefix, sink);
    job->our_fds[job->our_fd_count++] = ends[0];
    *write_end_out = ends[1];
    return 0;
}

static int open_input(struct launch_input *input, struct launch_job *job)
{
    int ends[2];
    *input = (struct launch_input){.terminal = -1, .pipe = -1};
    job->stdin_fd = STDIN_FILENO;
    if (!isatty(STDIN_FILENO))
        return 0;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -errno;
    (void)fcntl(ends[1], F_SETFL, O_NONBLOCK);
    job->our_fds[job->our_fd_count++] = ends[1];
    job->stdin_fd = ends[0];
    *input = (struct launch_input){.terminal = STDIN_FILENO, .pipe = ends[1]};
    return 0;
}

int launch_wiring_open(struct launch_wiring *w, struct launch_job *job)
{
    launch_sink_open(&w->sinks[0], STDOUT_FILENO);
    launch_sink_open(&w->sinks[1], STDERR_FILENO);
    w->out = &w->sinks[0];
    w->err = is_same_file(STDOUT_FILENO, STDERR_FILENO) ? w->out : &w->sinks[1];
    int rc = open_input(&w->input, job);
    for (size_t i = 0; i < job->plan->rank_count && job->piped && rc == 0; i++) {
        char prefix[32] = "";
        if (!job->options->no_prefix)
            snprintf(prefix, sizeof prefix, "[%zu] ", i);
        rc = open_stream(w, job, prefix, w->out, &job->out_fds[i]);
        if (rc == 0)
            rc = open_stream(w, job, prefix, w->err, &job->err_fds[i]);
    }
    return rc;
}

void launch_wiring_started(struct launch_wiring *w, struct launch_job *job)
{
    for (size_t i = 0; i < job->plan->rank_count && job->piped; i++) {
        close(job->out_fds[i]);
        close(job->err_fds[i]);
    }
    if (w->input.terminal >= 0) {
        close(job->stdin_fd);
        return;
    }
    /* Who writes to rank 0 has to notice when it is gone. */
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        close(null);
    }
}

static void add(struct pollfd *polls, size_t *count, int fd, short events)
{
    polls[(*count)++] = (struct pollfd){.fd = fd, .events = events};
}

static void shorten(int *timeout_ms, int other_ms)
{
    if (other_ms >= 0 && (*timeout_ms < 0 || other_ms < *timeout_ms))
        *timeout_ms = other_ms;
}

static void poll_input(struct launch_input *input, struct pollfd *polls, size_t *count,
                       int *timeout_ms)
{
    if (input->begin < input->end)
        add(polls, count, input->pipe, POLLOUT);
    else if (input->terminal < 0)
        return;
    else if (tcgetpgrp(input->terminal) == getpgrp())
        add(polls, count, input->terminal, POLLIN);
    else /* reading in the background would stop us */
        shorten(timeout_ms, LOOK_FOR_FOREGROUND_MS);
}

size_t launch_wiring_poll(struct launch_wiring *w, struct pollfd *polls, int *timeout_ms,
                          int64_t now_ns)
{
    size_t count = 0;
    for (size_t i = 0; i < w->stream_count; i++) {
        struct launch_stream *stream = &w->streams[i];
        if (stream->fd >= 0 && !launch_sink_is_full(stream->sink))
            add(polls, &count, stream->fd, POLLIN);
        shorten(timeout_ms, launch_stream_settle(stream, now_ns));
    }
    for (size_t i = 0; i < 2; i++)
        if (!launch_sink_is_empty(&w->sinks[i]))
            add(polls, &count, w->sinks[i].fd, POLLOUT);
    poll_input(&w->input, polls, &count, timeout_ms);
    return count;
}

static void close_input(struct launch_input *input)
{
    close(input->pipe);
    *input = (struct launch_input){.terminal = -1, .pipe = -1};
}

static void move_input(struct launch_input *input, const struct pollfd *ready)
{
    if (input->terminal < 0 || !ready->revents)
        return;
    if (ready->fd == input->terminal) {
        ssize_t got = read(input->terminal, input->bytes, sizeof input->bytes);
        if (got > 0) {
            input->begin = 0;
            input->end = (size_t)got;
        } else if (got == 0 || (errno != EINTR && errno != EAGAIN)) {
            close_input(input);
        }
    } else if (ready->fd == input->pipe) {
        ssize_t put = write(input->pipe, input->bytes + input->begin, input->end - input->begin);
        if (put > 0)
            input->begin += (size_t)put;
        else if (errno != EINTR && errno != EAGAIN) /* rank 0 is gone */
            close_input(input);
    }
}

static void drop_streams_of_lost_sinks(struct launch_wiring *w)
{
    for (size_t i = 0; i < w->stream_count; i++)
        if (w->streams[i].sink->error)
            launch_stream_close(&w->streams[i]);
}

void launch_wiring_move(struct launch_wiring *w, const struct pollfd *polls, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!polls[i].revents)
            continue;
        for (size_t s = 0; s < w->stream_count; s++)
            if (w->streams[s].fd == polls[i].fd)
                (void)launch_stream_read(&w->streams[s]);
        for (size_t s = 0; s < 2; s++)
            if (w->sinks[s].fd == polls[i].fd && polls[i].events == POLLOUT)
                launch_sink_write(&w->sinks[s]);
        move_input(&w->input, &polls[i]);
    }
    drop_streams_of_lost_sinks(w);
}

void launch_wiring_drain(struct launch_wiring *w)
{
    for (size_t i = 0; i < w->stream_count; i++) {
        struct launch_stream *stream = &w->streams[i];
        while (stream->fd >= 0 && !launch_sink_is_full(stream->sink))
            if (!launch_stream_read(stream))
                launch_stream_close(stream);
    }
    drop_streams_of_lost_sinks(w);
}

void launch_wiring_close(struct launch_wiring *w)
{
    for (size_t i = 0; i < w->stream_count; i++)
        launch_stream_close(&w->streams[i]);
    for (size_t i = 0; i < 2; i++)
        launch_sink_close(&w->sinks[i]);
}

bool launch_wiring_is_flushed(const struct launch_wiring *w)
{
    bool is_flushed = launch_sink_is_empty(&w->sinks[0]) && launch_sink_is_empty(&w->sinks[1]);
    for (size_t i = 0; i < w->stream_count; i++)
        is_flushed = is_flushed && w->streams[i].fd < 0;
    return is_flushed;
}

int launch_wiring_error(const struct launch_wiring *w)
{
    for (size_t i = 0; i < 2; i++)
        if (w->sinks[i].error && w->sinks[i].error != EPIPE)
            return w->sinks[i].error;
    return 0;
}
