/* SPDX-License-Identifier: Apache-2.0 */
/* test_error_settings.c - what is refused before ranks meet, in the words of docs/errors.md; then a
 * communicator can be made in the same process. */
#include "comm.h"
#include "documented.h"
#include "shm/memory_limit.h"
#include "shm/shared_file.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void create_one(void)
{
    struct shmrt_params params = {.size = 1, .job = "errors-settings"};
    struct shmrt_comm *comm = NULL;
    int32_t one = 1;
    assert_int_equal(shmrt_comm_create(&params, &comm, NULL), 0);
    assert_int_equal(shmrt_allreduce(comm, &one, &one, 1, SHMRT_INT32, SHMRT_SUM), 0);
    shmrt_comm_destroy(comm);
}

static void refuse(const struct shmrt_params *params, const char *words)
{
    struct shmrt_comm *none = NULL;
    struct shmrt_error error = {0};
    int rc = shmrt_comm_create(params, &none, &error);
    assert_int_equal(rc, error.code);
    assert_null(none);
    assert_documented(&error, words);
    create_one();
}

static void refuse_setting(const char *setting, const char *more, const char *words)
{
    const char *const settings[] = {setting, more, NULL};
    refuse(&(struct shmrt_params){.size = 1, .job = "errors", .settings = settings}, words);
}

static void settings_are_refused(void **state)
{
    (void)state;
    refuse(&(struct shmrt_params){.size = 0}, "is not from 1 to {most} ranks");
    refuse(&(struct shmrt_params){.rank = 2, .size = 2}, "is not from 0 to {last} (size");
    refuse_setting("speed=11", NULL, "is not key=value with one of");
    refuse_setting("timeout=soon", NULL, "{option}={value} is not a number from");
    refuse_setting("kernel=", NULL, "is not a name of 1 to {most} characters");
    refuse_setting("nodes=3-1", NULL, "is not a list of numbers up to {most}, or auto");
    refuse_setting("huge_pages=large", NULL, "is not off, transparent or hugetlb");
    refuse_setting("kernel=mmx", NULL, "SHMRT_KERNEL={kernel} {why not}; known are auto");
    refuse_setting("sum_order=height", NULL, "is not placement or rank");
    refuse_setting("tune=later", NULL, "is not auto, now or off");
    refuse_setting("groups=0-", NULL, "is not auto, one, socket, node, or lists of ranks");
    refuse_setting("groups=1", NULL, "names no group for rank");
    refuse_setting("segment=256K", "oneshot_max=1M", "is too small for {ranks} ranks with");
}

/* The largest segment that may be asked for, where that is more than there is. */
static void memory_that_is_not_there(void **state)
{
    (void)state;
    if (shmrt_memory_headroom("/proc", "/sys/fs/cgroup", NULL) > (uint64_t)31 << 30)
        skip();
    refuse_setting("segment=32G", NULL, "does not fit: {limit} has");
}

static void groups_need_binding(void **state)
{
    (void)state;
    const char *const settings[] = {"groups=socket", NULL};
    struct shmrt_params params = {.size = 1, .job = "errors", .settings = settings};
    struct shmrt_comm *comm = NULL;
    struct shmrt_error error = {0};
    if (shmrt_comm_create(&params, &comm, &error) == 0) {
        shmrt_comm_destroy(comm); /* bound already, or a machine of one socket */
        skip();
    }
    assert_documented(&error, "but the CPUs that this rank may run on are of several");
}

static void keep(enum shmrt_log_level level, const char *line, void *text)
{
    if (level == SHMRT_LOG_WARNING && strstr(line, "SHMRT_HUGE_PAGES"))
        snprintf(text, SHMRT_ERROR_TEXT_BYTES, "%s", line);
}

/* Ordinary pages serve, and a line says why. */
static void huge_pages_that_do_not_fit(void **state)
{
    (void)state;
    static const char before[] = "SHMRT_HUGE_PAGES=hugetlb: ", after[] = "; ordinary pages serve";
    const char *const settings[] = {"huge_pages=hugetlb", "segment=1M", "pool=0", NULL};
    struct shmrt_error told = {.code = -ENOTSUP};
    struct shmrt_params params = {
        .size = 1, .job = "errors", .settings = settings, .log = keep, .log_arg = told.text};
    struct shmrt_comm *comm = NULL;
    assert_int_equal(shmrt_comm_create(&params, &comm, NULL), 0);
    shmrt_comm_destroy(comm);
    char *start = strstr(told.text, before), *end = strstr(told.text, after);
    assert_true(start && end);
    *end = '\0';
    memmove(told.text, start + strlen(before), (size_t)(end - start) - strlen(before) + 1);
    assert_documented(&told, "this kernel has no hugetlb pages that fit into");
}

