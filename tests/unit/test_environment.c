/* SPDX-License-Identifier: Apache-2.0 */
/* test_environment.c - rank, size and job key as the launchers give them. */
#include "comm.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int clear(void **state)
{
    (void)state;
    static const char *const names[] = {
        "RANK",        "WORLD_SIZE",  "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
        "PMI_RANK",    "PMI_SIZE",    "SLURM_PROCID",         "SLURM_NTASKS",
        "SHMRT_JOB",   "MASTER_ADDR", "MASTER_PORT",          "TORCHELASTIC_RUN_ID",
        "SLURM_JOB_ID"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unsetenv(names[i]);
    return 0;
}

static void each_launcher_is_known(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {{"RANK", "WORLD_SIZE"},
                                           {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
                                           {"PMI_RANK", "PMI_SIZE"},
                                           {"SLURM_PROCID", "SLURM_NTASKS"}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        clear(NULL);
        struct shmrt_params params = {0};
        struct shmrt_error error;
        setenv(pairs[i][0], "3", 1);
        assert_int_equal(shmrt_params_from_env(&params, &error), -EINVAL);
        assert_non_null(strstr(error.text, pairs[i][1]));
        setenv(pairs[i][1], "5", 1);
        assert_int_equal(shmrt_params_from_env(&params, &error), 0);
        assert_int_equal(params.rank, 3);
        assert_int_equal(params.size, 5);
    }
}

static void mistakes_are_named(void **state)
{
    (void)state;
    static const char *const wrong[][3] = {
        {"0", "1000", "WORLD_SIZE=1000"}, {"0", "0", "1 to 64"},      {"5", "5", "0 to 4"},
        {"-1", "5", "RANK=-1"},           {"zero", "2", "RANK=zero"}, {"0x1", "2", "RANK=0x1"}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct shmrt_params params = {.rank = 77};
        struct shmrt_error error;
        setenv("RANK", wrong[i][0], 1);
        setenv("WORLD_SIZE", wrong[i][1], 1);
        assert_int_equal(shmrt_params_from_env(&params, &error), -EINVAL);
        assert_non_null(strstr(error.text, wrong[i][2]));
        assert_int_equal(params.rank, 77);
    }
    clear(NULL);
    struct shmrt_params params = {0};
    struct shmrt_error error;
    assert_int_equal(shmrt_params_from_env(&params, &error), -ENOENT);
    assert_non_null(strstr(error.text, "shm-launch"));
}

static void job_keys_tell_jobs_apart(void **state)
{
    (void)state;
    char key[SHMRT_JOB_BYTES], other[SHMRT_JOB_BYTES];
    setenv("MASTER_ADDR", "127.0.0.1", 1);
    setenv("MASTER_PORT", "29500", 1);
    assert_int_equal(shmrt_job_key(NULL, NULL, key, NULL), 0);
    setenv("MASTER_PORT", "29501", 1);
    assert_int_equal(shmrt_job_key(NULL, NULL, other, NULL), 0);
    assert_string_not_equal(key, other);
    setenv("TORCHELASTIC_RUN_ID", "r7", 1);
    assert_int_equal(shmrt_job_key(NULL, NULL, key, NULL), 0);
    assert_string_not_equal(key, other);
    setenv("SHMRT_JOB", "mine", 1);
    assert_int_equal(shmrt_job_key(NULL, NULL, key, NULL), 0);
    assert_string_equal(key, "mine/default");
    assert_int_equal(shmrt_job_key("given", "second", key, NULL), 0);
    assert_string_equal(key, "given/second");
    assert_int_equal(shmrt_job_key("given", "a/b", key, NULL), -EINVAL);
}

static void long_job_keys_are_refused(void **state)
{
    (void)state;
    char key[SHMRT_JOB_BYTES], text[2 * SHMRT_JOB_BYTES];
    struct shmrt_error error;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_int_equal(shmrt_job_key(text, NULL, key, &error), -EINVAL);
    assert_non_null(strstr(error.text, "255"));
    setenv("MASTER_ADDR", text, 1);
    assert_int_equal(shmrt_job_key(NULL, NULL, key, &error), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(each_launcher_is_known, clear),
        cmocka_unit_test_setup(mistakes_are_named, clear),
        cmocka_unit_test_setup(job_keys_tell_jobs_apart, clear),
        cmocka_unit_test_setup(long_job_keys_are_refused, clear),
    };
    return cmocka_run_group_tests_name("environment", tests, NULL, NULL);
}
