/* SPDX-License-Identifier: Apache-2.0 */
/* test_tuning.c - thresholds: measured once, kept, agreed on, overridden, and never needed. */
#include "comm.h"
#include "ranks.h"
#include "tuning_cache.h"
#include "values.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { MOST_BYTES = 256 * 1024 };

/* A cache folder of this test's own, in place of the user's. */
static int make_cache(void **state)
{
    char path[] = "/tmp/shmrt-test-XXXXXX";
    if (!mkdtemp(path))
        return -1;
    *state = strdup(path);
    setenv("XDG_CACHE_HOME", path, 1);
    setenv("SHMRT_TUNE", "auto", 1);
    return 0;
}

/* The only file in the folder's shmrt/; false when there is none, or another number of them. */
static bool find_file(const char *folder, char path[SHMRT_TUNING_PATH_BYTES])
{
    char below[256];
    int files = 0;
    snprintf(below, sizeof below, "%s/shmrt", folder);
    DIR *dir = opendir(below);
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        if (entry->d_name[0] != '.') {
            snprintf(path, SHMRT_TUNING_PATH_BYTES, "%s/%.200s", below, entry->d_name);
            files++;
        }
    if (dir)
        closedir(dir);
    return files == 1;
}

static int remove_cache(void **state)
{
    char below[256], path[SHMRT_TUNING_PATH_BYTES];
    snprintf(below, sizeof below, "%s/shmrt", (char *)*state);
    DIR *dir = opendir(below);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        snprintf(path, sizeof path, "%s/%.200s", below, entry->d_name);
        unlink(path);
    }
    if (dir)
        closedir(dir);
    rmdir(below);
    rmdir(*state);
    free(*state);
    return 0;
}

struct expected {
    const char *words; /* in the line about the tuning */
};

static int ask(struct rank *rank)
{
    const struct expected *expected = rank->arg;
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm);
    char line[256], all[RANKS_MAX][256];
    size_t bytes = shmrt_comm_tuning(comm, NULL, 0);
    CHECK(shmrt_comm_tuning(comm, line, sizeof line) == bytes && strlen(line) == bytes);
    if (!strstr(line, expected->words))
        fprintf(stderr, "rank %d: \"%s\" has no \"%s\"\n", rank->rank, line, expected->words);
    CHECK(strstr(line, expected->words));
    memset(line + strlen(line), 0, sizeof line - strlen(line));
    CHECK(shmrt_allgather(comm, line, all, sizeof line, SHMRT_UINT8) == 0);
    for (int r = 0; r < rank->size; r++)
        CHECK(memcmp(all[r], line, sizeof line) == 0);
    float *x = malloc(MOST_BYTES), *sum = malloc(MOST_BYTES);
    for (size_t count = 1; count <= MOST_BYTES / sizeof *x; count *= 4) {
        values_fill(x, 0, count, SHMRT_FLOAT32, rank->rank, 7);
        values_reduce(sum, 0, count, SHMRT_FLOAT32, SHMRT_SUM, rank->size, 7);
        CHECK(shmrt_allreduce(comm, x, x, count, SHMRT_FLOAT32, SHMRT_SUM) == 0);
        CHECK(memcmp(x, sum, count * sizeof *x) == 0);
    }
    free(x);
    free(sum);
    shmrt_comm_destroy(comm);
    return 0;
}

static void expect(int size, const char *words, const char *const *settings)
{
    struct expected expected = {.words = words};
    struct ranks_run run = {
        .kind = RANKS_THREADS, .size = size, .settings = settings, .body = ask, .arg = &expected};
    ranks_run_well(&run);
}

static bool has_two_cpus(void)
{
    return sysconf(_SC_NPROCESSORS_ONLN) >= 2;
}

static void measured_once_then_kept(void **state)
{
    char path[SHMRT_TUNING_PATH_BYTES];
    if (!has_two_cpus())
        skip();
    expect(2, "(measured at the start)", NULL);
    assert_true(find_file(*state, path));
    expect(2, "(measured earlier)", NULL);
    struct shmrt_tuning tuning = {.oneshot_max_bytes = 12345, .exchange_max_bytes = 234567};
    assert_int_equal(shmrt_tuning_write(path, &tuning), 0);
    assert_int_equal(shmrt_tuning_write("/dev/null/shmrt/tuning", &tuning), -ENOTDIR);
    assert_true(find_file(*state, path));
    expect(2, "one-shot up to 12345 bytes, one pass up to 234567", NULL);
    static const char *const again[] = {"tune=now", NULL};
    expect(2, "(measured at the start)", again);
}

