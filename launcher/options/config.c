/* SPDX-License-Identifier: Apache-2.0 */
/* config.c - finds a configuration, by path or by name, and reads it into memory. */
#include "config.h"

#include "common/say.h"
#include "parse.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef LAUNCH_CONFIG_DIR
#error "LAUNCH_CONFIG_DIR has to name the installed folder of configurations"
#endif

enum {
    FILE_BYTES_MAX = 1024 * 1024, /* some hundred times what all options need */
    FOLDERS = 3,
    NAMES_MAX = 256, /* of a message */
};

static int read_file(const char *path, struct launch_options *options,
                     struct shmrt_error *error_out)
{
    int rc = 0;
    FILE *file = fopen(path, "rbe");
    if (!file)
        return launch_error(error_out, -errno, "%s: %s", path, strerror(errno));
    char *text = malloc(FILE_BYTES_MAX + 1);
    size_t length = text ? fread(text, 1, FILE_BYTES_MAX + 1, file) : 0;
    if (!text)
        rc = launch_error(error_out, -ENOMEM, "no memory to read %s", path);
    else if (ferror(file))
        rc = launch_error(error_out, -errno, "%s: %s", path, strerror(errno));
    else if (length > FILE_BYTES_MAX)
        rc = launch_error(error_out, -EFBIG,
                          "%s: longer than %d bytes, which no configuration needs; is it another "
                          "file?",
                          path, FILE_BYTES_MAX);
    else
        rc = launch_config_parse(path, text, length, options, error_out);
    free(text);
    fclose(file);
    return rc;
}

/* Where configurations lie: the user's choice, next to the program, the installation. */
static void list_folders(char folders_out[FOLDERS][PATH_MAX])
{
    const char *chosen = getenv("SHMRT_CONFIG_DIR");
    snprintf(folders_out[0], PATH_MAX, "%s", chosen ? chosen : "");
    char program[PATH_MAX / 2];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    program[length > 0 ? length : 0] = '\0';
    char *slash = strrchr(program, '/');
    if (slash)
        snprintf(folders_out[1], PATH_MAX, "%.*s/../share/shmrt/configs", (int)(slash - program),
                 program);
    else
        folders_out[1][0] = '\0';
    snprintf(folders_out[2], PATH_MAX, "%s", LAUNCH_CONFIG_DIR);
}

struct names {
    size_t count;
    char *names[NAMES_MAX];
};

/* The names of a folder's configurations; each once, whichever folders have it. */
static void add_names(const char *folder, struct names *names)
{
    DIR *dir = *folder ? opendir(folder) : NULL;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        const char *dot = strrchr(entry->d_name, '.');
        if (!dot || dot == entry->d_name || strcmp(dot, ".yaml") != 0 || names->count == NAMES_MAX)
            continue;
        char *name = strndup(entry->d_name, (size_t)(dot - entry->d_name));
        bool is_new = name != NULL;
        for (size_t i = 0; is_new && i < names->count; i++)
            is_new = strcmp(name, names->names[i]) != 0;
        if (is_new)
            names->names[names->count++] = name;
        else
            free(name);
    }
    if (dir)
        closedir(dir);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* "a, b, c", for a message; ends in "..." where not all fit. */
static void join_names(struct names *names, char *text_out, size_t bytes)
{
    size_t used = 0;
    text_out[0] = '\0';
    qsort(names->names, names->count, sizeof *names->names, compare_names);
    for (size_t i = 0; i < names->count; i++) {
        size_t room = bytes - used - strlen(", ...");
        if (strlen(names->names[i]) + 2 < room)
            used += (size_t)sprintf(text_out + used, "%s%s", used ? ", " : "", names->names[i]);
        else if (used && text_out[used - 1] != '.')
            used += (size_t)sprintf(text_out + used, ", ...");
    }
    for (size_t i = 0; i < names->count; i++)
        free(names->names[i]);
}

static int unknown_name(const char *name, char folders[FOLDERS][PATH_MAX],
                        struct shmrt_error *error_out)
{
    struct names names = {0};
    char known[SHMRT_ERROR_TEXT_BYTES - 128];
    for (size_t i = 0; i < FOLDERS; i++)
        add_names(folders[i], &names);
    join_names(&names, known, sizeof known);
    if (!*known)
        return launch_error(error_out, -ENOENT,
                            "there is no configuration named \"%.40s\", nor any other: "
                            "SHMRT_CONFIG_DIR can name a folder of them, and a file is given as a "
                            "path, ./%.40s.yaml",
                            name, name);
    return launch_error(error_out, -ENOENT,
                        "there is no configuration named \"%.40s\"; a file is given as a path, "
                        "./%.40s.yaml; known are %s",
                        name, name, known);
}

int launch_config_read(const char *name, struct launch_options *options,
                       struct shmrt_error *error_out)
{
    const char *dot = strrchr(name, '.');
    if (strchr(name, '/') || (dot && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0)))
        return read_file(name, options, error_out);
    char folders[FOLDERS][PATH_MAX];
    list_folders(folders);
    for (size_t i = 0; i < FOLDERS; i++) {
        char *path;
        if (!folders[i][0] || asprintf(&path, "%s/%s.yaml", folders[i], name) < 0)
            continue;
        bool is_there = access(path, F_OK) == 0;
        int rc = is_there ? read_file(path, options, error_out) : 0;
        free(path);
        if (is_there)
            return rc;
    }
    return unknown_name(name, folders, error_out);
}
