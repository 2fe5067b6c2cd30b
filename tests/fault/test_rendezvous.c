/* SPDX-License-Identifier: Apache-2.0 */
/* test_rendezvous.c - ranks that do not come, do not fit, or are not what they say. */
#include "comm.h"
#include "ranks.h"
#include "shm/rendezvous_name.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void run_processes(int size, rank_body body, void *arg, const char *const *settings)
{
    struct ranks_run run = {
        .kind = RANKS_PROCESSES, .size = size, .body = body, .arg = arg, .settings = settings};
    ranks_run_well(&run);
}

#define CHECK_ERROR(error, expected, words)                                                        \
    do {                                                                                           \
        if ((error).code != (expected) || !strstr((error).text, words))                            \
            fprintf(stderr, "code %d: %s\n", (error).code, (error).text);                          \
        CHECK((error).code == (expected) && strstr((error).text, words));                          \
    } while (0)

static int wait_for_absent_rank(struct rank *rank)
{
    struct shmrt_error error;
    rank->size = 3; /* rank 2 is never started */
    CHECK(!rank_comm(rank, &error));
    /* The first to give up tells the other. */
    if (error.code == -ECONNABORTED)
        CHECK_ERROR(error, -ECONNABORTED, "rank(s) 2 of 3 did not come");
    else
        CHECK_ERROR(error, -ETIMEDOUT, "rank(s) 2 of 3 did not come");
    CHECK(strstr(error.text, "SHMRT_RENDEZVOUS_TIMEOUT") || error.code == -ECONNABORTED);
    return 0;
}

static void absent_rank_is_named(void **state)
{
    (void)state;
    static const char *const settings[] = {"rendezvous_timeout=0.5", NULL};
    run_processes(2, wait_for_absent_rank, NULL, settings);
}

static int claim_another_size(struct rank *rank)
{
    struct shmrt_error error;
    rank->size = 2 + rank->rank;
    CHECK(!rank_comm(rank, &error));
    CHECK_ERROR(error, -EPROTO, "the number of ranks");
    CHECK(strstr(error.text, "rank 0") && strstr(error.text, "rank 1"));
    return 0;
}

static int use_another_segment(struct rank *rank)
{
    struct shmrt_error error;
    const char *const settings[] = {rank->rank ? "segment=1M" : "segment=2M", NULL};
    rank->settings = settings;
    CHECK(!rank_comm(rank, &error));
    CHECK_ERROR(error, -EPROTO, "SHMRT_SEGMENT");
    CHECK(strstr(error.text, "1048576") && strstr(error.text, "2097152"));
    return 0;
}

/* @rank->arg: the setting of rank 1; with 0 it has no descriptor of a pool to send. */
static int use_another_pool(struct rank *rank)
{
    struct shmrt_error error;
    const char *const settings[] = {rank->rank ? rank->arg : "pool=1M", NULL};
    rank->settings = settings;
    CHECK(!rank_comm(rank, &error));
    CHECK_ERROR(error, -EPROTO, "SHMRT_POOL");
    CHECK(strstr(error.text, "1048576"));
    return 0;
}

static void different_parameters_are_named_on_both_sides(void **state)
{
    (void)state;
    run_processes(2, claim_another_size, NULL, NULL);
    run_processes(2, use_another_segment, NULL, NULL);
    run_processes(2, use_another_pool, "pool=2M", NULL);
    run_processes(2, use_another_pool, "pool=0", NULL);
}

/* Both claim to be rank 0 of a job of two: either might meet the other job's rank 1. */
static int take_a_taken_rank(struct rank *rank)
{
    struct shmrt_error error;
    ranks_nap_ms(300 * rank->rank);
    rank->rank = 0;
    CHECK(!rank_comm(rank, &error));
    CHECK_ERROR(error, -EADDRINUSE, "two jobs share this key");
    return 0;
}

enum outcome { FAILED, RIGHT, MIXED };

