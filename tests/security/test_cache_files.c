/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cache_files.c - the file of measured thresholds where others can write: what is not the
 * user's own is not read, not waited for, and nothing is written beside it.
 */
#include "tuning_cache.h"
#include "users.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATH_BYTES = 256 };

static char home[] = "/tmp/shmrt-cache-XXXXXX";

static int make_home(void **state)
{
    (void)state;
    alarm(WAIT_S); /* who opens a pipe may wait for ever */
    return mkdtemp(home) ? 0 : -1;
}

static int remove_home(void **state)
{
    char command[PATH_BYTES];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", home);
    return system(command);
}

static void path_of(const char *folder, char out[PATH_BYTES])
{
    snprintf(out, PATH_BYTES, "%s/%s/shmrt/thresholds", home, folder);
}

static void keeps_what_it_writes(const char *folder, char path[PATH_BYTES])
{
    const struct shmrt_tuning written = {.oneshot_max_bytes = 4711, .exchange_max_bytes = 4712};
    struct shmrt_tuning read = {0};
    path_of(folder, path);
    assert_int_equal(shmrt_tuning_write(path, &written), 0);
    assert_true(shmrt_tuning_read(path, &read));
    assert_int_equal(read.oneshot_max_bytes, 4711);
}

static void folders_are_closed_to_others(void **state)
{
    struct stat status;
    char path[PATH_BYTES];
    (void)state;
    keeps_what_it_writes("own", path);
    *strrchr(path, '/') = '\0';
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0700);
}

static void a_link_and_a_pipe_are_not_opened(void **state)
{
    struct shmrt_tuning read = {0};
    char path[PATH_BYTES], elsewhere[PATH_BYTES];
    size_t from;
    (void)state;
    keeps_what_it_writes("links", path);
    snprintf(elsewhere, sizeof elsewhere, "%s/elsewhere", home);
    assert_int_equal(rename(path, elsewhere), 0);
    assert_int_equal(symlink(elsewhere, path), 0);
    assert_false(shmrt_tuning_read(path, &read));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_false(shmrt_tuning_read(path, &read));
    assert_false(shmrt_tuning_read_groups(path, &from));
}

/* A link that waits where the fresh file is going to be is not followed. */
static void a_link_is_not_written_through(void **state)
{
    const struct shmrt_tuning tuning = {.oneshot_max_bytes = 1};
    char path[PATH_BYTES], fresh[PATH_BYTES + 16], precious[PATH_BYTES];
    struct stat status;
    (void)state;
    keeps_what_it_writes("fresh", path);
    snprintf(precious, sizeof precious, "%s/precious", home);
    snprintf(fresh, sizeof fresh, "%s.%d", path, (int)getpid());
    assert_int_equal(symlink(precious, fresh), 0);
    assert_int_equal(shmrt_tuning_write(path, &tuning), -EEXIST);
    assert_true(stat(precious, &status) != 0 && errno == ENOENT);
}

static void what_another_user_has_put_there_is_left_alone(void **state)
{
    const struct shmrt_tuning tuning = {.oneshot_max_bytes = 1};
    struct shmrt_tuning read = {0};
    char path[PATH_BYTES], folder[PATH_BYTES];
    (void)state;
    if (!users_are_there())
        skip();
    keeps_what_it_writes("other", path);
    assert_int_equal(chown(path, ATTACKER, ATTACKER), 0);
    assert_false(shmrt_tuning_read(path, &read));
    memcpy(folder, path, sizeof folder);
    *strrchr(folder, '/') = '\0';
    assert_int_equal(chown(folder, ATTACKER, ATTACKER), 0);
    assert_int_equal(shmrt_tuning_write(path, &tuning), -EPERM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folders_are_closed_to_others),
        cmocka_unit_test(a_link_and_a_pipe_are_not_opened),
        cmocka_unit_test(a_link_is_not_written_through),
        cmocka_unit_test(what_another_user_has_put_there_is_left_alone),
    };
    return cmocka_run_group_tests_name("cache_files", tests, make_home, remove_home);
}