static bool is_kernel_old;

int __real_madvise(void *start, size_t bytes, int advice);
int __wrap_madvise(void *start, size_t bytes, int advice);

/* As before Linux 5.14, to which this advice was unknown. */
int __wrap_madvise(void *start, size_t bytes, int advice)
{
    enum { POPULATE_WRITE = 23 };
    if (!is_kernel_old || advice != POPULATE_WRITE)
        return __real_madvise(start, bytes, advice);
    errno = EINVAL;
    return -1;
}

/* The file is of ordinary pages and passes for one of hugetlb, which few machines have. */
static void hugetlb_of_an_old_kernel(void **state)
{
    (void)state;
    const struct shmrt_file_use use = {"a shared segment", "segment", "SHMRT_SEGMENT"};
    const struct shmrt_file_wish wish = {.use = &use, .bytes = 1 << 20};
    struct shmrt_file file;
    struct shmrt_error error = {0};
    assert_int_equal(shmrt_file_make(&wish, NULL, &file, &error), 0);
    file.kind = SHMRT_PAGES_HUGETLB;
    is_kernel_old = true;
    assert_int_equal(shmrt_file_take(&use, &file, 0, file.bytes, &error), -ENOTSUP);
    is_kernel_old = false;
    assert_documented(&error, "hugetlb pages can't be bound before Linux 5.14");
    file.kind = SHMRT_PAGES_ORDINARY;
    assert_int_equal(shmrt_file_take(&use, &file, 0, file.bytes, &error), 0);
    shmrt_file_release(&file, true);
}

/* In a child, since a limit that was lowered is not raised again. */
static void a_limit_of_files_sizes(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        const struct rlimit limit = {1 << 20, 1 << 20};
        struct shmrt_params params = {.size = 1, .job = "errors"};
        struct shmrt_comm *none = NULL;
        struct shmrt_error error = {0};
        setrlimit(RLIMIT_FSIZE, &limit);
        int rc = shmrt_comm_create(&params, &none, &error);
        _exit(rc != -EFBIG || !is_documented(&error, "is more than `ulimit -f` allows"));
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void clear(void)
{
    static const char *const names[] = {
        "RANK",         "WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
        "PMI_RANK",     "PMI_SIZE",   "SLURM_PROCID",         "SLURM_NTASKS",
        "SLURM_JOB_ID", "SHMRT_JOB",  "MASTER_ADDR",          "MASTER_PORT"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unsetenv(names[i]);
}

static void variables_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[][3] = {
        {"x", "2", "is not a whole number from {least} to {most}"},
        {"0", NULL, "is set but {other} is not; set both or neither"},
        {NULL, NULL, "or give rank and size"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct shmrt_params params = {0};
        struct shmrt_error error = {0};
        clear();
        if (wrong[i][0])
            setenv("RANK", wrong[i][0], 1);
        if (wrong[i][1])
            setenv("WORLD_SIZE", wrong[i][1], 1);
        int rc = shmrt_params_from_env(&params, &error);
        assert_int_equal(rc, error.code);
        assert_documented(&error, wrong[i][2]);
    }
    clear();
    char job[2 * SHMRT_JOB_BYTES];
    memset(job, 'x', sizeof job - 1);
    job[sizeof job - 1] = '\0';
    refuse(&(struct shmrt_params){.size = 1, .job = job}, "the job key is longer than");
    refuse(&(struct shmrt_params){.size = 1, .job = "errors", .name = "a/b"},
           "has a slash, which parts");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings_are_refused),     cmocka_unit_test(memory_that_is_not_there),
        cmocka_unit_test(groups_need_binding),      cmocka_unit_test(huge_pages_that_do_not_fit),
        cmocka_unit_test(hugetlb_of_an_old_kernel), cmocka_unit_test(a_limit_of_files_sizes),
        cmocka_unit_test(variables_are_refused),
    };
    return cmocka_run_group_tests_name("error_settings", tests, NULL, NULL);
}
