/* SPDX-License-Identifier: Apache-2.0 */
/* verify_words.c - columns as wide as their widest cell, numbers to the right. */
#include "verify_words.h"

#include "verify_judge.h"

#include <stdio.h>
#include <string.h>

enum { COLUMNS = 13, CELL_BYTES = LAUNCH_LIST_BYTES };

typedef char cells[COLUMNS][CELL_BYTES];

void launch_words_bytes(uint64_t bytes, char *text_out, size_t room)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    double amount = (double)bytes / 1024;
    size_t unit = 0;
    while (amount >= 1024 && unit + 1 < sizeof units / sizeof units[0]) {
        amount /= 1024;
        unit++;
    }
    if (bytes == 0)
        snprintf(text_out, room, "0");
    else
        snprintf(text_out, room, "%.*f %s", amount < 10 && unit > 0 ? 1 : 0, amount, units[unit]);
}

void launch_words_set(const struct shmrt_bitmap *set, char *text_out, size_t room)
{
    static const char more[] = "...";
    if (shmrt_bitmap_format(set, text_out, room) < room)
        return;
    /* The last number that is there whole ends before a comma. */
    text_out[room - sizeof more] = '\0';
    char *comma = strrchr(text_out, ',');
    memcpy(comma ? comma + 1 : text_out, more, sizeof more);
}

static void fill(const struct launch_judgement *seen, size_t rank, cells out)
{
    for (size_t column = 0; column < COLUMNS; column++)
        snprintf(out[column], CELL_BYTES, "-");
    snprintf(out[0], CELL_BYTES, "%zu", rank);
    if (!seen)
        return;
    snprintf(out[1], CELL_BYTES, "%s", seen->cpus);
    snprintf(out[3], CELL_BYTES, "%zu", seen->processes);
    snprintf(out[4], CELL_BYTES, "%zu", seen->threads);
    snprintf(out[5], CELL_BYTES, "%zu", seen->threads_off);
    for (size_t i = 0; i < seen->finding_count; i++)
        if (seen->findings[i].kind == LAUNCH_FOUND_UNREADABLE)
            return;
    const uint64_t bytes[] = {
        seen->bytes[LAUNCH_STACK],
        seen->bytes[LAUNCH_HEAP],
        seen->huge_own,
        seen->bytes[LAUNCH_SEGMENT],
        seen->bytes[LAUNCH_POOL],
        seen->huge_shared,
        seen->elsewhere,
    };
    snprintf(out[2], CELL_BYTES, "%s", *seen->nodes ? seen->nodes : "-");
    for (size_t i = 0; i < sizeof bytes / sizeof bytes[0]; i++)
        launch_words_bytes(bytes[i], out[6 + i], CELL_BYTES);
}

static void widen(cells row, size_t widths[COLUMNS])
{
    for (size_t column = 0; column < COLUMNS; column++) {
        size_t width = strlen(row[column]);
        widths[column] = width > widths[column] ? width : widths[column];
    }
}

static void put(cells row, const size_t widths[COLUMNS],
                void (*say)(void *context, const char *line), void *context)
{
    char line[COLUMNS * (CELL_BYTES + 2)] = "";
    for (size_t column = 0, at = 0; column < COLUMNS; column++)
        at += (size_t)snprintf(line + at, sizeof line - at, "%s%*s", column ? "  " : "",
                               (int)widths[column], row[column]);
    say(context, line);
}

void launch_words_table(const struct launch_judgement *const *judgements, size_t count,
                        size_t first, void (*say)(void *context, const char *line), void *context)
{
    cells titles = {"rank", "CPUs",   "nodes",   "processes", "threads", "off",      "stack",
                    "heap", "(huge)", "segment", "pool",      "(huge)",  "elsewhere"};
    cells row;
    size_t widths[COLUMNS] = {0};
    widen(titles, widths);
    for (size_t i = 0; i < count; i++) {
        fill(judgements[i], first + i, row);
        widen(row, widths);
    }
    put(titles, widths, say, context);
    for (size_t i = 0; i < count; i++) {
        fill(judgements[i], first + i, row);
        put(row, widths, say, context);
    }
}