/* Two jobs of two ranks start at once with one key. */
static int share_a_key(struct rank *rank)
{
    int *outcome = (int *)rank->arg + rank->rank;
    int job = rank->rank / 2;
    int32_t x = job ? 1000 : 1, right = 2 * x;
    struct shmrt_error error;
    rank->rank %= 2;
    rank->size = 2;
    struct shmrt_comm *comm = rank_comm(rank, &error);
    bool done = comm && shmrt_allreduce(comm, &x, &x, 1, SHMRT_INT32, SHMRT_SUM) == 0;
    *outcome = !done ? FAILED : x == right ? RIGHT : MIXED;
    if (done) /* a job that has started goes on for a while */
        ranks_nap_ms(1500);
    shmrt_comm_destroy(comm);
    return 0;
}

/* If ranks of different jobs have met, both jobs hear of it: a rank of each fails. */
static void jobs_that_share_a_key_fail(void **state)
{
    (void)state;
    static const char *const settings[] = {"rendezvous_timeout=1", "timeout=1", NULL};
    int *outcomes = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(outcomes != MAP_FAILED);
    for (int i = 0; i < 5; i++) {
        run_processes(4, share_a_key, outcomes, settings);
        for (int job = 0; job < 2; job++) {
            int a = outcomes[2 * job], b = outcomes[2 * job + 1];
            assert_true((a == RIGHT && b == RIGHT) || a == FAILED || b == FAILED);
        }
    }
    munmap(outcomes, 4096);
}

static void key_of_another_job_is_refused(void **state)
{
    (void)state;
    run_processes(2, take_a_taken_rank, NULL, NULL);
}

static int die_while_meeting(struct rank *rank)
{
    struct shmrt_error error;
    rank->size = 3; /* rank 2 never comes: the others stay in the meeting */
    if (rank->rank == 1)
        alarm(1);
    CHECK(!rank_comm(rank, &error));
    CHECK_ERROR(error, -ECONNABORTED, "rank 1 (pid ");
    CHECK_ERROR(error, -ECONNABORTED, " died or gave up while the ranks were meeting; rank 0 had ");
    return 0;
}

static void death_while_meeting_is_named(void **state)
{
    (void)state;
    struct ranks_run run = {.kind = RANKS_PROCESSES, .size = 2, .body = die_while_meeting};
    ranks_run(&run);
    assert_int_equal(run.results[0], 0);
    assert_int_equal(run.results[1], 128 + SIGALRM);
}

/* Rank 1 may open too few files to take all segments. */
static int run_out_of_files(struct rank *rank)
{
    struct shmrt_error error;
    if (rank->rank == 1) {
        struct rlimit limit = {12, 12};
        CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    }
    CHECK(!rank_comm(rank, &error));
    if (rank->rank == 1)
        CHECK(error.code == -EMFILE);
    else if (error.code == -ETIMEDOUT) /* it had not met those that had already given up */
        CHECK_ERROR(error, -ETIMEDOUT, "of 6 did not come");
    else
        CHECK_ERROR(error, -ECONNABORTED, "gave up");
    return 0;
}

static void failure_of_one_is_told_to_all(void **state)
{
    (void)state;
    static const char *const settings[] = {"rendezvous_timeout=5", NULL};
    run_processes(6, run_out_of_files, NULL, settings);
}

/* What two processes know of each other. */
struct busy {
    atomic_bool is_busy; /* rank 1: it has met rank 0, which has not had its verdict */
    atomic_bool has_left;
    int rounds; /* of rank 0 since */
};

/* Of rank 1, where it has met rank 0: it sees nothing more until that one is gone. */
static void be_busy(enum shmrt_log_level level, const char *line, void *arg)
{
    struct busy *busy = arg;
    if (level != SHMRT_LOG_WARNING || !strstr(line, "no file of records is kept"))
        return;
    atomic_store(&busy->is_busy, true);
    for (int i = 0; !atomic_load(&busy->has_left) && i < 30000; i++)
        ranks_nap_ms(1);
}

/* Of rank 0: in so many rounds it has met rank 1, and said that it can go on. */
static int lose_patience(void *arg)
{
    enum { ROUNDS = 20 };
    struct busy *busy = arg;
    return atomic_load(&busy->is_busy) && busy->rounds++ > ROUNDS;
}

