/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_topology.c - any text as a machine in words: refused, or a machine for which plans are made.
 * Text that begins with "<" is a file instead, of which comments are removed; it is not handed to
 * hwloc, whose own parser of XML crashes on files that lstopo did not write (docs/security.md).
 */
#include "bytes.h"
#include "topo/machine.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { TEXT_MOST = 4096, CPUS_MOST = 512 };

/* A file is handed to hwloc without its comments: shorter by them, and without any that has an end.
 */
static void read_file(const uint8_t *data, size_t size)
{
    static int fd = -1;
    static char path[32];
    if (fd < 0) {
        fd = memfd_create("topology", MFD_CLOEXEC);
        must(fd >= 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    must(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    char *text = shmrt_machine_xml_text(path);
    must(text && strlen(text) <= size);
    free(text);
}

/* How many CPUs the words ask for, at most; hwloc makes any number of them, and takes its time.
 * Numbers may stand behind a colon or alone ("package:2 4"), not in the name of a kind ("l3"). */
static size_t count_cpus(const char *text)
{
    size_t count = 1;
    char before = ' ';
    for (const char *c = text; *c;) {
        char *end = NULL;
        bool is_number = isdigit((unsigned char)*c) && !isalpha((unsigned char)before);
        size_t more = is_number ? strtoul(c, &end, 0) : 1;
        count = more > CPUS_MOST || count > CPUS_MOST ? SIZE_MAX : count * (more ? more : 1);
        before = *c;
        c = end && end > c ? end : c + 1;
    }
    return count;
}

/* All positions that the planner goes by are there. */
static void check_machine(const struct shmrt_machine *m)
{
    must(m->cpu_count > 0 && m->node_count > 0 && m->kind_count > 0 && !m->is_here);
    for (size_t i = 0; i < m->cpu_count; i++) {
        const struct shmrt_machine_cpu *cpu = &m->cpus[i];
        must(cpu->core < m->core_count && cpu->l3 < m->l3_count && cpu->kind < m->kind_count);
        must(cpu->node < m->node_count && cpu->package < m->package_count);
    }
    for (size_t i = 0; i < m->node_count; i++)
        must(m->nodes[i].host < m->node_count && m->nodes[i].package < m->package_count);
}

static void plan(const struct shmrt_machine *machine, size_t ranks, enum shmrt_place per,
                 enum shmrt_tier tier)
{
    const struct shmrt_placement_request request = {.ranks = ranks, .per = per, .tier = tier};
    struct shmrt_plan *plan = NULL;
    struct shmrt_error error = {0};
    int rc = shmrt_plan_create(machine, &request, &plan, &error);
    must(rc == 0 ? plan != NULL : rc < 0 && error.text[0]);
    for (size_t i = 0; plan && i < plan->rank_count; i++)
        must(shmrt_bitmap_count(&plan->ranks[i].cpus) > 0);
    shmrt_plan_destroy(plan);
}

/* hwloc 2.9 forgets 32 bytes where it refuses a topology in words. That hides what we forget to
 * give back to hwloc, too; tests/topo, with AddressSanitizer, sees that. */
const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
    return "leak:libhwloc.so";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[TEXT_MOST] = "";
    struct shmrt_machine *machine = NULL;
    struct shmrt_error error = {0};
    if (size == 0 || data[0] == '<') {
        read_file(data, size);
        return 0;
    }
    memcpy(text, data, size < sizeof text - 1 ? size : sizeof text - 1);
    if (count_cpus(text) > CPUS_MOST)
        return 0;
    int rc = shmrt_machine_from_text(text, &machine, &error);
    must(rc == 0 ? machine != NULL : rc < 0 && error.code == rc && error.text[0]);
    if (rc)
        return 0;
    check_machine(machine);
    for (int per = SHMRT_PLACE_SPREAD; per <= SHMRT_PLACE_CORE; per++)
        plan(machine, per ? 0 : 1 + size % 9, (enum shmrt_place)per, (enum shmrt_tier)(per % 4));
    shmrt_machine_destroy(machine);
    return 0;
}
