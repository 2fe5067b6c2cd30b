/* SPDX-License-Identifier: Apache-2.0 */
/* fake_tree.h - a folder that stands for /proc or /sys in a test */
#ifndef FAKE_TREE_H
#define FAKE_TREE_H

struct fake_tree {
    char root[64];
};

/** A new empty folder below /tmp. */
void fake_tree_make(struct fake_tree *tree);

/** Write a file of that path below the root, and the folders above it. */
void fake_tree_put(const struct fake_tree *tree, const char *path, const char *text);

/** Remove the folder and all in it. */
void fake_tree_remove(const struct fake_tree *tree);

#endif
