/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pages.c - on which node is each page of a process? Asks the kernel alone, with move_pages and
 * /proc/PID/smaps, and shares no code with libshmrt or shm-launch, whose reports it is to check.
 *
 * usage: numa_pages PID RANK OWNERS KINDS LEAST_POOL_BYTES
 *
 * OWNERS are the nodes where the pages belong, "0-2", or "0:0-2" when private memory may lie on
 * more nodes than shared memory. KINDS ("segment,pool,heap,stack") are those that have to be there.
 * Prints a line for each kind. The exit code has bit k set when kind k is asked for and a page of
 * it is elsewhere, or missing; 64 is an error.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { NODES_MAX = 64, AT_ONCE = 1024, FAILED = 64 };

enum kind { SEGMENT, POOL, HEAP, STACK, KINDS };

static const char *const kind_names[KINDS] = {"segment", "pool", "heap", "stack"};

struct pages {
    size_t there, right, missing;
    size_t on[NODES_MAX];
    uint64_t huge_kb; /* in pages of more than 4 KiB */
};

struct mapping {
    uint64_t begin, end;
    enum kind kind; /* KINDS: none that matters */
};

/* "0-2,5" up to a colon as bits; 0 when it is no such list. */
static uint64_t parse_nodes(const char *text)
{
    uint64_t set = 0;
    for (const char *at = text; *at && *at != ':';) {
        char *end;
        unsigned long first = strtoul(at, &end, 10), last = first;
        if (*end == '-')
            last = strtoul(end + 1, &end, 10);
        if (end == at || (*end && !strchr(",:", *end)) || last >= NODES_MAX)
            return 0;
        for (unsigned long node = first; node <= last; node++)
            set |= UINT64_C(1) << node;
        at = *end == ',' ? end + 1 : end;
    }
    return set;
}

static void parse_owners(const char *text, uint64_t nodes_out[KINDS])
{
    const char *colon = strchr(text, ':');
    nodes_out[SEGMENT] = nodes_out[POOL] = parse_nodes(text);
    nodes_out[HEAP] = nodes_out[STACK] = parse_nodes(colon ? colon + 1 : text);
}

/* The name carries who made it: peers' segments are mapped here too, but are not this rank's. */
static enum kind kind_of(const char *name, const char *rights, int pid)
{
    char segment[64], pool[64];
    snprintf(segment, sizeof segment, "/memfd:shmrt-segment-%d ", pid);
    snprintf(pool, sizeof pool, "/memfd:shmrt-pool-%d ", pid);
    if (strncmp(name, segment, strlen(segment)) == 0)
        return SEGMENT;
    if (strncmp(name, pool, strlen(pool)) == 0)
        return POOL;
    if (strncmp(name, "[stack]", 7) == 0)
        return STACK;
    bool is_anonymous = *name == '\0' || strncmp(name, "[heap]", 6) == 0;
    return is_anonymous && rights[1] == 'w' && rights[3] == 'p' ? HEAP : KINDS;
}

static bool read_mapping(char *line, int pid, struct mapping *out)
{
    struct mapping mapping;
    char rights[8];
    int name = 0;
    line[strcspn(line, "\n")] = '\0';
    if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s %*x %*s %*u %n", &mapping.begin, &mapping.end,
               rights, &name) != 3 ||
        !name)
        return false;
    mapping.kind = kind_of(line + name, rights, pid);
    *out = mapping;
    return true;
}

static int ask(int pid, const struct mapping *mapping, uint64_t nodes, struct pages *pages)
{
    uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    for (uint64_t at = mapping->begin; at < mapping->end;) {
        void *addresses[AT_ONCE];
        int on[AT_ONCE];
        size_t count = 0;
        for (; count < AT_ONCE && at < mapping->end; at += page_bytes)
            addresses[count++] = (void *)(uintptr_t)at;
        if (syscall(SYS_move_pages, pid, count, addresses, NULL, on, 0) != 0)
            return -errno;
        for (size_t i = 0; i < count; i++) {
            if (on[i] < 0 || on[i] >= NODES_MAX) {
                pages->missing++;
                continue;
            }
            pages->there++;
            pages->on[on[i]]++;
            pages->right += nodes >> on[i] & 1;
        }
    }
    return 0;
}

/* Lines of a mapping after its first. A kernel page of huge memory is as large as it says; of
 * transparent huge ones the amount is given. */
static void add_huge(const char *line, const struct mapping *mapping, struct pages *pages)
{
    uint64_t kb;
    if (sscanf(line, "KernelPageSize: %" SCNu64 " kB", &kb) == 1 && kb > 4)
        pages->huge_kb += (mapping->end - mapping->begin) / 1024;
    if (sscanf(line, "AnonHugePages: %" SCNu64 " kB", &kb) == 1 ||
        sscanf(line, "ShmemPmdMapped: %" SCNu64 " kB", &kb) == 1)
        pages->huge_kb += kb;
}

static int look(int pid, const uint64_t nodes[KINDS], struct pages pages[KINDS])
{
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%d/smaps", pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return -errno;
    struct mapping mapping = {.kind = KINDS};
    int rc = 0;
    while (rc == 0 && fgets(line, sizeof line, file)) {
        bool is_new = read_mapping(line, pid, &mapping);
        if (mapping.kind == KINDS)
            continue;
        if (is_new)
            rc = ask(pid, &mapping, nodes[mapping.kind], &pages[mapping.kind]);
        else
            add_huge(line, &mapping, &pages[mapping.kind]);
    }
    fclose(file);
    return rc;
}

static void print(int rank, enum kind kind, const struct pages *pages)
{
    printf("pages rank %d %s: %zu of %zu right;", rank, kind_names[kind], pages->right,
           pages->there);
    for (size_t node = 0; node < NODES_MAX; node++)
        if (pages->on[node])
            printf(" node %zu: %zu", node, pages->on[node]);
    printf("; huge %" PRIu64 " kB\n", pages->huge_kb);
}

/* Of a segment every page has been taken; of the others only what was used is there. */
static bool is_right(enum kind kind, const struct pages *pages, size_t least_pages)
{
    bool is_whole = kind == SEGMENT ? pages->missing == 0
                    : kind == POOL  ? pages->there >= least_pages
                                    : true;
    return is_whole && pages->there > 0 && pages->right == pages->there;
}

int main(int argc, char **argv)
{
    struct pages pages[KINDS] = {0};
    uint64_t nodes[KINDS] = {0};
    if (argc == 6)
        parse_owners(argv[3], nodes);
    if (!nodes[SEGMENT] || !nodes[HEAP]) {
        fprintf(stderr, "usage: numa_pages PID RANK OWNERS KINDS LEAST_POOL_BYTES\n");
        return FAILED;
    }
    int rc = look(atoi(argv[1]), nodes, pages);
    if (rc) {
        fprintf(stderr, "numa_pages: process %s: %s\n", argv[1], strerror(-rc));
        return FAILED;
    }
    int wrong = 0;
    size_t least_pages = strtoul(argv[5], NULL, 10) / (size_t)sysconf(_SC_PAGESIZE);
    for (enum kind kind = 0; kind < KINDS; kind++) {
        print(atoi(argv[2]), kind, &pages[kind]);
        if (strstr(argv[4], kind_names[kind]) && !is_right(kind, &pages[kind], least_pages))
            wrong |= 1 << kind;
    }
    return wrong;
}
