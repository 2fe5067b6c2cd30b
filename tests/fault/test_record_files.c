/* SPDX-License-Identifier: Apache-2.0 */
/* test_record_files.c - files of records: true after a kill of all ranks, removed at a good end. */
#include "recorder_calls.h"

#include "diag/record_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* What the tests of files share. */
struct job {
    struct truth truth[RANKS]; /* entered and done of each */
    char path[64];
    char settings[96];
    int fails; /* rank 1 dies by itself after some calls; else all are killed, or none */
    int stops; /* after so many calls all come to a good end */
};

static struct job *make_job(void)
{
    struct job *job =
        mmap(NULL, sizeof *job, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(job, MAP_FAILED);
    snprintf(job->path, sizeof job->path, "/tmp/shmrt-test-XXXXXX");
    assert_non_null(mkdtemp(job->path));
    snprintf(job->settings, sizeof job->settings, "recorder=%s/rec", job->path);
    return job;
}

/* Names in the job's folder; removes all where @forget. */
static int count_files(const struct job *job, bool forget)
{
    int files = 0;
    DIR *folder = opendir(job->path);
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder));) {
        files += entry->d_name[0] != '.';
        if (forget && entry->d_name[0] != '.')
            unlinkat(dirfd(folder), entry->d_name, 0);
    }
    closedir(folder);
    return files;
}

static void forget_job(struct job *job)
{
    count_files(job, true);
    assert_int_equal(rmdir(job->path), 0);
    munmap(job, sizeof *job);
}

static int call_with_file(struct rank *rank)
{
    struct job *job = rank->arg;
    struct truth *truth = &job->truth[rank->rank];
    const char *const settings[] = {job->settings, NULL};
    float *data = calloc(2 * LARGE, sizeof *data);
    struct ranks_heard heard = {0};
    rank->settings = settings;
    rank->heard = &heard;
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm && data);
    int rc = 0;
    for (uint64_t number = 1; rc == 0 && (job->stops == 0 || number <= (uint64_t)job->stops);
         number++) {
        if (job->fails && rank->rank == VICTIM && number == 30)
            raise(SIGKILL);
        atomic_store(&truth->entered, number);
        rc = do_call(comm, &job->truth[0], number, data);
        if (rc == 0)
            atomic_store(&truth->done, number);
    }
    snprintf(truth->log[0], sizeof truth->log[0], "%s", heard.last);
    snprintf(truth->line[0], sizeof truth->line[0], "%s", shmrt_comm_error(comm)->text);
    shmrt_comm_destroy(comm);
    free(data);
    return rc ? 1 : 0;
}

static void kill_all(const pid_t *pids, void *arg)
{
    struct job *job = arg;
    for (int ms = 0; ms < 60000 && atomic_load(&job->truth[0].done) == 0; ms++)
        ranks_nap_ms(1);
    ranks_nap_ms(2 + job->truth[0].seed % 37);
    for (int r = 0; r < RANKS; r++)
        kill(pids[r], SIGKILL);
}

