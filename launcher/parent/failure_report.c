/* SPDX-License-Identifier: Apache-2.0 */
/* failure_report.c - looks up what the others' output may have pushed off the screen. */
#include "failure_report.h"

#include <stdio.h>
#include <string.h>

enum { LINES = 5, TRACEBACK_LINES = 50 };

static void say_lines(const char *text, void (*say)(void *context, const char *line), void *context)
{
    char line[1024];
    while (*text) {
        size_t length = strcspn(text, "\n");
        snprintf(line, sizeof line, "  %.*s", (int)(length < 1000 ? length : 1000), text);
        say(context, line);
        text += length + (text[length] == '\n');
    }
}

/* The cause stands at the end of a traceback. */
static const char *last_lines(const char *text, size_t most)
{
    const char *at = text + strlen(text);
    while (at > text && at[-1] == '\n')
        at--;
    for (size_t lines = 0; at > text; at--)
        if (at[-1] == '\n' && ++lines == most)
            break;
    return at;
}

static const char *last_line(const char *text)
{
    const char *newline = strrchr(text, '\n');
    return newline ? newline + 1 : text;
}

void launch_report_failure(const struct launch_wiring *wiring, size_t rank, size_t number,
                           const char *traceback, void (*say)(void *context, const char *line),
                           void *context)
{
    char tail[LAUNCH_TAIL_BYTES + 2] /* newline and end */, title[96];
    const struct launch_stream *stream = launch_wiring_errors_of(wiring, rank);
    if (!stream || stream->is_raw)
        return;
    size_t lines = launch_stream_last_lines(stream, LINES, tail, sizeof tail);
    bool is_on_screen = stream->sink->last == stream && stream->sink->last_lines >= lines;
    if (traceback)
        traceback = last_lines(traceback, TRACEBACK_LINES);
    /* A traceback that the rank has printed itself ends with the same line. */
    if (is_on_screen && lines && (!traceback || strstr(traceback, last_line(tail))))
        return;
    if (!traceback && !lines)
        return;
    snprintf(
        title, sizeof title,
        traceback ? "traceback of rank %zu:" : "rank %zu wrote last on standard error:", number);
    say(context, title);
    say_lines(traceback ? traceback : tail, say, context);
}
