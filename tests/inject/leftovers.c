/* SPDX-License-Identifier: Apache-2.0 */
/* leftovers.c - /proc of this process, its children, and the kernel's list of Unix sockets. */
#include "leftovers.h"

#include "counting.h"
#include "faults.h"
#include "shm/rendezvous_name.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

void leftovers_look(struct leftovers *out)
{
    *out = (struct leftovers){.blocks = faults_live()};
    out->descriptors = count_entries("/proc/self/fd");
    out->mappings = count_lines("/proc/self/maps", "memfd:shmrt");
}

/* Another process that tried the same name may hold it for a moment more. */
static int count_names(const char *job, int rank)
{
    char name[128], key[128];
    int names = 1;
    snprintf(key, sizeof key, "%s/default", job);
    for (int turn = 0; turn < 300 && names; turn++) {
        struct timespec pause = {.tv_nsec = 10000000};
        if (turn)
            nanosleep(&pause, NULL);
        names = 0;
        for (int suffix = 0; suffix < 4; suffix++) {
            shmrt_name_format(key, rank, suffix, name, sizeof name);
            names += count_lines("/proc/net/unix", name);
        }
    }
    return names;
}

int leftovers_tell(const struct leftovers *before, const struct leftovers *now, const char *job,
                   int rank, char *out, size_t bytes)
{
    int names = count_names(job, rank);
    int has_children = waitpid(-1, NULL, WNOHANG) >= 0 || errno != ECHILD;
    snprintf(out, bytes, "%d descriptors, %d mappings, %ld blocks, %d names, %s",
             now->descriptors - before->descriptors, now->mappings - before->mappings,
             now->blocks - before->blocks, names, has_children ? "children" : "no child");
    return now->descriptors > before->descriptors || now->mappings > before->mappings ||
           now->blocks > before->blocks || names || has_children;
}
