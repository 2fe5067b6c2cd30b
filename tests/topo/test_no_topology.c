/* SPDX-License-Identifier: Apache-2.0 */
/* test_no_topology.c - a library without hwloc: machines are refused in words, and a plan for one
 * that the caller describes is made and applied all the same. */
#include "one_cpu.h"

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void assert_refused(int rc, const struct shmrt_error *error)
{
    assert_int_equal(rc, -ENOTSUP);
    assert_int_equal(error->code, -ENOTSUP);
    assert_non_null(strstr(error->text, "without hwloc"));
}

static void machines_are_refused(void **state)
{
    (void)state;
    struct shmrt_machine *machine = NULL;
    struct shmrt_error error;
    assert_refused(shmrt_machine_read(&machine, &error), &error);
    assert_refused(shmrt_machine_from_text("pack:2 core:2 pu:1", &machine, &error), &error);
    assert_refused(shmrt_machine_from_xml("any.xml", &machine, &error), &error);
    assert_null(machine);
}

static void a_described_machine_is_planned_for(void **state)
{
    (void)state;
    struct one_cpu here;
    one_cpu_describe((size_t)sched_getcpu(), &here);
    struct shmrt_placement_request request = {.ranks = 1, .memory = SHMRT_MEMORY_LOCAL};
    struct shmrt_plan_applied applied;
    struct shmrt_plan *plan = NULL;
    cpu_set_t bound;
    assert_int_equal(shmrt_plan_create(&here.machine, &request, &plan, NULL), 0);
    assert_int_equal(shmrt_bitmap_count(&plan->ranks[0].cpus), 1);
    (void)!shmrt_plan_apply(&plan->ranks[0], &applied);
    assert_int_equal(applied.cpus, 0);
    assert_int_equal(sched_getaffinity(0, sizeof bound, &bound), 0);
    assert_int_equal(CPU_COUNT(&bound), 1);
    assert_true(CPU_ISSET(here.cpu.number, &bound));
    shmrt_plan_destroy(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(machines_are_refused),
        cmocka_unit_test(a_described_machine_is_planned_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
