/* SPDX-License-Identifier: Apache-2.0 */
/* traces.c - counts memory, processes, files and sockets, apart from those of other programs. */
#include "traces.h"

#include "counting.h"

#include <dirent.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static bool bring_loopback_up(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool up = ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    close(fd);
    return up;
}

static bool has_memory_controller(const char *cgroup)
{
    char path[192], line[128];
    bool found = false;
    snprintf(path, sizeof path, "%s/memory.stat", cgroup);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file))
        found = found || strncmp(line, "shmem ", 6) == 0;
    if (file)
        fclose(file);
    return found;
}

/* Version 1's controller, or version 2's, where this user may make a group. */
static void make_cgroup(struct traces_place *place)
{
    static const char *const roots[] = {"/sys/fs/cgroup/memory", "/sys/fs/cgroup"};
    for (int i = 0; i < 2; i++) {
        snprintf(place->cgroup, sizeof place->cgroup, "%s/shmrt-stress-%d", roots[i],
                 (int)getpid());
        if (mkdir(place->cgroup, 0755) == 0) {
            if (has_memory_controller(place->cgroup))
                return;
            rmdir(place->cgroup);
        }
    }
    place->cgroup[0] = '\0';
}

void traces_place_make(struct traces_place *place)
{
    *place = (struct traces_place){.own_network = false};
    make_cgroup(place);
    place->own_network = unshare(CLONE_NEWNET) == 0 && bring_loopback_up();
    place->own_shm = unshare(CLONE_NEWNS) == 0 &&
                     mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
                     mount("none", "/dev/shm", "tmpfs", 0, NULL) == 0;
    snprintf(place->folder, sizeof place->folder, "/tmp/shmrt-stress-XXXXXX");
    if (!mkdtemp(place->folder)) {
        perror("mkdtemp");
        exit(1);
    }
    setenv("TMPDIR", place->folder, 1);
    printf("counted in %s, %s, %s\n",
           place->cgroup[0] ? "a memory cgroup" : "the whole machine's memory",
           place->own_network ? "a network namespace" : "the machine's network",
           place->own_shm ? "a /dev/shm of its own" : "the machine's /dev/shm");
}

void traces_enter(const struct traces_place *place)
{
    char path[192];
    if (!place->cgroup[0])
        return;
    snprintf(path, sizeof path, "%s/cgroup.procs", place->cgroup);
    FILE *file = fopen(path, "we");
    if (!file || fprintf(file, "0") < 0 || fclose(file))
        _exit(99);
}

/* The number behind @key in a file of "key number" lines; -1 when there is none. */
static int64_t number_in(const char *path, const char *key)
{
    char line[256];
    int64_t found = -1;
    FILE *file = fopen(path, "re");
    while (file && found < 0 && fgets(line, sizeof line, file))
        if (strncmp(line, key, strlen(key)) == 0)
            found = strtoll(line + strlen(key), NULL, 10);
    if (file)
        fclose(file);
    return found;
}

int traces_shm_files(void)
{
    return count_entries("/dev/shm");
}

static int parent_of(int pid)
{
    char path[64], text[512];
    int parent = -1;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "re");
    size_t got = file ? fread(text, 1, sizeof text - 1, file) : 0;
    text[got] = '\0';
    if (file)
        fclose(file);
    const char *at = strrchr(text, ')'); /* the name before may hold anything */
    if (got && at)
        sscanf(at + 1, " %*c %d", &parent);
    return parent;
}

static bool is_descendant(int pid, int ancestor)
{
    for (int steps = 0; pid > 1 && steps < 16; steps++)
        if ((pid = parent_of(pid)) == ancestor)
            return true;
    return false;
}

int traces_descendants(int ancestor, void (*visit)(int pid, void *arg), void *arg)
{
    int found = 0;
    DIR *folder = opendir("/proc");
    for (struct dirent *e; folder && (e = readdir(folder)) != NULL;) {
        int pid = atoi(e->d_name);
        if (pid <= 0 || !is_descendant(pid, ancestor))
            continue;
        found++;
        if (visit)
            visit(pid, arg);
    }
    if (folder)
        closedir(folder);
    return found;
}

void traces_count(const struct traces_place *place, struct traces *out)
{
    char path[192];
    snprintf(path, sizeof path, "%s/memory.stat", place->cgroup);
    /* Version 1's lines for a group and those below it begin alike but for "total_". */
    int64_t shared =
        place->cgroup[0] ? number_in(path, "shmem ") : number_in("/proc/meminfo", "Shmem:") * 1024;
    *out = (struct traces){
        .shared_bytes = shared,
        .other_bytes = -number_in("/proc/meminfo", "MemAvailable:") * 1024,
        .sockets = count_lines("/proc/net/unix", "@shmrt/"),
        .ports = count_lines("/proc/net/tcp", ":") + count_lines("/proc/net/tcp6", ":"),
        .shm_files = traces_shm_files(),
        .temporary_files = count_entries(place->folder),
        .own_files = count_entries("/proc/self/fd"),
        .processes = traces_descendants((int)getpid(), NULL, NULL),
    };
}

int traces_age_files(const struct traces_place *place)
{
    int entries = 0;
    DIR *folder = opendir(place->folder);
    const struct timespec old[2] = {{.tv_sec = time(NULL) - 3600}, {.tv_sec = time(NULL) - 3600}};
    for (struct dirent *e; folder && (e = readdir(folder)) != NULL;)
        if (e->d_name[0] != '.')
            entries += utimensat(dirfd(folder), e->d_name, old, 0) == 0;
    if (folder)
        closedir(folder);
    return entries;
}

bool traces_place_free(const struct traces_place *place)
{
    rmdir(place->folder);
    return !place->cgroup[0] || rmdir(place->cgroup) == 0;
}
