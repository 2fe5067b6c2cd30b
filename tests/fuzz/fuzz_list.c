/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_list.c - any text as a list of CPUs, of nodes, of groups of ranks, or as the value of an
 * option: a set that is written and read again the same, or a refusal in words.
 */
#include "fuzz_list.h"
#include "base/list.h"
#include "bytes.h"
#include "topo/bitmap.h"

#include <stdio.h>
#include <string.h>

enum { TEXT_MOST = FUZZ_TEXT_MOST };

/* With room for all of it, exactly as much, one less, and hardly any. */
static void write_again(const struct shmrt_bitmap *set)
{
    struct shmrt_bitmap again;
    size_t bytes = shmrt_bitmap_format(set, NULL, 0);
    char *text = malloc(bytes + 1);
    must(text != NULL);
    must(shmrt_bitmap_format(set, text, bytes) == bytes && strlen(text) + 1 == bytes);
    must(shmrt_bitmap_format(set, text, bytes + 1) == bytes && strlen(text) == bytes);
    must(shmrt_bitmap_parse(text, &again, NULL) == 0);
    must(again.bits == set->bits && shmrt_bitmap_count(&again) == shmrt_bitmap_count(set));
    must(memcmp(again.words, set->words, (set->bits + 7) / 8) == 0);
    shmrt_bitmap_free(&again);
    must(strlen(shmrt_bitmap_text(set).text) < sizeof(struct shmrt_bitmap_text));
    for (size_t room = 8; room <= bytes && room < 24; room++) {
        shmrt_list_format_cut(set->words, set->bits, text, room);
        must(strlen(text) < room && strstr(text, "..."));
    }
    free(text);
}

static void read_set(const char *text)
{
    struct shmrt_bitmap set = {0};
    struct shmrt_error error = {0};
    int rc = shmrt_bitmap_parse(text, &set, &error);
    fuzz_check_words(rc, &error);
    if (rc)
        return;
    must(shmrt_bitmap_count(&set) > 0 && shmrt_bitmap_next(&set, 0) < set.bits);
    write_again(&set);
    shmrt_bitmap_free(&set);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const keys[] = {"groups",  "nodes", "segment",    "chunk",  "oneshot_max",
                                       "timeout", "lanes", "huge_pages", "kernel", ""};
    char text[TEXT_MOST] = "";
    memcpy(text, data, size < sizeof text - 1 ? size : sizeof text - 1);
    read_set(text);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        fuzz_read_option(keys[i], text);
    return 0;
}
