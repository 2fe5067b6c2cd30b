/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verify_proc.c - reads status, maps, numa_maps, smaps and environ.
 *
 * Pages of files are not counted: whoever read a library first has placed it. Nor are pages that
 * were swapped out, which are nowhere, and the zero page, which the kernel does not list.
 */
#include "verify_proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { STATUS_BYTES = 16 * 1024, ENVIRON_BYTES = 2 * 1024 * 1024 };

static const char SEGMENT[] = "/memfd:shmrt-";

/* Room for one more element; false: no memory. */
static bool grow(void *list, size_t count, size_t *room, size_t bytes)
{
    void **elements = list;
    if (count < *room)
        return true;
    size_t wanted = *room ? 2 * *room : 16;
    void *grown = reallocarray(*elements, wanted, bytes);
    if (!grown)
        return false;
    *elements = grown;
    *room = wanted;
    return true;
}

/* The value behind @label at the begin of a line, up to the line's end; its length, or -1. */
static ssize_t find_value(const char *text, const char *label, const char **value_out)
{
    size_t length = strlen(label);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, label, length) != 0)
            continue;
        *value_out = line + length + strspn(line + length, " \t");
        return (ssize_t)strcspn(*value_out, "\n");
    }
    return -1;
}

int launch_status_parse(const char *text, struct launch_seen_thread *thread_out)
{
    const char *name, *list, *run_state;
    ssize_t name_length = find_value(text, "Name:", &name);
    ssize_t list_length = find_value(text, "Cpus_allowed_list:", &list);
    if (name_length < 0 || list_length < 0)
        return -EINVAL;
    struct launch_seen_thread thread = {0};
    if (find_value(text, "State:", &run_state) > 0)
        thread.state = *run_state;
    snprintf(thread.name, sizeof thread.name, "%.*s", (int)name_length, name);
    char *copy = strndup(list, (size_t)list_length);
    int rc = copy ? shmrt_bitmap_parse(copy, &thread.cpus, NULL) : -ENOMEM;
    free(copy);
    if (rc == 0)
        *thread_out = thread;
    return rc;
}

static bool is_pool(const char *file)
{
    return strncmp(file + sizeof SEGMENT - 1, "pool", 4) == 0;
}

/* The process in "/memfd:shmrt-segment-4711 (deleted)", or with an escaped blank; 0: another file.
 */
static pid_t owner_of(const char *file)
{
    if (strncmp(file, SEGMENT, sizeof SEGMENT - 1) != 0)
        return 0;
    const char *number = strchr(file + sizeof SEGMENT - 1, '-');
    return number ? (pid_t)strtol(number + 1, NULL, 10) : 0;
}

bool launch_maps_parse(const char *line, struct launch_seen_mapping *mapping_out,
                       const char **file_out)
{
    struct launch_seen_mapping mapping;
    int file = 0;
    *file_out = "";
    if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64 " %*s %" SCNu64 " %n", &mapping.begin,
               &mapping.end, &mapping.offset, &mapping.inode, &file) < 4 ||
        !file)
        return false;
    *file_out = line + file;
    mapping.owner = owner_of(*file_out);
    mapping.is_pool = mapping.owner && is_pool(*file_out);
    if (mapping.owner)
        *mapping_out = mapping;
    return mapping.owner != 0;
}

static int add_pages(struct launch_seen *seen, const struct launch_seen_pages *more)
{
    struct launch_seen_pages *same = seen->pages;
    const struct launch_seen_pages *end = same + seen->page_count;
    while (same < end && (same->memory != more->memory || same->owner != more->owner ||
                          same->node != more->node || strcmp(same->policy, more->policy) != 0))
        same++;
    if (same < end) {
        same->pages += more->pages;
        same->bytes += more->bytes;
        return 0;
    }
    if (!grow(&seen->pages, seen->page_count, &seen->page_room, sizeof *seen->pages))
        return -ENOMEM;
    seen->pages[seen->page_count++] = *more;
    return 0;
}

/* The policy, which may consist of two words: "prefer (many):0-1", "weighted interleave:0". */
static const char *read_policy(const char *at, char policy_out[LAUNCH_POLICY_BYTES])
{
    size_t length = strcspn(at, " \n");
    if (at[length] == ' ' && (at[length + 1] == '(' || strncmp(at, "weighted ", 9) == 0))
        length += 1 + strcspn(at + length + 1, " \n");
    snprintf(policy_out, LAUNCH_POLICY_BYTES, "%.*s", (int)length, at);
    return at + length;
}

