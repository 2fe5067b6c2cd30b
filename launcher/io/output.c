/* SPDX-License-Identifier: Apache-2.0 */
/*
 * output.c - lines with a rank in front, none of them split by another.
 *
 * A line goes out when it is complete. A line that rewrites itself with \r (a progress bar) goes
 * out as it grows, each state with its prefix; whatever another rank says then begins a new line,
 * and on a terminal takes the bar's place. Bytes are neither lost nor invented otherwise: the last
 * line of a stream gets its missing newline, and lines are cut at LINE_MOST.
 */
#include "output.h"

#include "common/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    READ_BYTES = 64 * 1024,
    LINE_MOST = 1024 * 1024,
    QUEUE_FULL = 256 * 1024,
    WRITE_BYTES = 64 * 1024,
    SETTLE_MS = 100,
    TRY_AGAIN_MS = 20,
};

/* Room for @more bytes after @used; false: no memory. */
static bool make_room(char **buffer, size_t used, size_t *room, size_t more)
{
    if (used + more <= *room)
        return true;
    size_t wanted = 2 * (used + more);
    char *grown = realloc(*buffer, wanted);
    if (!grown)
        return false;
    *buffer = grown;
    *room = wanted;
    return true;
}

/*
 * The same pipe or terminal, but in a way that never waits: others who write to it must not find
 * their own writes refused, so it is opened anew. Where that cannot be, as it was.
 */
static int open_anew(int fd)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

void launch_sink_open(struct launch_sink *sink, int fd)
{
    struct stat status;
    *sink = (struct launch_sink){.fd = fd, .is_terminal = isatty(fd)};
    sink->is_pipe =
        fstat(fd, &status) == 0 && (S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode));
    int own = sink->is_terminal || sink->is_pipe ? open_anew(fd) : -1;
    sink->is_own_fd = own >= 0;
    if (sink->is_own_fd)
        sink->fd = own;
}

int launch_sink_pause_ms(const struct launch_sink *sink, int64_t now_ns)
{
    int64_t left_ns = sink->again_ns - now_ns;
    return left_ns > 0 ? (int)(left_ns / 1000000) + 1 : 0;
}

void launch_sink_close(struct launch_sink *sink)
{
    free(sink->queue);
    sink->queue = NULL;
    sink->begin = sink->end = sink->room = 0;
}

static void add(struct launch_sink *sink, const char *bytes, size_t count)
{
    if (sink->error || count == 0)
        return;
    if (sink->begin == sink->end)
        sink->begin = sink->end = 0;
    if (!make_room(&sink->queue, sink->end, &sink->room, count)) {
        sink->error = ENOMEM;
        return;
    }
    memcpy(sink->queue + sink->end, bytes, count);
    sink->end += count;
}

static void add_text(struct launch_sink *sink, const char *text)
{
    add(sink, text, strlen(text));
}

bool launch_sink_is_full(const struct launch_sink *sink)
{
    return sink->end - sink->begin >= QUEUE_FULL;
}

/*
 * How much to write at once. A pipe that poll calls writable takes PIPE_BUF bytes without blocking
 * and without mixing them with other writers', so there it is as many whole lines as fit.
 */
static size_t next_write(const struct launch_sink *sink)
{
    const char *begin = sink->queue + sink->begin;
    size_t waiting = sink->end - sink->begin;
    if (!sink->is_pipe)
        return waiting < WRITE_BYTES ? waiting : WRITE_BYTES;
    if (waiting <= PIPE_BUF)
        return waiting;
    const char *newline = memrchr(begin, '\n', PIPE_BUF);
    return newline ? (size_t)(newline - begin) + 1 : PIPE_BUF;
}

void launch_sink_write(struct launch_sink *sink)
{
    if (launch_sink_is_empty(sink))
        return;
    ssize_t written = write(sink->fd, sink->queue + sink->begin, next_write(sink));
    if (written >= 0) {
        sink->begin += (size_t)written;
    } else if (errno == EAGAIN) { /* a terminal may have room, and too little of it */
        sink->again_ns = launch_now_ns() + TRY_AGAIN_MS * INT64_C(1000000);
    } else if (errno != EINTR) {
        sink->error = errno;
        sink->begin = sink->end = 0;
    }
    /* The front of a long queue is given back before it doubles for nothing. */
    if (sink->begin > QUEUE_FULL) {
        memmove(sink->queue, sink->queue + sink->begin, sink->end - sink->begin);
        sink->end -= sink->begin;
        sink->begin = 0;
    }
}

