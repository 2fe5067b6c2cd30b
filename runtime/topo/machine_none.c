/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine_none.c - in place of machine.c where the library is built without hwloc
 * (-DSHMRT_TOPO=OFF). Machines can't be read then, and say so; plans of a machine that the caller
 * describes still can be made and applied. Communicators need none of it: a rank's nodes are those
 * of its CPUs (bind.c).
 */
#include "shmrt_placement.h"

#include "base/error.h"

#include <errno.h>

static int refuse(struct shmrt_error *error_out)
{
    return shmrt_error_set(
        error_out, -ENOTSUP,
        "this libshmrt was built without hwloc (-DSHMRT_TOPO=OFF, or for a Python wheel) and "
        "can't read the topology of a machine: bind the ranks yourself, with taskset or "
        "numactl, or build it with hwloc");
}

int shmrt_machine_read(struct shmrt_machine **machine_out, struct shmrt_error *error_out)
{
    (void)machine_out;
    return refuse(error_out);
}

int shmrt_machine_from_text(const char *text, struct shmrt_machine **machine_out,
                            struct shmrt_error *error_out)
{
    (void)text;
    (void)machine_out;
    return refuse(error_out);
}

int shmrt_machine_from_xml(const char *path, struct shmrt_machine **machine_out,
                           struct shmrt_error *error_out)
{
    (void)path;
    (void)machine_out;
    return refuse(error_out);
}
