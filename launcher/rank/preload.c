/* SPDX-License-Identifier: Apache-2.0 */
/*
 * preload.c - asks the dynamic linker, since only it knows all the places where it looks.
 *
 * With LD_TRACE_LOADED_OBJECTS it lists what a program would load and ends before the first
 * instruction of it, so no library's constructor runs here. A library that it cannot take it names
 * on standard error, with the reason: not there, another machine's, no library at all. dlopen()
 * would refuse libraries that need static TLS (jemalloc), though they can be preloaded.
 */
#include "preload.h"

#include "common/processes.h"
#include "common/say.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ANSWER_BYTES = 64 * 1024, PATH_BYTES = 4096, REASON_BYTES = 160, PLACES_BYTES = 1024 };

/* Short names people use, the files behind them, and where Debian has those. */
struct known {
    const char *name;
    const char *file;
    const char *package;
};
static const struct known known[] = {
    {"tcmalloc", "libtcmalloc.so.4", "libgoogle-perftools4"},
    {"tcmalloc", "libtcmalloc_minimal.so.4", "libtcmalloc-minimal4"},
    {"tcmalloc_minimal", "libtcmalloc_minimal.so.4", "libtcmalloc-minimal4"},
    {"jemalloc", "libjemalloc.so.2", "libjemalloc2"},
    {"mimalloc", "libmimalloc.so.2", "libmimalloc2.0"},
    {"mimalloc", "libmimalloc.so.3", NULL},
    {"iomp5", "libiomp5.so", NULL},
    {"omp", "libomp.so.5", NULL},
    {"gomp", "libgomp.so.1", "libgomp1"},
    {0},
};

static _Noreturn void become_traced(const char *library, int out)
{
    if (dup2(out, STDOUT_FILENO) >= 0 && dup2(out, STDERR_FILENO) >= 0 &&
        setenv("LD_PRELOAD", library, 1) == 0 && setenv("LD_TRACE_LOADED_OBJECTS", "1", 1) == 0 &&
        unsetenv("LD_WARN") == 0 && unsetenv("LD_DEBUG") == 0)
        execl("/proc/self/exe", "shm-launch", (char *)NULL);
    _exit(LAUNCH_EXIT_TROUBLE);
}

/* All that the dynamic linker says of a program with @library preloaded. Return: 0 or -errno. */
static int trace(const char *library, char answer_out[ANSWER_BYTES])
{
    int ends[2];
    size_t at = 0;
    ssize_t got;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -errno;
    pid_t pid = fork();
    if (pid == 0)
        become_traced(library, ends[1]);
    int rc = pid < 0 ? -errno : 0;
    close(ends[1]);
    while (at < ANSWER_BYTES - 1 &&
           ((got = read(ends[0], answer_out + at, ANSWER_BYTES - 1 - at)) > 0 ||
            (got < 0 && errno == EINTR)))
        at += got > 0 ? (size_t)got : 0;
    close(ends[0]);
    answer_out[at] = '\0';
    if (pid > 0)
        launch_process_reap(pid, NULL);
    return rc;
}

static void copy_part(const char *from, const char *end, char *out, size_t bytes)
{
    snprintf(out, bytes, "%.*s", (int)(end - from), from);
}

/* "NAME => PATH (0x...)", or "PATH (0x...)" of what was asked for as a path. */
static bool find_path(const char *answer, const char *library, char path_out[PATH_BYTES])
{
    size_t length = strlen(library);
    for (const char *line = answer; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        const char *word = line + strspn(line, "\t ");
        if (strncmp(word, library, length) != 0)
            continue;
        const char *after = word + length;
        if (strncmp(after, " => /", 5) == 0)
            word = after + 4;
        else if (strncmp(after, " (0x", 4) != 0)
            continue;
        const char *end = strstr(word, " (0x");
        if (!end)
            continue;
        copy_part(word, end, path_out, PATH_BYTES);
        return true;
    }
    return false;
}

/* What @library itself needs and the linker does not find: preloaded, it would stop any program. */
static bool find_lack(const char *answer, char reason_out[REASON_BYTES])
{
    const char *end = strstr(answer, " => not found"), *start = end;
    if (!end)
        return false;
    while (start > answer && start[-1] != '\t' && start[-1] != '\n')
        start--;
    snprintf(reason_out, REASON_BYTES, "it needs %.*s, which is not there", (int)(end - start),
             start);
    return true;
}

/* "ERROR: ld.so: object 'X' from LD_PRELOAD cannot be preloaded (REASON): ignored." */
static void find_reason(const char *answer, char reason_out[REASON_BYTES])
{
    const char *start = strstr(answer, "cannot be preloaded ("), *end;
    start = start ? strchr(start, '(') + 1 : NULL;
    end = start ? strstr(start, "):") : NULL;
    if (end)
        copy_part(start, end, reason_out, REASON_BYTES);
    else
        snprintf(reason_out, REASON_BYTES, "the dynamic linker does not take it");
}

/* Return: 0, -ENOENT (the dynamic linker does not take it, for @reason_out) or another errno. */
static int try_library(const char *library, char path_out[PATH_BYTES],
                       char reason_out[REASON_BYTES])
{
    char *answer = malloc(ANSWER_BYTES);
    int rc = answer ? trace(library, answer) : -ENOMEM;
    if (rc) {
        snprintf(reason_out, REASON_BYTES, "%s", strerror(-rc));
    } else if (!find_path(answer, library, path_out)) {
        find_reason(answer, reason_out);
        rc = -ENOENT;
    } else if (find_lack(answer, reason_out)) {
        rc = -ENOENT;
    }
    free(answer);
    return rc;
}

