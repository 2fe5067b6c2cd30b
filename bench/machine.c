/* SPDX-License-Identifier: Apache-2.0 */
/* machine.c - what the numbers were measured on, as /proc and /sys tell it. */
#include "bench.h"

#include <ctype.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { CLOCK_READS = 20000, MAX_CPUS = 4096 };

/* The first line of a file, without its end; "" where there is none. */
static void first_line(const char *path, char *out, size_t bytes)
{
    FILE *file = fopen(path, "re");
    out[0] = '\0';
    if (!file)
        return;
    if (!fgets(out, (int)bytes, file))
        out[0] = '\0';
    fclose(file);
    out[strcspn(out, "\n")] = '\0';
}

/* x86 has a model's name; elsewhere the implementer and part numbers have to do. */
static void read_cpu(char *out, size_t bytes)
{
    char line[512];
    FILE *file = fopen("/proc/cpuinfo", "re");
    snprintf(out, bytes, "unknown");
    while (file && fgets(line, sizeof line, file)) {
        char *value = strchr(line, ':');
        if (!value)
            continue;
        value += strspn(value, ": \t");
        value[strcspn(value, "\n")] = '\0';
        if (!strncmp(line, "model name", 10) || !strncmp(line, "uarch", 5) ||
            !strncmp(line, "CPU part", 8)) {
            snprintf(out, bytes, "%s%s", line[0] == 'C' ? "CPU part " : "", value);
            break;
        }
    }
    if (file)
        fclose(file);
}

/* CPUs in a list such as "0-3,8". */
static int count_list(const char *list)
{
    int count = 0, first, last, used;
    while (sscanf(list, "%d%n", &first, &used) == 1) {
        list += used;
        last = first;
        if (*list == '-' && sscanf(list + 1, "%d%n", &last, &used) == 1)
            list += used + 1;
        count += last - first + 1;
        if (*list++ != ',')
            break;
    }
    return count;
}

static void read_caches(char *out, size_t bytes)
{
    size_t used = 0;
    out[0] = '\0';
    for (int i = 0; i < 8; i++) {
        char path[128], level[16], type[32], size[32], shared[256];
        const char *folder = "/sys/devices/system/cpu/cpu0/cache/index";
        snprintf(path, sizeof path, "%s%d/level", folder, i);
        first_line(path, level, sizeof level);
        snprintf(path, sizeof path, "%s%d/type", folder, i);
        first_line(path, type, sizeof type);
        snprintf(path, sizeof path, "%s%d/size", folder, i);
        first_line(path, size, sizeof size);
        snprintf(path, sizeof path, "%s%d/shared_cpu_list", folder, i);
        first_line(path, shared, sizeof shared);
        if (!level[0] || !strcmp(type, "Instruction") || used >= bytes)
            continue;
        used += (size_t)snprintf(out + used, bytes - used, "%sL%s%s %siB for %d CPU%s",
                                 used ? ", " : "", level, type[0] == 'D' ? "d" : "", size,
                                 count_list(shared), count_list(shared) == 1 ? "" : "s");
    }
}

/* CPUs that are the first of their core. */
static int count_cores(int cpus)
{
    int cores = 0;
    for (int cpu = 0; cpu < MAX_CPUS && cpu < 4 * cpus; cpu++) {
        char path[128], siblings[256];
        int first = -1;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list",
                 cpu);
        first_line(path, siblings, sizeof siblings);
        cores += sscanf(siblings, "%d", &first) == 1 && first == cpu;
    }
    return cores > 0 ? cores : cpus;
}

static double clock_cost_ns(void)
{
    uint64_t start = bench_now_ns(), last = start;
    for (int i = 0; i < CLOCK_READS; i++)
        last = bench_now_ns();
    return (double)(last - start) / CLOCK_READS;
}

void bench_machine_read(struct bench_machine *out)
{
    struct utsname name;
    char nodes[256];
    memset(out, 0, sizeof *out);
    read_cpu(out->cpu, sizeof out->cpu);
    read_caches(out->caches, sizeof out->caches);
    if (uname(&name) == 0)
        snprintf(out->kernel, sizeof out->kernel, "%.20s %.64s %.32s", name.sysname, name.release,
                 name.machine);
    out->cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
    out->cores = count_cores(out->cpus);
    first_line("/sys/devices/system/node/online", nodes, sizeof nodes);
    out->numa_nodes = nodes[0] ? count_list(nodes) : 1;
    out->clock_ns = clock_cost_ns();
}

void bench_cpus_text(const uint64_t *mask, char *out, size_t bytes)
{
    size_t used = 0;
    snprintf(out, bytes, "any");
    for (int cpu = 0, last; cpu < BENCH_CPU_WORDS * 64 && used + 16 < bytes; cpu = last + 1) {
        last = cpu;
        if (!(mask[cpu / 64] >> cpu % 64 & 1))
            continue;
        while (last + 1 < BENCH_CPU_WORDS * 64 && mask[(last + 1) / 64] >> (last + 1) % 64 & 1)
            last++;
        used += (size_t)snprintf(out + used, bytes - used, last > cpu ? "%s%d-%d" : "%s%d",
                                 used ? "," : "", cpu, last);
    }
}