/* One that is cut, or not ours, is as none. */
static void a_broken_file_is_none(void **state)
{
    char path[SHMRT_TUNING_PATH_BYTES];
    if (!has_two_cpus())
        skip();
    expect(2, "(measured at the start)", NULL);
    assert_true(find_file(*state, path));
    static const char *const texts[] = {"", "oneshot_max 1", "oneshot_max x exchange_max 0",
                                        "oneshot_max 99999999999999 exchange_max 0"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        fputs(texts[i], file);
        fclose(file);
        expect(2, "(measured at the start)", NULL);
    }
}

/* Measures even where ranks share CPUs, and then reads what was kept. */
static int measure_groups(struct rank *rank)
{
    struct shmrt_error error;
    struct shmrt_comm *comm = rank_comm(rank, &error);
    int64_t first, all[RANKS_MAX];
    CHECK(comm);
    comm->group.sync.crowded = false;
    for (int turn = 0; turn < 2; turn++) {
        strcpy(comm->options.tune, turn == 0 ? "now" : "auto");
        CHECK(shmrt_tune_groups(comm, 1, &error) == 0);
        int64_t own = (int64_t)comm->group.tuning.hierarchy_min_bytes;
        CHECK(shmrt_allgather(comm, &own, all, 1, SHMRT_INT64) == 0);
        for (int r = 0; r < rank->size; r++)
            CHECK(all[r] == own);
        CHECK(turn == 0 || own == first);
        first = own;
    }
    shmrt_comm_destroy(comm);
    return 0;
}

/* The size from which on to go by groups: one file for these groups, beside the others'. */
static void groups_are_measured_too(void **state)
{
    char path[SHMRT_TUNING_PATH_BYTES];
    static const char *const pairs[] = {"groups=0-1/2-3", "sum_order=rank", "tune=off", NULL};
    static const char *const set[] = {"groups=0-1/2-3", "sum_order=rank", "hierarchy_min=64K",
                                      NULL};
    struct ranks_run run = {
        .kind = RANKS_PROCESSES, .size = 4, .settings = pairs, .body = measure_groups};
    ranks_run_well(&run);
    assert_true(find_file(*state, path));
    assert_non_null(strstr(path, "-groups-"));
    size_t bytes = 0;
    assert_true(shmrt_tuning_read_groups(path, &bytes));
    assert_true(bytes == SHMRT_HIERARCHY_NEVER || (bytes >= 64 * 1024 && bytes <= 4 << 20));
    expect(4, ", by groups from 1048576", pairs);
    expect(4, ", by groups from 65536", set);
}

static void settings_win(void **state)
{
    char path[SHMRT_TUNING_PATH_BYTES];
    static const char *const both[] = {"oneshot_max=4K", "exchange_max=64K", "lane_min=1M", NULL};
    static const char *const off[] = {"tune=off", NULL};
    expect(2, "one-shot up to 4096 bytes, one pass up to 65536, two-shot beyond", both);
    expect(2, "a lane for each 1048576", both);
    expect(2, "one-shot up to 16384 bytes, two-shot beyond", off);
    expect(3, "(fixed)", off);
    expect(1, "(fixed)", NULL);
    assert_false(find_file(*state, path));
}

/* Where ranks share CPUs nothing is measured; where the folder can't be, nothing is kept. */
static void never_in_the_way(void **state)
{
    char path[SHMRT_TUNING_PATH_BYTES];
    int crowd = (int)sysconf(_SC_NPROCESSORS_ONLN) + 1;
    if (crowd <= RANKS_MAX / 2)
        expect(crowd, "(fixed)", NULL);
    setenv("XDG_CACHE_HOME", "/dev/null/nothing", 1);
    if (has_two_cpus())
        expect(2, "(measured at the start)", NULL);
    assert_false(find_file(*state, path));
}

static void a_word_that_is_none_is_refused(void **state)
{
    (void)state;
    static const char *const settings[] = {"tune=perhaps", NULL};
    struct shmrt_params params = {.size = 1, .job = "tuning", .settings = settings};
    struct shmrt_comm *comm;
    struct shmrt_error error;
    assert_int_equal(shmrt_comm_create(&params, &comm, &error), -EINVAL);
    assert_non_null(strstr(error.text, "perhaps"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(measured_once_then_kept, make_cache, remove_cache),
        cmocka_unit_test_setup_teardown(a_broken_file_is_none, make_cache, remove_cache),
        cmocka_unit_test_setup_teardown(groups_are_measured_too, make_cache, remove_cache),
        cmocka_unit_test_setup_teardown(settings_win, make_cache, remove_cache),
        cmocka_unit_test_setup_teardown(never_in_the_way, make_cache, remove_cache),
        cmocka_unit_test(a_word_that_is_none_is_refused),
    };
    return cmocka_run_group_tests_name("tuning", tests, NULL, NULL);
}
