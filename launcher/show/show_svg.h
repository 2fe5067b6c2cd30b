/* SPDX-License-Identifier: Apache-2.0 */
/* show_svg.h - the two halves of --draw: the machine's boxes, and the page around them */
#ifndef LAUNCH_SHOW_SVG_H
#define LAUNCH_SHOW_SVG_H

#include "drawing.h"
#include "svg.h"

enum { DRAW_TEXT = 12, DRAW_SMALL = 10 };

/** The fill of a rank's cores; eight in turn. Dark text can be read on all of them. */
const char *draw_rank_colour(size_t rank);

/** What cores without a rank look like. */
#define DRAW_IDLE      "#f4f4f4"
#define DRAW_TAKEN     "#cfcfcf"
#define DRAW_FORBIDDEN "#a6a6a6"
/** The ground of cores that share an L3. */
#define DRAW_L3 "#d6dce4"

/** All packages, from @x, @y on. */
void draw_machine(FILE *out, const struct drawing *drawing, int x, int y);

#endif