/* The size of the pages that the line counts. Transparent huge pages count as 512 small ones. */
static uint64_t read_page_bytes(const char *line)
{
    const char *size = strstr(line, " kernelpagesize_kB=");
    return size ? strtoull(strchr(size, '=') + 1, NULL, 10) * 1024 : 4096;
}

int launch_numa_maps_parse(const char *line, struct launch_seen *seen)
{
    struct launch_seen_pages pages = {0};
    const char *at = strchr(line, ' ');
    if (!at)
        return -EINVAL;
    at = read_policy(at + 1, pages.policy);
    const char *file = strstr(at, " file=");
    pages.owner = file ? owner_of(file + strlen(" file=")) : 0;
    if (file && !pages.owner)
        return 0;
    if (pages.owner)
        pages.memory = is_pool(file + strlen(" file=")) ? LAUNCH_POOL : LAUNCH_SEGMENT;
    else if (strncmp(at, " stack", strlen(" stack")) == 0)
        pages.memory = LAUNCH_STACK;
    uint64_t page_bytes = read_page_bytes(at);
    int rc = 0;
    for (const char *word = strstr(at, " N"); word && rc == 0; word = strstr(word + 1, " N")) {
        if (sscanf(word, " N%zu=%" SCNu64, &pages.node, &pages.pages) != 2)
            continue;
        pages.bytes = pages.pages * page_bytes;
        rc = add_pages(seen, &pages);
    }
    return rc;
}

/* Whose memory a line of smaps that begins a mapping speaks of; false: it is no such line. */
static bool begins_mapping(const char *line, pid_t *owner_out)
{
    struct launch_seen_mapping mapping;
    const char *file;
    uint64_t begin, end;
    if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &begin, &end) != 2)
        return false;
    if (launch_maps_parse(line, &mapping, &file))
        *owner_out = mapping.owner;
    else
        *owner_out = *file == '/' ? -1 : 0;
    return true;
}

int launch_smaps_parse(const char *line, struct launch_seen *seen)
{
    static const char *const names[] = {
        "AnonHugePages:", "ShmemPmdMapped:", "Shared_Hugetlb:", "Private_Hugetlb:"};
    if (begins_mapping(line, &seen->smaps_owner))
        return 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        size_t length = strlen(names[i]);
        uint64_t bytes =
            strncmp(line, names[i], length) == 0 ? strtoull(line + length, NULL, 10) * 1024 : 0;
        if (seen->smaps_owner == 0)
            seen->huge_own += bytes;
        else if (seen->smaps_owner == seen->pid)
            seen->huge_shared += bytes;
    }
    return 0;
}

static bool binds_nothing(const char *value)
{
    return strcasecmp(value, "false") == 0 || strcasecmp(value, "none") == 0 ||
           strcasecmp(value, "disabled") == 0;
}

void launch_environ_parse(const char *environment, size_t bytes,
                          char binding_out[LAUNCH_BINDING_BYTES])
{
    static const char *const names[] = {"OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY",
                                        "KMP_AFFINITY"};
    const char *end = environment + bytes;
    binding_out[0] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        for (const char *word = environment; word < end; word += strnlen(word, end - word) + 1) {
            size_t length = strlen(names[i]), at = strlen(binding_out);
            if (strncmp(word, names[i], length) != 0 || word[length] != '=' || !word[length + 1])
                continue;
            if (binds_nothing(word + length + 1)) {
                binding_out[0] = '\0'; /* it wins over what the others ask for */
                return;
            }
            snprintf(binding_out + at, LAUNCH_BINDING_BYTES - at, "%s%s", at ? " " : "", word);
        }
}

/* All of a file, up to @bytes - 1, with a NUL; its length or a negative errno. */
static ssize_t read_file(const char *path, char *text_out, size_t bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t length = 0;
    ssize_t got = fd < 0 ? -1 : 1;
    while (got > 0 && length < bytes - 1) {
        got = read(fd, text_out + length, bytes - 1 - length);
        length += got > 0 ? (size_t)got : 0;
    }
    int rc = got < 0 ? -errno : 0;
    if (fd >= 0)
        close(fd);
    text_out[length] = '\0';
    return rc == -ESRCH ? -ENOENT : rc ? rc : (ssize_t)length;
}

