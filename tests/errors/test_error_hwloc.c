/* SPDX-License-Identifier: Apache-2.0 */
/* test_error_hwloc.c - a hwloc that does not serve, in the words of docs/errors.md. The linker puts
 * the functions below in front of hwloc's own (--wrap), so that each can refuse. */
#include "documented.h"
#include "shmrt_placement.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>
#include <hwloc.h>

static enum { NOTHING, INIT, SET_FLAGS, LOAD } refused;

int __real_hwloc_topology_init(hwloc_topology_t *topology_out);
int __wrap_hwloc_topology_init(hwloc_topology_t *topology_out);
int __real_hwloc_topology_set_flags(hwloc_topology_t topology, unsigned long flags);
int __wrap_hwloc_topology_set_flags(hwloc_topology_t topology, unsigned long flags);
int __real_hwloc_topology_load(hwloc_topology_t topology);
int __wrap_hwloc_topology_load(hwloc_topology_t topology);
unsigned __wrap_hwloc_get_api_version(void);

static int refuse(int code)
{
    errno = code;
    return -1;
}

int __wrap_hwloc_topology_init(hwloc_topology_t *topology_out)
{
    return refused == INIT ? refuse(ENOMEM) : __real_hwloc_topology_init(topology_out);
}

/* As hwloc 2.4 does: it does not know one of the flags. */
int __wrap_hwloc_topology_set_flags(hwloc_topology_t topology, unsigned long flags)
{
    return refused == SET_FLAGS ? refuse(EINVAL) : __real_hwloc_topology_set_flags(topology, flags);
}

int __wrap_hwloc_topology_load(hwloc_topology_t topology)
{
    return refused == LOAD ? refuse(EACCES) : __real_hwloc_topology_load(topology);
}

unsigned __wrap_hwloc_get_api_version(void)
{
    return 0x20400;
}

/* Once it refuses, and then the machine can be read. */
static void refuses(int what, int code, const char *words)
{
    struct shmrt_machine *machine = NULL;
    struct shmrt_error error = {0};
    refused = what;
    assert_int_equal(shmrt_machine_read(&machine, &error), code);
    assert_null(machine);
    assert_documented(&error, words);
    refused = NOTHING;
    assert_int_equal(shmrt_machine_read(&machine, &error), 0);
    shmrt_machine_destroy(machine);
}

static void that_cannot_start(void **state)
{
    (void)state;
    refuses(INIT, -ENOMEM, "hwloc cannot start: {why}");
}

static void that_is_old(void **state)
{
    (void)state;
    refuses(SET_FLAGS, -ENOTSUP, "is older than 2.5; install a later one");
}

static void that_cannot_read(void **state)
{
    (void)state;
    refuses(LOAD, -EIO, "hwloc cannot read this machine:");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(that_cannot_start),
        cmocka_unit_test(that_is_old),
        cmocka_unit_test(that_cannot_read),
    };
    return cmocka_run_group_tests_name("error_hwloc", tests, NULL, NULL);
}