/* Environments of Python bring libraries, where the dynamic linker does not look. */
static bool try_environments(const char *file, char path_out[PATH_BYTES])
{
    static const char *const roots[] = {"VIRTUAL_ENV", "CONDA_PREFIX"};
    char path[PATH_BYTES], reason[REASON_BYTES];
    for (size_t i = 0; i < sizeof roots / sizeof roots[0]; i++) {
        const char *root = getenv(roots[i]);
        if (!root || !*root)
            continue;
        snprintf(path, sizeof path, "%s/lib/%s", root, file);
        if (access(path, R_OK) == 0 && try_library(path, path_out, reason) == 0)
            return true;
    }
    return false;
}

static const char *package_of(const char *file)
{
    for (const struct known *k = known; k->name; k++)
        if (strcmp(k->file, file) == 0)
            return k->package;
    return NULL;
}

static int refuse_name(const char *word, const char *files, const char *package, const char *reason,
                       struct shmrt_error *error_out)
{
    char hint[96] = "give its path if it lies elsewhere";
    if (package)
        snprintf(hint, sizeof hint, "Debian has it in %s; or give its path", package);
    return launch_error(error_out, -ENOENT,
                        "--preload %s: %s: %s. Looked for in LD_LIBRARY_PATH, the system's folders "
                        "(ldconfig -p lists them), and lib of VIRTUAL_ENV and CONDA_PREFIX; %s",
                        word, files, reason, hint);
}

/* Try @file; note it in @files, for the message. */
static bool try_name(const char *file, char path_out[PATH_BYTES], char files[REASON_BYTES],
                     char reason_out[REASON_BYTES])
{
    size_t at = strlen(files);
    snprintf(files + at, REASON_BYTES - at, "%s%s", at ? ", " : "", file);
    return try_library(file, path_out, reason_out) == 0 || try_environments(file, path_out);
}

static int find_name(const char *word, char path_out[PATH_BYTES], struct shmrt_error *error_out)
{
    char file[256], files[REASON_BYTES] = "", reason[REASON_BYTES] = "";
    const char *package = package_of(word);
    if (strstr(word, ".so")) {
        if (try_name(word, path_out, files, reason))
            return 0;
        return refuse_name(word, files, package, reason, error_out);
    }
    for (const struct known *k = known; k->name; k++) {
        if (strcmp(k->name, word) != 0)
            continue;
        package = package ? package : k->package;
        if (try_name(k->file, path_out, files, reason))
            return 0;
    }
    snprintf(file, sizeof file, "lib%s.so", word);
    if (!strstr(files, file) && try_name(file, path_out, files, reason))
        return 0;
    return refuse_name(word, files, package, reason, error_out);
}

/* Absolute, since what the ranks start may run in other folders. */
static int find_file(const char *word, char path_out[PATH_BYTES], struct shmrt_error *error_out)
{
    char path[PATH_BYTES] = "", reason[REASON_BYTES];
    if (*word != '/' && !getcwd(path, sizeof path))
        return launch_error(error_out, -errno, "--preload %s: no current folder: %s", word,
                            strerror(errno));
    size_t at = strlen(path);
    if (at + strlen(word) + 2 > sizeof path)
        return launch_error(error_out, -ENAMETOOLONG,
                            "--preload %.60s...: the path has %zu bytes, which is more than the %d "
                            "that fit; give a shorter one, such as a link",
                            word, at + strlen(word) + 2, (int)sizeof path);
    snprintf(path + at, sizeof path - at, "%s%s", at ? "/" : "", word);
    if (strpbrk(path, ": \t"))
        return launch_error(error_out, -EINVAL,
                            "--preload: the dynamic linker takes blanks and colons for the end of "
                            "a path, so \"%s\" cannot be preloaded; a link to it without them can",
                            path);
    if (try_library(path, path_out, reason) != 0)
        return launch_error(error_out, -ENOENT, "--preload %s: %s", word,
                            access(path, F_OK) ? "there is no such file" : reason);
    return 0;
}

static int append(char **list, const char *text)
{
    char *longer = NULL;
    if (asprintf(&longer, "%s%s%s", *list ? *list : "", *list ? ":" : "", text) < 0)
        return -ENOMEM;
    free(*list);
    *list = longer;
    return 0;
}

int launch_preload_find(const struct launch_words *words, const char *own, char **out,
                        struct shmrt_error *error_out)
{
    char path[PATH_BYTES];
    *out = NULL;
    for (size_t i = 0; i < words->count; i++) {
        const char *word = words->words[i];
        int rc = strchr(word, '/')       ? find_file(word, path, error_out)
                 : strpbrk(word, ": \t") ? launch_error(error_out, -EINVAL,
                                                        "--preload \"%s\": one library each time; "
                                                        "several: --preload A --preload B",
                                                        word)
                                         : find_name(word, path, error_out);
        if (rc == 0 && strpbrk(path, ": \t"))
            rc = launch_error(error_out, -EINVAL,
                              "--preload %s is %s, which cannot be preloaded: it has a blank or a "
                              "colon",
                              word, path);
        if (rc == 0 && append(out, path))
            rc = launch_error(error_out, -ENOMEM, "no memory for --preload %s", word);
        if (rc) {
            free(*out);
            *out = NULL;
            return rc;
        }
    }
    if (own && *own && append(out, own)) {
        free(*out);
        *out = NULL;
        return launch_error(error_out, -ENOMEM, "no memory for LD_PRELOAD");
    }
    return 0;
}
