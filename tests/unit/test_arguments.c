/* SPDX-License-Identifier: Apache-2.0 */
/* test_arguments.c - calls that are refused name the reason and leave the communicator usable. */
#include "shmrt.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct shmrt_comm *comm;

static int set_up(void **state)
{
    (void)state;
    struct shmrt_params params = {.size = 1, .job = "arguments"};
    return shmrt_comm_create(&params, &comm, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    shmrt_comm_destroy(comm);
    return 0;
}

static void refuse(int expected, const char *words, const void *in, void *out, size_t count,
                   int dtype, int op)
{
    int rc = shmrt_allreduce(comm, in, out, count, (enum shmrt_dtype)dtype, (enum shmrt_op)op);
    assert_int_equal(rc, expected);
    assert_int_equal(shmrt_comm_error(comm)->code, expected);
    assert_non_null(strstr(shmrt_comm_error(comm)->text, words));
    float one = 1, result = 0;
    assert_int_equal(shmrt_allreduce(comm, &one, &result, 1, SHMRT_FLOAT32, SHMRT_SUM), 0);
    assert_true(result == 1);
}

static void bad_calls_are_refused(void **state)
{
    (void)state;
    float x[16] = {0};
    refuse(-EINVAL, "99", x, x, 4, 99, SHMRT_SUM);
    refuse(-EINVAL, "-1", x, x, 4, -1, SHMRT_SUM);
    refuse(-EINVAL, "7 is not an operation", x, x, 4, SHMRT_FLOAT32, 7);
    refuse(-ENOTSUP, "avg of int32", x, x, 4, SHMRT_INT32, SHMRT_AVG);
    refuse(-EINVAL, "input buffer is NULL", NULL, x, 4, SHMRT_FLOAT32, SHMRT_SUM);
    refuse(-EINVAL, "output buffer is NULL", x, NULL, 4, SHMRT_FLOAT32, SHMRT_SUM);
    refuse(-EINVAL, "overlap", x, x + 2, 8, SHMRT_FLOAT32, SHMRT_SUM);
    refuse(-EINVAL, "overlap", x + 2, x, 8, SHMRT_FLOAT32, SHMRT_SUM);
    refuse(-EINVAL, "elements", x, x, SIZE_MAX / 2, SHMRT_FLOAT64, SHMRT_SUM);
    assert_int_equal(shmrt_allreduce(comm, NULL, NULL, 0, SHMRT_FLOAT32, SHMRT_SUM), 0);
    assert_int_equal(shmrt_allreduce(comm, x, x + 8, 8, SHMRT_FLOAT32, SHMRT_SUM), 0);
}

static void bad_parameters_are_refused(void **state)
{
    (void)state;
    static const char *const wrong_setting[] = {"speed=11", NULL};
    static const char *const wrong_kernel[] = {"kernel=mmx", NULL};
    static const char *const huge_segment[] = {"segment=32G", NULL};
    static const char *const small_segment[] = {"segment=256K", "oneshot_max=1M", NULL};
    const struct {
        struct shmrt_params params;
        int code;
        const char *words;
    } cases[] = {
        {{.size = 0}, -EINVAL, "size 0"},
        {{.size = 1000}, -EINVAL, "1 to 64"},
        {{.rank = 2, .size = 2}, -EINVAL, "rank 2"},
        {{.rank = -1, .size = 2}, -EINVAL, "rank -1"},
        {{.size = 1, .settings = wrong_setting}, -EINVAL, "speed=11"},
        {{.size = 1, .settings = wrong_kernel}, -EINVAL, "avx2"},
        {{.size = 1, .settings = huge_segment}, -ENOMEM, "34359738368"},
        {{.size = 1, .settings = small_segment}, -EINVAL, "too small"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct shmrt_comm *none = NULL;
        struct shmrt_error error = {0};
        assert_int_equal(shmrt_comm_create(&cases[i].params, &none, &error), cases[i].code);
        assert_int_equal(error.code, cases[i].code);
        assert_non_null(strstr(error.text, cases[i].words));
        assert_null(none);
    }
}

static void every_page_is_on_an_own_node(void **state)
{
    (void)state;
    struct shmrt_placement_proof proof;
    int rc = shmrt_comm_verify(comm, &proof);
    if (rc) {
        assert_int_equal(proof.segment.pages_unknown, proof.segment.pages);
        print_message("move_pages is refused here: %s\n", strerror(-rc));
        skip();
    }
    assert_int_equal(proof.segment.pages, (8 << 20) / sysconf(_SC_PAGESIZE));
    assert_int_equal(proof.segment.pages_on_node, proof.segment.pages);
    assert_int_equal(proof.segment.pages_unknown, 0);
}

static void child_of_a_fork_is_refused(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        float x = 1;
        int rc = shmrt_allreduce(comm, &x, &x, 1, SHMRT_FLOAT32, SHMRT_SUM);
        bool told = strstr(shmrt_comm_error(comm)->text, "fork") != NULL;
        shmrt_comm_destroy(comm);
        _exit(rc == -EINVAL && told ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    float x = 1;
    assert_int_equal(shmrt_allreduce(comm, &x, &x, 1, SHMRT_FLOAT32, SHMRT_SUM), 0);
}

static void names_and_sizes(void **state)
{
    (void)state;
    assert_string_equal(shmrt_version(), "0.1.0");
    assert_string_equal(shmrt_dtype_name(SHMRT_BFLOAT16), "bfloat16");
    assert_int_equal(shmrt_dtype_bytes(SHMRT_INT16), 2);
    assert_int_equal(shmrt_dtype_bytes(SHMRT_DTYPE_COUNT), 0);
    assert_null(shmrt_dtype_name((enum shmrt_dtype) - 1));
    assert_string_equal(shmrt_op_name(SHMRT_AVG), "avg");
    assert_null(shmrt_op_name(SHMRT_OP_COUNT));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_calls_are_refused),
        cmocka_unit_test(bad_parameters_are_refused),
        cmocka_unit_test(every_page_is_on_an_own_node),
        cmocka_unit_test(child_of_a_fork_is_refused),
        cmocka_unit_test(names_and_sizes),
    };
    return cmocka_run_group_tests_name("arguments", tests, set_up, tear_down);
}