static int see_thread(const char *proc, const char *tid, struct launch_seen *seen)
{
    char path[256], text[STATUS_BYTES];
    snprintf(path, sizeof path, "%.128s/%d/task/%.20s/status", proc, (int)seen->pid, tid);
    ssize_t length = read_file(path, text, sizeof text);
    if (length < 0)
        return length == -ENOENT ? 0 : (int)length; /* a thread that has ended */
    if (!grow(&seen->threads, seen->thread_count, &seen->thread_room, sizeof *seen->threads))
        return -ENOMEM;
    struct launch_seen_thread *thread = &seen->threads[seen->thread_count];
    int rc = launch_status_parse(text, thread);
    if (rc)
        return rc;
    thread->tid = (pid_t)atoi(tid);
    seen->is_loading = seen->is_loading || (thread->tid == seen->pid && thread->state == 'D');
    seen->thread_count++;
    return 0;
}

static int see_threads(const char *proc, struct launch_seen *seen)
{
    char path[256];
    snprintf(path, sizeof path, "%.128s/%d/task", proc, (int)seen->pid);
    DIR *folder = opendir(path);
    int rc = folder ? 0 : -errno;
    for (struct dirent *entry; folder && rc == 0 && (entry = readdir(folder));)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
            rc = see_thread(proc, entry->d_name, seen);
    if (folder)
        closedir(folder);
    return rc;
}

/* "time on a CPU, time waiting for one, turns", where the kernel keeps these. */
static void see_waiting(const char *proc, struct launch_seen *seen)
{
    char path[256], text[128];
    snprintf(path, sizeof path, "%.128s/%d/schedstat", proc, (int)seen->pid);
    if (read_file(path, text, sizeof text) <= 0 ||
        sscanf(text, "%*u %" SCNu64, &seen->waited_ns) != 1)
        seen->waited_ns = 0;
}

/* Calls @see with each line; what it returns ends that, unless it is 0. */
static int see_lines(const char *proc, const char *name, struct launch_seen *seen,
                     int (*see)(const char *line, struct launch_seen *seen))
{
    char path[256], *line = NULL;
    size_t room = 0;
    int rc = 0;
    snprintf(path, sizeof path, "%.128s/%d/%s", proc, (int)seen->pid, name);
    FILE *file = fopen(path, "re");
    if (!file)
        return -errno;
    errno = 0;
    while (rc == 0 && getline(&line, &room, file) > 0) {
        line[strcspn(line, "\n")] = '\0';
        rc = see(line, seen);
    }
    if (rc == 0 && ferror(file))
        rc = errno == ESRCH ? -ENOENT : -errno;
    fclose(file);
    free(line);
    return rc;
}

static int see_mapping(const char *line, struct launch_seen *seen)
{
    struct launch_seen_mapping mapping;
    const char *file;
    bool is_segment = launch_maps_parse(line, &mapping, &file);
    for (const char *c = file; *file == '/' && *c; c++) /* FNV-1a */
        seen->libraries = (seen->libraries ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
    if (!is_segment)
        return 0;
    if (!grow(&seen->mappings, seen->mapping_count, &seen->mapping_room, sizeof *seen->mappings))
        return -ENOMEM;
    seen->mappings[seen->mapping_count++] = mapping;
    return 0;
}

int launch_glance(const char *proc, pid_t pid, struct launch_seen *seen_out)
{
    struct launch_seen seen = {.pid = pid};
    int rc = see_threads(proc, &seen);
    see_waiting(proc, &seen);
    if (rc == 0)
        rc = see_lines(proc, "maps", &seen, see_mapping);
    if (rc == -EACCES || rc == -EPERM) /* another user's program: its threads can be seen still */
        rc = 0;
    if (rc == 0 && seen.thread_count == 0)
        rc = -ENOENT;
    if (rc)
        launch_seen_free(&seen);
    else
        *seen_out = seen;
    return rc;
}

static void see_binding(const char *proc, struct launch_seen *seen)
{
    char path[256];
    char *text = malloc(ENVIRON_BYTES);
    snprintf(path, sizeof path, "%.128s/%d/environ", proc, (int)seen->pid);
    ssize_t length = text ? read_file(path, text, ENVIRON_BYTES) : -ENOMEM;
    if (length > 0)
        launch_environ_parse(text, (size_t)length, seen->binding);
    free(text);
}

int launch_look(const char *proc, struct launch_seen *seen)
{
    see_binding(proc, seen);
    int rc = see_lines(proc, "numa_maps", seen, launch_numa_maps_parse);
    if (rc == -ENOMEM)
        return rc;
    seen->pages_error = rc;
    (void)see_lines(proc, "smaps", seen, launch_smaps_parse); /* without it, none are huge */
    return 0;
}

void launch_seen_free(struct launch_seen *seen)
{
    for (size_t i = 0; i < seen->thread_count; i++)
        shmrt_bitmap_free(&seen->threads[i].cpus);
    free(seen->threads);
    free(seen->pages);
    free(seen->mappings);
    *seen = (struct launch_seen){0};
}