/* Its good verdict and its bad one lie behind each other when rank 1 comes to read them. */
static int give_up_after_a_good_verdict(struct rank *rank)
{
    struct shmrt_error error;
    static const char *const no_file[] = {"recorder=/proc/no/such/folder", NULL};
    struct busy *busy = rank->arg;
    struct shmrt_comm *comm = NULL;
    struct shmrt_params params = {.rank = rank->rank,
                                  .size = 2,
                                  .job = rank->job,
                                  .settings = rank->rank ? no_file : NULL,
                                  .log = rank->rank ? be_busy : NULL,
                                  .log_arg = busy,
                                  .interrupt = rank->rank ? NULL : lose_patience,
                                  .interrupt_arg = busy};
    int rc = shmrt_comm_create(&params, &comm, &error);
    if (rank->rank == 0)
        atomic_store(&busy->has_left, true);
    CHECK(rc == error.code && rc != 0);
    if (rank->rank == 0)
        CHECK_ERROR(error, -ECANCELED, "interrupted while the ranks were meeting");
    else
        CHECK_ERROR(error, -ECONNABORTED, "rank 0 gave up: interrupted while the ranks were");
    return 0;
}

static void who_gave_up_after_a_good_verdict_is_heard(void **state)
{
    (void)state;
    struct busy *busy = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(busy != MAP_FAILED);
    run_processes(2, give_up_after_a_good_verdict, busy, NULL);
    munmap(busy, 4096);
}

static int interrupt_now(void *arg)
{
    (void)arg;
    return 1;
}

static void meeting_can_be_interrupted(void **state)
{
    (void)state;
    struct shmrt_error error;
    struct shmrt_comm *comm = NULL;
    struct shmrt_params params = {.size = 2, .job = "interrupted", .interrupt = interrupt_now};
    assert_int_equal(shmrt_comm_create(&params, &comm, &error), -ECANCELED);
}

enum { NAME_BYTES = 108, SILENT = 300 };

/* The first name of rank 0. */
static void name_of(const char *job, char out[NAME_BYTES])
{
    char key[SHMRT_JOB_BYTES];
    assert_int_equal(shmrt_job_key(job, NULL, key, NULL), 0);
    assert_in_range(shmrt_name_format(key, 0, 0, out, NAME_BYTES), 1, NAME_BYTES - 1);
}

static int open_to_name(const char *name, bool listening)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "%s", name);
    socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    int rc = listening ? bind(fd, (struct sockaddr *)&address, bytes)
                       : connect(fd, (struct sockaddr *)&address, bytes);
    if (rc == 0 && (!listening || listen(fd, 8) == 0))
        return fd;
    close(fd);
    return -1;
}

/* Connects, sends rubbish of all lengths, and holds connections open without a word. */
static void disturb(const pid_t *pids, void *arg)
{
    (void)pids;
    const struct ranks_run *run = arg;
    char name[NAME_BYTES], rubbish[2048];
    int probe = -1;
    name_of(run->job, name);
    for (int i = 0; probe < 0 && i < 500; i++) {
        ranks_nap_ms(2);
        probe = open_to_name(name, false);
    }
    assert_true(probe >= 0);
    close(probe);
    for (int i = 0; i < SILENT; i++) /* kept open, more than a rank keeps */
        assert_true(open_to_name(name, false) >= 0);
    for (size_t i = 0; i < sizeof rubbish; i++)
        rubbish[i] = (char)(i * 37);
    for (size_t i = 0; i < 60; i++) {
        int fd = open_to_name(name, false);
        if (fd < 0)
            break;
        /* The right magic on some, so that more than the first check is reached. */
        uint64_t magic = UINT64_C(0x31676d74726d6873);
        if (i % 2)
            memcpy(rubbish, &magic, sizeof magic);
        rubbish[8] = (char)(i % 5);
        (void)!send(fd, rubbish, 1 + i * 34, MSG_NOSIGNAL);
        if (i % 3)
            close(fd);
    }
}

static int meet_late(struct rank *rank)
{
    if (rank->rank == 1)
        ranks_nap_ms(700);
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm && shmrt_barrier(comm) == 0);
    shmrt_comm_destroy(comm);
    return 0;
}

static void rubbish_and_silence_are_ignored(void **state)
{
    (void)state;
    struct ranks_run run = {
        .kind = RANKS_PROCESSES, .size = 2, .body = meet_late, .meanwhile = disturb, .arg = &run};
    ranks_run_well(&run);
}

