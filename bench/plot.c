/* SPDX-License-Identifier: Apache-2.0 */
/* plot.c - runs shm-bench-plot on the report, through a pipe-like temporary file. */
#include "bench.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOT_FOUND = 127 };

/* The folder of this program: its drawing script, and in a virtual environment its Python. */
static void own_folder(char out[PATH_MAX])
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    snprintf(out, PATH_MAX, "%s", dirname(path));
}

_Noreturn static void become_plotter(const char *picture, int json_fd)
{
    char folder[PATH_MAX], script[PATH_MAX + 32], python[PATH_MAX + 32];
    own_folder(folder);
    snprintf(script, sizeof script, "%s/shm-bench-plot", folder);
    snprintf(python, sizeof python, "%s/python3", folder);
    dup2(json_fd, STDIN_FILENO);
    if (access(script, R_OK) == 0) {
        if (access(python, X_OK) == 0)
            execl(python, python, script, "-", picture, (char *)NULL);
        execlp("python3", "python3", script, "-", picture, (char *)NULL);
    }
    execlp("shm-bench-plot", "shm-bench-plot", "-", picture, (char *)NULL);
    _exit(NOT_FOUND);
}

/* The report in a file without a name, at its beginning. */
static int json_fd(const struct bench_report *report)
{
    int fd = memfd_create("shm-bench-json", MFD_CLOEXEC);
    FILE *file = fd < 0 ? NULL : fdopen(dup(fd), "w");
    int rc = file ? bench_write_json(report, file) : -errno;
    if (file && fclose(file) != 0 && rc == 0)
        rc = -errno;
    if (rc == 0 && lseek(fd, 0, SEEK_SET) != 0)
        rc = -errno;
    if (rc && fd >= 0)
        close(fd);
    return rc ? rc : fd;
}

int bench_plot(const struct bench_report *report, const char *path)
{
    int fd = json_fd(report), status = 0;
    fflush(NULL);
    pid_t pid = fd < 0 ? -1 : fork();
    if (pid == 0)
        become_plotter(path, fd);
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        fprintf(stderr, "shm-bench: %s: %s\n", path, strerror(errno));
        return -1;
    }
    close(fd);
    if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_FOUND)
        fprintf(stderr, "shm-bench: no picture: shm-bench-plot is neither beside shm-bench nor on "
                        "PATH, or there is no python3\n");
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}
