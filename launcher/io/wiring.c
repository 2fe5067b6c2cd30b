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

static bool is_same_file(int a, int b)
{
    struct stat sa, sb;
    return fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
           sa.st_ino == sb.st_ino && sa.st_rdev == sb.st_rdev;
}

static int open_stream(struct launch_wiring *w, struct launch_job *job, size_t rank, bool is_err)
{
    int ends[2];
    char prefix[32] = "";
    struct launch_stream *stream = &w->streams[w->stream_count];
    bool is_alone = job->plan->rank_count == 1;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -errno;
    if (!job->options->no_prefix && !is_alone)
        snprintf(prefix, sizeof prefix, "[%zu] ", job->first_rank + rank);
    launch_stream_open(stream, ends[0], prefix, is_err ? w->err : w->out);
    stream->is_raw = is_alone && !job->options->timestamps;
    stream->has_tail = is_err;
    if (job->logs)
        stream->log = is_err ? &job->logs->err[rank] : &job->logs->out[rank];
    w->stream_count++;
    job->our_fds[job->our_fd_count++] = ends[0];
    *(is_err ? &job->err_fds[rank] : &job->out_fds[rank]) = ends[1];
    return 0;
}

int launch_wiring_open(struct launch_wiring *w, struct launch_job *job)
{
    launch_sink_open(&w->sinks[0], STDOUT_FILENO);
    launch_sink_open(&w->sinks[1], STDERR_FILENO);
    w->out = &w->sinks[0];
    w->err = is_same_file(STDOUT_FILENO, STDERR_FILENO) ? w->out : &w->sinks[1];
    for (size_t i = 0; i < 2 && job->options->timestamps; i++)
        w->sinks[i].stamp = &w->stamp;
    job->our_fd_count = 0;
    for (size_t i = 0; i < 2; i++)
        if (w->sinks[i].is_own_fd)
            job->our_fds[job->our_fd_count++] = w->sinks[i].fd;
    int rc = launch_input_open(&w->input, job);
    for (size_t i = 0; i < job->plan->rank_count && job->piped && rc == 0; i++) {
        rc = open_stream(w, job, i, false);
        if (rc == 0)
            rc = open_stream(w, job, i, true);
    }
    return rc;
}

void launch_wiring_started(struct launch_wiring *w, struct launch_job *job)
{
    for (size_t i = 0; i < job->plan->rank_count && job->piped; i++) {
        close(job->out_fds[i]);
        close(job->err_fds[i]);
    }
    launch_input_started(&w->input, job);
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
        if (!launch_sink_is_empty(&w->sinks[i])) {
            int pause_ms = launch_sink_pause_ms(&w->sinks[i], now_ns);
            if (pause_ms)
                shorten(timeout_ms, pause_ms);
            else
                add(polls, &count, w->sinks[i].fd, POLLOUT);
        }
    w->input_polls_at = count;
    return count + launch_input_poll(&w->input, polls + count, timeout_ms, now_ns);
}

static void drop_streams_of_lost_sinks(struct launch_wiring *w)
{
    for (size_t i = 0; i < w->stream_count; i++)
        if (w->streams[i].sink->error)
            launch_stream_close(&w->streams[i]);
}

void launch_wiring_move(struct launch_wiring *w, const struct pollfd *polls, size_t count)
{
    size_t stream = 0; /* they stand in their own order */
    for (size_t i = 0; i < w->input_polls_at; i++) {
        if (polls[i].events == POLLIN) {
            while (w->streams[stream].fd != polls[i].fd)
                stream++;
            if (polls[i].revents)
                (void)launch_stream_read(&w->streams[stream]);
        } else if (polls[i].revents) {
            launch_sink_write(w->sinks[0].fd == polls[i].fd ? &w->sinks[0] : &w->sinks[1]);
        }
    }
    launch_input_move(&w->input, polls + w->input_polls_at, count - w->input_polls_at);
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
    for (size_t i = 0; i < 2; i++) {
        launch_sink_close(&w->sinks[i]);
        if (w->sinks[i].is_own_fd)
            close(w->sinks[i].fd);
    }
    launch_input_close(&w->input);
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

const struct launch_stream *launch_wiring_errors_of(const struct launch_wiring *w, size_t rank)
{
    return 2 * rank + 1 < w->stream_count ? &w->streams[2 * rank + 1] : NULL;
}