/* As root: another user takes the name of rank 0 before the job starts. */
static void name_held_by_another_user_is_passed_by(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    char name[NAME_BYTES];
    int ready[2];
    struct rank model = {.size = 2};
    ranks_unique_job(model.job);
    name_of(model.job, name);
    assert_int_equal(pipe(ready), 0);
    pid_t squatter = fork();
    if (squatter == 0) {
        alarm(30);
        bool held = setuid(65534) == 0 && open_to_name(name, true) >= 0;
        (void)!write(ready[1], held ? "y" : "n", 1);
        pause();
        _exit(0);
    }
    char answer = 0;
    assert_int_equal(read(ready[0], &answer, 1), 1);
    assert_int_equal(answer, 'y');
    pid_t ranks[2];
    for (int r = 0; r < 2; r++)
        if ((ranks[r] = fork()) == 0) {
            model.rank = r;
            _exit(meet_late(&model) ? 1 : 0);
        }
    for (int r = 0; r < 2; r++) {
        int status;
        assert_int_equal(waitpid(ranks[r], &status, 0), ranks[r]);
        assert_int_equal(status, 0);
    }
    kill(squatter, SIGKILL);
    waitpid(squatter, NULL, 0);
    close(ready[0]);
    close(ready[1]);
}

/* Descriptors that are on their way count against RLIMIT_NOFILE, for all of a user's processes. */
static int send_many(int socket, int n)
{
    int fds[200];
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof fds)];
    } control = {0};
    char byte = 0;
    struct iovec part = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = CMSG_SPACE((size_t)n * sizeof *fds)};
    control.head = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
                                    .cmsg_type = SCM_RIGHTS,
                                    .cmsg_len = CMSG_LEN((size_t)n * sizeof *fds)};
    for (int i = 0; i < n; i++)
        fds[i] = STDERR_FILENO;
    memcpy(CMSG_DATA(&control.head), fds, (size_t)n * sizeof *fds);
    return sendmsg(socket, &message, MSG_DONTWAIT) < 0 ? -errno : 0;
}

static int meet_where_too_many_are_on_their_way(struct rank *rank)
{
    const int *pair = rank->arg;
    const struct rlimit files = {512, 512};
    CHECK(setgid(65533) == 0 && setuid(65533) == 0 && setrlimit(RLIMIT_NOFILE, &files) == 0);
    if (rank->rank == 0) {
        int rc = 0;
        while (rc == 0)
            rc = send_many(pair[0], 200);
        CHECK(rc == -ETOOMANYREFS);
    }
    ranks_nap_ms(rank->rank ? 100 : 0);
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm && shmrt_barrier(comm) == 0);
    shmrt_comm_destroy(comm);
    return 0;
}

static void let_them_arrive(const pid_t *pids, void *arg)
{
    char byte;
    (void)pids;
    ranks_nap_ms(800);
    while (recv(*((int *)arg + 1), &byte, 1, MSG_DONTWAIT) == 1) /* closes them */
        ;
}

/* As root, to be a user without privileges. */
static void descriptors_on_their_way_are_waited_for(void **state)
{
    (void)state;
    int pair[2];
    if (geteuid() != 0)
        skip();
    static const char *const settings[] = {"rendezvous_timeout=30", "pool=1M", NULL};
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    struct ranks_run run = {.kind = RANKS_PROCESSES,
                            .size = 3,
                            .body = meet_where_too_many_are_on_their_way,
                            .arg = pair,
                            .meanwhile = let_them_arrive,
                            .settings = settings};
    ranks_run_well(&run);
    close(pair[0]);
    close(pair[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(absent_rank_is_named),
        cmocka_unit_test(different_parameters_are_named_on_both_sides),
        cmocka_unit_test(key_of_another_job_is_refused),
        cmocka_unit_test(jobs_that_share_a_key_fail),
        cmocka_unit_test(death_while_meeting_is_named),
        cmocka_unit_test(failure_of_one_is_told_to_all),
        cmocka_unit_test(who_gave_up_after_a_good_verdict_is_heard),
        cmocka_unit_test(meeting_can_be_interrupted),
        cmocka_unit_test(rubbish_and_silence_are_ignored),
        cmocka_unit_test(name_held_by_another_user_is_passed_by),
        cmocka_unit_test(descriptors_on_their_way_are_waited_for),
    };
    return cmocka_run_group_tests_name("rendezvous", tests, NULL, NULL);
}
