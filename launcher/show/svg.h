/* SPDX-License-Identifier: Apache-2.0 */
/*
 * svg.h - the few shapes that a drawing needs, as SVG text
 *
 * Lengths are in pixels at 100%. How wide a text will be is not known here, since the viewer
 * chooses the font: svg_text_width() is what the widest of the usual ones takes.
 */
#ifndef LAUNCH_SVG_H
#define LAUNCH_SVG_H

#include <stdio.h>

struct svg_box {
    int x, y, width, height;
};

enum svg_anchor { SVG_LEFT, SVG_MIDDLE, SVG_RIGHT };

struct svg_text {
    int x, y; /* of the text's middle in height */
    int size;
    enum svg_anchor anchor;
    const char *more; /* further attributes; may be NULL */
};

/** An upper estimate. */
int svg_text_width(const char *text, int size);

/** Write @words with what XML reserves escaped; cut, with an ellipsis, to @room (0: never). */
void svg_put_text(FILE *out, struct svg_text text, int room, const char *words);

/** The same from a format, never cut. */
void svg_print(FILE *out, struct svg_text text, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/** A rectangle; @attributes has its colours. */
void svg_rect(FILE *out, struct svg_box box, const char *attributes);

/** A line between two points. */
void svg_line(FILE *out, int x1, int y1, int x2, int y2);

/** Everything before and after the body: a white page, styles, the hatching "url(#hatch)". */
void svg_begin(FILE *out, int width, int height, const char *title);
void svg_end(FILE *out);

#endif
