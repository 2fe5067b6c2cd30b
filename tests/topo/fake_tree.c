/* SPDX-License-Identifier: Apache-2.0 */
/* fake_tree.c - makes files for code that reads /proc and /sys. */
#include "fake_tree.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

void fake_tree_make(struct fake_tree *tree)
{
    snprintf(tree->root, sizeof tree->root, "/tmp/shmrt-tree-XXXXXX");
    assert_non_null(mkdtemp(tree->root));
}

void fake_tree_put(const struct fake_tree *tree, const char *path, const char *text)
{
    char whole[512];
    snprintf(whole, sizeof whole, "%s/%s", tree->root, path);
    for (char *slash = whole + strlen(tree->root) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(whole, 0700);
        *slash = '/';
    }
    FILE *file = fopen(whole, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
    (void)status;
    (void)type;
    (void)ftw;
    return remove(path);
}

void fake_tree_remove(const struct fake_tree *tree)
{
    assert_int_equal(nftw(tree->root, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}