/* Before anything else than @next's unfinished line goes on: end or clear the one that stands. */
static void leave_live(struct launch_sink *sink, const struct launch_stream *next_stream)
{
    if (!sink->live || sink->live == next_stream)
        return;
    if (sink->is_terminal)
        add_text(sink, "\r\033[K");
    else if (!next_stream || !next_stream->is_rewriting)
        add_text(sink, "\n");
    sink->live->shown = 0;
    sink->live = NULL;
}

void launch_sink_say(struct launch_sink *sink, const char *line)
{
    leave_live(sink, NULL);
    if (sink->is_mid_line)
        add_text(sink, "\n");
    if (sink->stamp) {
        launch_stamp_renew(sink->stamp);
        add_text(sink, sink->stamp->text);
    }
    add_text(sink, line);
    add_text(sink, "\n");
    sink->is_mid_line = false;
    sink->last = NULL;
}

static void add_prefix(struct launch_stream *stream)
{
    if (stream->sink->stamp)
        add_text(stream->sink, stream->sink->stamp->text);
    add(stream->sink, stream->prefix, stream->prefix_length);
}

/* Bring the sink to where @stream's text stands in full, from wherever it was. */
static void show(struct launch_stream *stream)
{
    struct launch_sink *sink = stream->sink;
    bool goes_on = sink->live == stream && stream->shown > 0;
    if (!goes_on) {
        bool is_own_line = sink->live == stream;
        leave_live(sink, stream);
        if (is_own_line || stream->is_rewriting)
            add_text(sink, "\r");
        add_prefix(stream);
        stream->shown = 0;
    }
    if (stream->length > stream->shown)
        add(sink, stream->text + stream->shown, stream->length - stream->shown);
}

static void show_live(struct launch_stream *stream)
{
    if (stream->sink->live == stream && stream->shown == stream->length)
        return;
    show(stream);
    if (stream->sink->is_terminal)
        add_text(stream->sink, "\033[K");
    stream->sink->live = stream;
    stream->shown = stream->length;
    stream->was_shown = true;
}

static void count_line(struct launch_stream *stream)
{
    struct launch_sink *sink = stream->sink;
    sink->last_lines = sink->last == stream ? sink->last_lines + 1 : 1;
    sink->last = stream;
}

static void finish_line(struct launch_stream *stream, const char *ending)
{
    /* A bar that was shown and then only ended keeps what it showed. */
    if (stream->sink->live != stream || stream->length > 0)
        show(stream);
    if (stream->is_rewriting && stream->sink->is_terminal)
        add_text(stream->sink, "\033[K"); /* what stood there may have been longer */
    add_text(stream->sink, ending);
    count_line(stream);
    stream->sink->live = NULL;
    stream->length = stream->shown = 0;
    stream->was_shown = stream->is_rewriting = false;
}

/* A \r that no \n follows: the next text takes this one's place. */
static void start_over(struct launch_stream *stream)
{
    if (stream->length > 0 && !stream->was_shown)
        show_live(stream);
    stream->length = stream->shown = 0;
    stream->was_shown = false;
    stream->is_rewriting = true;
}

static void append(struct launch_stream *stream, const char *bytes, size_t count)
{
    if (!make_room(&stream->text, stream->length, &stream->room, count)) {
        stream->sink->error = ENOMEM;
        return;
    }
    memcpy(stream->text + stream->length, bytes, count);
    stream->length += count;
    stream->was_shown = false;
}

static size_t until_end_of_line(const char *bytes, size_t count)
{
    const char *newline = memchr(bytes, '\n', count);
    size_t length = newline ? (size_t)(newline - bytes) : count;
    const char *carriage = memchr(bytes, '\r', length);
    return carriage ? (size_t)(carriage - bytes) : length;
}

/* The common case: whole lines, and nothing unfinished before them. Return: what was taken. */
static size_t pass_lines(struct launch_stream *stream, const char *bytes, size_t count)
{
    size_t taken = 0;
    if (stream->length > 0 || stream->has_return || stream->is_rewriting || stream->sink->live)
        return 0;
    for (const char *newline; (newline = memchr(bytes + taken, '\n', count - taken));) {
        size_t length = (size_t)(newline - bytes) + 1 - taken;
        add_prefix(stream);
        add(stream->sink, bytes + taken, length);
        count_line(stream);
        taken += length;
    }
    return taken;
}

static void feed(struct launch_stream *stream, const char *bytes, size_t count)
{
    bool has_returns = memchr(bytes, '\r', count);
    while (count > 0) {
        size_t taken = has_returns ? 0 : pass_lines(stream, bytes, count);
        bytes += taken;
        count -= taken;
        if (count == 0)
            break;
        taken = 1;
        if (stream->has_return) {
            stream->has_return = false;
            if (*bytes == '\n')
                finish_line(stream, "\r\n");
            else
                start_over(stream);
            taken = *bytes == '\n';
        } else if (*bytes == '\n') {
            finish_line(stream, "\n");
        } else if (*bytes == '\r') {
            stream->has_return = true;
        } else {
            taken = until_end_of_line(bytes, count);
            append(stream, bytes, taken);
            if (stream->length >= LINE_MOST)
                finish_line(stream, "\n");
        }
        bytes += taken;
        count -= taken;
    }
    if (stream->is_rewriting && stream->length > 0)
        show_live(stream);
}