/* The file of @rank, which has to be the only one, mapped and checked. */
static const struct shmrt_record_file_head *map_file(const struct job *job, int rank)
{
    char path[PATH_MAX] = "", mark[32];
    DIR *folder = opendir(job->path);
    assert_non_null(folder);
    snprintf(mark, sizeof mark, "rec.rank%d.", rank);
    for (struct dirent *entry; (entry = readdir(folder));)
        if (strncmp(entry->d_name, mark, strlen(mark)) == 0) {
            assert_string_equal(path, "");
            snprintf(path, sizeof path, "%s/%s", job->path, entry->d_name);
        }
    closedir(folder);
    int fd = open(path, O_RDONLY);
    struct stat status;
    assert_true(fd >= 0 && fstat(fd, &status) == 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    const struct shmrt_record_file_head *head =
        mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    assert_ptr_not_equal(head, MAP_FAILED);
    assert_int_equal(head->magic, SHMRT_RECORD_FILE_MAGIC);
    assert_int_equal(head->rank, rank);
    assert_int_equal(head->size, RANKS);
    assert_int_equal(status.st_size, head->notes_at + head->notes * head->note_bytes);
    return head;
}

/* The newest record of a file is the call that its rank had entered, done or not as it knows. */
static void assert_file_is_true(const struct job *job, int rank)
{
    const struct shmrt_record_file_head *head = map_file(job, rank);
    const struct truth *truth = &job->truth[rank];
    struct shmrt_record_seen seen[SHMRT_RECORDS];
    int count = shmrt_records_read(
        (const struct shmrt_records *)(const void *)((const char *)head + head->newest_at), RANKS,
        seen);
    uint64_t entered = atomic_load(&truth->entered), done = atomic_load(&truth->done);
    assert_true(count > 0);
    if (seen[0].done)
        assert_true(seen[0].epoch == entered || seen[0].epoch == done);
    else
        assert_true(seen[0].epoch == entered && done < entered);
    for (int i = 0; i < count; i++) {
        assert_int_equal(seen[i].epoch, seen[0].epoch - (uint64_t)i);
        assert_true(i == 0 || seen[i].done);
        assert_string_equal(shmrt_collective_name((enum shmrt_collective)seen[i].call.collective),
                            recorder_names[kind_of(job->truth[0].seed, seen[i].epoch)]);
    }
    munmap((void *)(uintptr_t)head, (size_t)head->notes_at);
}

static void files_outlive_a_job_that_is_killed_whole(void **state)
{
    (void)state;
    for (unsigned i = 0; i < KILLS / 2; i++) {
        struct job *job = make_job();
        job->truth[0].seed = 500 + 7919 * i;
        struct ranks_run run = {.kind = RANKS_PROCESSES,
                                .size = RANKS,
                                .body = call_with_file,
                                .arg = job,
                                .meanwhile = kill_all};
        ranks_run(&run);
        for (int r = 0; r < RANKS; r++) {
            assert_int_equal(run.results[r], 128 + SIGKILL);
            assert_file_is_true(job, r);
        }
        assert_int_equal(count_files(job, false), RANKS);
        forget_job(job);
    }
}

static void files_stay_after_a_failure_only(void **state)
{
    (void)state;
    for (int fails = 0; fails < 2; fails++) {
        struct job *job = make_job();
        job->fails = fails;
        job->stops = 60;
        struct ranks_run run = {
            .kind = RANKS_PROCESSES, .size = RANKS, .body = call_with_file, .arg = job};
        ranks_run(&run);
        assert_int_equal(count_files(job, false), fails ? RANKS : 0);
        for (int r = 0; fails && r < RANKS; r++) {
            const struct shmrt_record_file_head *head = map_file(job, r);
            assert_int_equal(head->code, r == VICTIM ? 0 : -ECONNABORTED);
            assert_string_equal(head->error, r == VICTIM ? "" : job->truth[r].line[0]);
            munmap((void *)(uintptr_t)head, (size_t)head->notes_at);
        }
        forget_job(job);
    }
}

/* Each rank aborts between two calls; nobody calls after that. */
static int work_elsewhere(struct rank *rank)
{
    static const char *const settings[] = {"recorder=rec", NULL};
    const struct job *job = rank->arg;
    rank->settings = settings;
    CHECK(chdir(job->path) == 0);
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm && chdir("/") == 0);
    CHECK(shmrt_barrier(comm) == 0);
    if (job->fails)
        shmrt_comm_abort(comm, "enough");
    shmrt_comm_destroy(comm);
    return 0;
}

static void relative_names_and_aborts(void **state)
{
    (void)state;
    for (int fails = 0; fails < 2; fails++) {
        struct job *job = make_job();
        job->fails = fails;
        struct ranks_run run = {
            .kind = RANKS_PROCESSES, .size = RANKS, .body = work_elsewhere, .arg = job};
        ranks_run_well(&run);
        assert_int_equal(count_files(job, false), fails ? RANKS : 0);
        forget_job(job);
    }
}

/* A folder that is not there: a warning, and the job runs. */
static void file_that_can_not_be_made_is_told(void **state)
{
    (void)state;
    struct job *job = make_job();
    job->stops = 5;
    snprintf(job->settings, sizeof job->settings, "recorder=%s/no/rec", job->path);
    struct ranks_run run = {
        .kind = RANKS_PROCESSES, .size = RANKS, .body = call_with_file, .arg = job};
    ranks_run_well(&run);
    for (int r = 0; r < RANKS; r++) {
        assert_non_null(
            strstr(job->truth[r].log[0], "no file of records is kept: SHMRT_RECORDER names "));
        assert_non_null(strstr(job->truth[r].log[0], "/no/rec.rank"));
    }
    forget_job(job);
}

/* The reader in Python has these as numbers. */
static void file_is_a_format(void **state)
{
    (void)state;
    assert_int_equal(SHMRT_RECORD_FILE_VERSION, 1);
    assert_int_equal(offsetof(struct shmrt_record_file_head, version), 8);
    assert_int_equal(offsetof(struct shmrt_record_file_head, note_bytes), 44);
    assert_int_equal(offsetof(struct shmrt_record_file_head, made_realtime_ns), 48);
    assert_int_equal(offsetof(struct shmrt_record_file_head, code), 64);
    assert_int_equal(offsetof(struct shmrt_record_file_head, pids), 68);
    assert_int_equal(offsetof(struct shmrt_record_file_head, job), 324);
    assert_int_equal(offsetof(struct shmrt_record_file_head, error), 580);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_outlive_a_job_that_is_killed_whole),
        cmocka_unit_test(files_stay_after_a_failure_only),
        cmocka_unit_test(relative_names_and_aborts),
        cmocka_unit_test(file_that_can_not_be_made_is_told),
        cmocka_unit_test(file_is_a_format),
    };
    return cmocka_run_group_tests_name("record_files", tests, NULL, NULL);
}
