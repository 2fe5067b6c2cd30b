/* SPDX-License-Identifier: Apache-2.0 */
/* svg.c - writes shapes; nothing here knows what they stand for. */
#include "svg.h"

#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

/* Digits and capitals of DejaVu Sans and Verdana, the widest of the usual fonts, in percent. */
enum { GLYPH_PERCENT = 64 };

static bool is_continuation(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

static int glyphs(const char *text)
{
    int count = 0;
    for (; *text; text++)
        count += !is_continuation(*text);
    return count;
}

int svg_text_width(const char *text, int size)
{
    return (glyphs(text) * size * GLYPH_PERCENT + 99) / 100;
}

/* The first @count characters of UTF-8. XML knows no control characters, not even escaped ones. */
static void put_escaped(FILE *out, const char *text, int count)
{
    for (const char *c = text; *c; c++) {
        if (!is_continuation(*c) && count-- == 0)
            return;
        /* U+FFFE and U+FFFF, which XML does not take. */
        bool is_no_character =
            strncmp(c, "\xef\xbf\xbe", 3) == 0 || strncmp(c, "\xef\xbf\xbf", 3) == 0;
        if (is_no_character) {
            fputc('?', out);
            c += 2;
        } else if (*c == '<')
            fputs("&lt;", out);
        else if (*c == '>')
            fputs("&gt;", out);
        else if (*c == '&')
            fputs("&amp;", out);
        else if (*c == '"')
            fputs("&quot;", out);
        else
            fputc((unsigned char)*c < ' ' || *c == 0x7f ? '?' : *c, out);
    }
}

void svg_put_text(FILE *out, struct svg_text text, int room, const char *words)
{
    static const char *const anchors[] = {
        [SVG_LEFT] = "",
        [SVG_MIDDLE] = " text-anchor=\"middle\"",
        [SVG_RIGHT] = " text-anchor=\"end\"",
    };
    int count = glyphs(words), fitting = room * 100 / (text.size * GLYPH_PERCENT);
    bool is_cut = room > 0 && count > fitting;
    if (is_cut && fitting < 2)
        return;
    /* Letters without a descender are seven tenths of the size high, about the middle. */
    fprintf(out, "<text x=\"%d\" y=\"%d\" font-size=\"%d\"%s%s%s>", text.x,
            text.y + (text.size * 35 + 50) / 100, text.size, anchors[text.anchor],
            text.more ? " " : "", text.more ? text.more : "");
    put_escaped(out, words, is_cut ? fitting - 1 : count);
    fputs(is_cut ? "\u2026</text>\n" : "</text>\n", out);
}

void svg_print(FILE *out, struct svg_text text, const char *format, ...)
{
    char words[256];
    va_list args;
    va_start(args, format);
    vsnprintf(words, sizeof words, format, args);
    va_end(args);
    svg_put_text(out, text, 0, words);
}

void svg_rect(FILE *out, struct svg_box box, const char *attributes)
{
    fprintf(out, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" %s/>\n", box.x, box.y,
            box.width, box.height, attributes);
}

void svg_line(FILE *out, int x1, int y1, int x2, int y2)
{
    fprintf(out, "<path d=\"M%d %dL%d %d\" stroke=\"#555\"/>\n", x1, y1, x2, y2);
}

void svg_begin(FILE *out, int width, int height, const char *title)
{
    fprintf(out,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
            "viewBox=\"0 0 %d %d\" role=\"img\" "
            "font-family=\"'DejaVu Sans',Verdana,Arial,sans-serif\" fill=\"#111\">\n<title>",
            width, height, width, height);
    put_escaped(out, title, glyphs(title));
    fputs("</title>\n"
          "<defs><pattern id=\"hatch\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\">"
          "<path d=\"M-1 1L1 -1M0 6L6 0M5 7L7 5\" stroke=\"#111\" stroke-width=\"1\"/>"
          "</pattern></defs>\n",
          out);
    svg_rect(out, (struct svg_box){0, 0, width, height}, "fill=\"#fff\"");
}

void svg_end(FILE *out)
{
    fputs("</svg>\n", out);
}
