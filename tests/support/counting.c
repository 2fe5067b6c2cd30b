/* SPDX-License-Identifier: Apache-2.0 */
#include "counting.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

int count_entries(const char *folder)
{
    int entries = 0;
    DIR *directory = opendir(folder);
    for (const struct dirent *e; directory && (e = readdir(directory)) != NULL;)
        entries += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    if (directory)
        closedir(directory);
    return entries;
}

int count_lines(const char *path, const char *words)
{
    char line[8192]; /* a path and some numbers */
    int lines = 0;
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file))
        lines += strstr(line, words) != NULL;
    if (file)
        fclose(file);
    return lines;
}
