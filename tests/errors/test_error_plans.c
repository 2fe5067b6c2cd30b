/* SPDX-License-Identifier: Apache-2.0 */
/* test_error_plans.c - requests that only a program can make, in the words of docs/errors.md; what
 * shm-launch can ask for is in test_error_launcher.py. */
#include "documented.h"
#include "one_cpu.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

/* On a machine that is described here, so that a library without hwloc plans too. */
static void requests_are_refused(void **state)
{
    (void)state;
    struct one_cpu here;
    one_cpu_describe(0, &here);
    const struct shmrt_placement_request requests[] = {{.ranks = 0}, {.ranks = 65}};
    static const char *const words[] = {"how many ranks? Give a number, or one",
                                        "{ranks} ranks are more than the limit of"};
    for (size_t i = 0; i < 2; i++) {
        struct shmrt_plan *plan = NULL;
        struct shmrt_error error = {0};
        int rc = shmrt_plan_create(&here.machine, &requests[i], &plan, &error);
        assert_int_equal(rc, -EINVAL);
        assert_null(plan);
        assert_documented(&error, words[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(requests_are_refused)};
    return cmocka_run_group_tests_name("error_plans", tests, NULL, NULL);
}
