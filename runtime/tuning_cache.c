/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tuning_cache.c - one small text file for a machine and a number of ranks. Several jobs may write
 * it at once: each writes a file of its own and renames it.
 */
#include "tuning_cache.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { MODEL_BYTES = 96, MOST_BYTES = 1 << 30 };

/* The CPU's name, in letters that a file name may have. */
static void read_model(char out[MODEL_BYTES])
{
    char line[256];
    struct utsname uts;
    out[0] = '\0';
    FILE *file = fopen("/proc/cpuinfo", "re");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "model name", 10) == 0 && strchr(line, ':')) {
            snprintf(out, MODEL_BYTES, "%s", strchr(line, ':') + 2);
            break;
        }
    if (file)
        fclose(file);
    if (!out[0] && uname(&uts) == 0)
        snprintf(out, MODEL_BYTES, "%.90s", uts.machine);
    for (char *c = out; *c; c++)
        *c = isalnum((unsigned char)*c) ? *c : c[1] == '\0' || *c == '\n' ? '\0' : '-';
}

/* "", or which rank is in which group: FNV-1a. */
static void name_groups(const struct shmrt_order *groups, char out[32])
{
    uint32_t hash = 2166136261u;
    out[0] = '\0';
    for (int r = 0; groups && r < groups->size; r++)
        hash = (hash ^ (uint32_t)groups->group_of[r]) * 16777619u;
    if (groups)
        snprintf(out, 32, "-groups-%08" PRIx32, hash);
}

bool shmrt_tuning_path(const struct shmrt_tuning_key *key, char out[SHMRT_TUNING_PATH_BYTES])
{
    char model[MODEL_BYTES], groups[32];
    const char *folder = secure_getenv("XDG_CACHE_HOME"), *below = "";
    if (!folder || folder[0] != '/') {
        folder = secure_getenv("HOME");
        below = "/.cache";
    }
    if (!folder || folder[0] != '/')
        return false;
    read_model(model);
    name_groups(key->groups, groups);
    int bytes = snprintf(out, SHMRT_TUNING_PATH_BYTES,
                         "%s%s/shmrt/tuning-%s-%ld-cpus-%d-ranks-%" PRIu64 "-lanes%s-%s-%s", folder,
                         below, model, sysconf(_SC_NPROCESSORS_ONLN), key->ranks, key->lanes,
                         groups, key->kernel, shmrt_version());
    return bytes > 0 && bytes < SHMRT_TUNING_PATH_BYTES;
}

static bool is_own(int fd, mode_t kind)
{
    struct stat status;
    return fd >= 0 && fstat(fd, &status) == 0 && (status.st_mode & S_IFMT) == kind &&
           (status.st_uid == geteuid() || status.st_uid == 0);
}

/* A file that the user or root wrote; nothing that another one has put there is read or waited
 * for. */
static FILE *open_own(const char *path)
{
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    FILE *file = is_own(fd, S_IFREG) ? fdopen(fd, "r") : NULL;
    if (!file && fd >= 0)
        close(fd);
    return file;
}

bool shmrt_tuning_read(const char *path, struct shmrt_tuning *out)
{
    uint64_t oneshot, exchange;
    FILE *file = open_own(path);
    if (!file)
        return false;
    int found = fscanf(file, "oneshot_max %" SCNu64 " exchange_max %" SCNu64, &oneshot, &exchange);
    fclose(file);
    if (found != 2 || oneshot > MOST_BYTES || exchange > MOST_BYTES)
        return false;
    out->oneshot_max_bytes = (size_t)oneshot;
    out->exchange_max_bytes = (size_t)exchange;
    return true;
}

/* The two folders above @path, where they are missing. Return: 0 or a negative errno. */
static int make_folders(const char *path)
{
    char folder[SHMRT_TUNING_PATH_BYTES];
    snprintf(folder, sizeof folder, "%s", path);
    char *last = strrchr(folder, '/');
    *last = '\0';
    char *parent = strrchr(folder, '/');
    *parent = '\0';
    int failed = mkdir(folder, 0700) != 0 && errno != EEXIST ? errno : 0;
    *parent = '/';
    if (!failed && mkdir(folder, 0700) != 0 && errno != EEXIST)
        failed = errno;
    if (failed)
        return -failed;
    /* Where HOME is another user's, as sudo may leave it, nothing is written. */
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool own = is_own(fd, S_IFDIR);
    if (fd >= 0)
        close(fd);
    return own ? 0 : -EPERM;
}

static int write_file(const char *path, const char *text)
{
    char fresh[SHMRT_TUNING_PATH_BYTES + 16];
    int rc = make_folders(path);
    if (rc)
        return rc;
    snprintf(fresh, sizeof fresh, "%s.%d", path, (int)getpid());
    FILE *file = fopen(fresh, "wxe");
    if (!file)
        return -errno;
    int written = fputs(text, file);
    rc = fclose(file) != 0 ? -errno : written < 0 ? -EIO : 0;
    if (rc == 0 && rename(fresh, path) != 0)
        rc = -errno;
    if (rc)
        unlink(fresh);
    return rc;
}

int shmrt_tuning_write(const char *path, const struct shmrt_tuning *tuning)
{
    char text[96];
    snprintf(text, sizeof text, "oneshot_max %zu\nexchange_max %zu\n", tuning->oneshot_max_bytes,
             tuning->exchange_max_bytes);
    return write_file(path, text);
}

bool shmrt_tuning_read_groups(const char *path, size_t *hierarchy_min_out)
{
    uint64_t bytes;
    FILE *file = open_own(path);
    if (!file)
        return false;
    int found = fscanf(file, "hierarchy_min %" SCNu64, &bytes);
    fclose(file);
    if (found != 1 || bytes > SHMRT_HIERARCHY_NEVER)
        return false;
    *hierarchy_min_out = (size_t)bytes;
    return true;
}

int shmrt_tuning_write_groups(const char *path, size_t hierarchy_min)
{
    char text[48];
    snprintf(text, sizeof text, "hierarchy_min %zu\n", hierarchy_min);
    return write_file(path, text);
}