void launch_stream_open(struct launch_stream *stream, int fd, const char *prefix,
                        struct launch_sink *sink)
{
    *stream = (struct launch_stream){.fd = fd, .sink = sink};
    snprintf(stream->prefix, sizeof stream->prefix, "%s", prefix);
    stream->prefix_length = strlen(stream->prefix);
    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
}

static void keep_tail(struct launch_stream *stream, const char *bytes, size_t count)
{
    if (count >= sizeof stream->tail) {
        bytes += count - sizeof stream->tail;
        count = sizeof stream->tail;
    }
    size_t kept = sizeof stream->tail - count;
    if (stream->tail_length > kept)
        memmove(stream->tail, stream->tail + stream->tail_length - kept, kept);
    else
        kept = stream->tail_length;
    memcpy(stream->tail + kept, bytes, count);
    stream->tail_length = kept + count;
}

static void take(struct launch_stream *stream, const char *bytes, size_t count)
{
    struct launch_sink *sink = stream->sink;
    stream->since_ns = launch_now_ns();
    if (stream->log)
        launch_log_write(stream->log, bytes, count);
    if (stream->has_tail)
        keep_tail(stream, bytes, count);
    if (sink->stamp)
        launch_stamp_renew(sink->stamp);
    if (!stream->is_raw) {
        feed(stream, bytes, count);
        return;
    }
    add(sink, bytes, count);
    sink->is_mid_line = bytes[count - 1] != '\n';
}

bool launch_stream_read(struct launch_stream *stream)
{
    char bytes[READ_BYTES];
    ssize_t got = read(stream->fd, bytes, sizeof bytes);
    if (got > 0) {
        take(stream, bytes, (size_t)got);
        return true;
    }
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (got < 0)
        stream->sink->error = errno; /* what it had to say is not whole */
    launch_stream_close(stream);
    return false;
}

void launch_stream_close(struct launch_stream *stream)
{
    if (stream->fd < 0)
        return;
    close(stream->fd);
    stream->fd = -1;
    if (stream->length > 0 || stream->sink->live == stream)
        finish_line(stream, "\n");
    free(stream->text);
    stream->text = NULL;
    stream->room = 0;
}

/* Where the line begins that ends before @end; what a \r took back is not part of it. */
static size_t begin_of_line(const char *text, size_t end)
{
    const char *newline = memrchr(text, '\n', end);
    return newline ? (size_t)(newline - text) + 1 : 0;
}

size_t launch_stream_last_lines(const struct launch_stream *stream, size_t most, char *text_out,
                                size_t bytes)
{
    const char *text = stream->tail;
    size_t end = stream->tail_length, begin, count = 0, at = bytes;
    while (end > 0 && (text[end - 1] == '\n' || text[end - 1] == '\r'))
        end--;
    for (; count < most && end > 0; end = begin ? begin - 1 : 0, count++) {
        begin = begin_of_line(text, end);
        size_t stop = end > begin && text[end - 1] == '\r' ? end - 1 : end;
        const char *carriage = memrchr(text + begin, '\r', stop - begin);
        size_t from = carriage ? (size_t)(carriage - text) + 1 : begin;
        bool is_cut = begin == 0 && stream->tail_length == sizeof stream->tail && count > 0;
        if (is_cut || stop - from + 2 > at)
            break;
        text_out[--at] = count ? '\n' : '\0';
        at -= stop - from;
        memcpy(text_out + at, text + from, stop - from);
        for (char *nul; (nul = memchr(text_out + at, '\0', stop - from));)
            *nul = '?'; /* it would end the text */
    }
    memmove(text_out, text_out + at, bytes - at);
    if (!count && bytes)
        text_out[0] = '\0';
    return count;
}

int launch_stream_settle(struct launch_stream *stream, int64_t now)
{
    bool is_shown = stream->sink->live == stream && stream->shown == stream->length;
    if (stream->fd < 0 || !stream->sink->is_terminal || stream->length == 0 || is_shown)
        return -1;
    /* Another's unfinished line is not replaced in turn, or the two would flicker. */
    if (stream->sink->live && stream->sink->live != stream)
        return -1;
    int64_t left_ns = stream->since_ns + SETTLE_MS * INT64_C(1000000) - now;
    if (left_ns > 0)
        return (int)(left_ns / 1000000) + 1;
    show_live(stream);
    return -1;
}
