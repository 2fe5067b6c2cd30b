/* SPDX-License-Identifier: Apache-2.0 */
/*
 * output.h - many ranks' lines into one stream, each whole and with its rank in front
 *
 * A stream is what one rank writes to one of its outputs; a sink is one of ours. Sinks queue, so
 * that a slow reader of ours delays the ranks but not the handling of signals.
 */
#ifndef LAUNCH_OUTPUT_H
#define LAUNCH_OUTPUT_H

#include "logs.h"
#include "shmrt_placement.h"
#include "stamp.h"

#include <poll.h>

enum { LAUNCH_TAIL_BYTES = 4096 };

struct launch_stream;

struct launch_sink {
    int fd;
    bool is_terminal;
    bool is_pipe;
    bool is_own_fd;   /* ours to close, and writing to it never waits */
    int64_t again_ns; /* not before: it took nothing, though poll found it writable */
    int error;        /* errno of the write that failed; everything after it is dropped */
    char *queue;
    size_t begin, end, room;
    struct launch_stream *live;       /* whose unfinished line stands last in this sink */
    bool is_mid_line;                 /* a raw stream's */
    struct launch_stamp *stamp;       /* NULL: lines have no time */
    const struct launch_stream *last; /* whose lines stand last, and how many in a row */
    size_t last_lines;
};

struct launch_stream {
    int fd; /* -1: ended */
    struct launch_sink *sink;
    char prefix[32];
    size_t prefix_length;
    char *text; /* since the last \n or \r */
    size_t length, room;
    size_t shown;           /* of length: already in the sink, while sink->live is this stream */
    bool was_shown;         /* all of it, at some time */
    bool is_rewriting;      /* text began with \r: a progress bar */
    bool has_return;        /* a \r came and what follows it decides what it means */
    int64_t since_ns;       /* of the last bytes */
    bool is_raw;            /* every byte as it is: no lines, no prefix */
    struct launch_log *log; /* NULL: none */
    bool has_tail;          /* the last bytes that came are kept */
    char tail[LAUNCH_TAIL_BYTES];
    size_t tail_length;
};

void launch_sink_open(struct launch_sink *sink, int fd);

/** Drop what is queued; the descriptor stays open. */
void launch_sink_close(struct launch_sink *sink);

/** For how long it is not worth to poll it. */
int launch_sink_pause_ms(const struct launch_sink *sink, int64_t now_ns);

/** Add a whole line of our own. */
void launch_sink_say(struct launch_sink *sink, const char *line);

/** Whether it is so full that streams have to wait. */
bool launch_sink_is_full(const struct launch_sink *sink);

static inline bool launch_sink_is_empty(const struct launch_sink *sink)
{
    return sink->begin == sink->end;
}

/** Write some of the queue, to a descriptor that poll found writable. */
void launch_sink_write(struct launch_sink *sink);

/** @prefix: copied, "" for none. @fd: becomes non-blocking. */
void launch_stream_open(struct launch_stream *stream, int fd, const char *prefix,
                        struct launch_sink *sink);

/**
 * launch_stream_read - take what has come; closes the stream at its end
 *
 * Return: whether there was anything.
 */
bool launch_stream_read(struct launch_stream *stream);

/**
 * launch_stream_last_lines - the last lines that came, @most at most, between them newlines
 *
 * Each byte 0 is a question mark there. Empty lines at the end do not count, nor what a progress
 * bar had shown before in its line. Return: how many.
 */
size_t launch_stream_last_lines(const struct launch_stream *stream, size_t most, char *text_out,
                                size_t bytes);

/** Close it; what stands there without an end of line gets one. */
void launch_stream_close(struct launch_stream *stream);

/**
 * launch_stream_settle - show an unfinished line that nothing was added to for a moment (a question
 * waiting for its answer), where the sink is a terminal
 *
 * Return: milliseconds until it has to be asked again; -1: not before more comes.
 */
int launch_stream_settle(struct launch_stream *stream, int64_t now_ns);

#endif
