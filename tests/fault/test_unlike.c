/* SPDX-License-Identifier: Apache-2.0 */
/* test_unlike.c - ranks that can't go together: of another version of the library, or with shared
 * memory switched off, or with a wrong setting. All are told at once, and why. */
#include "comm.h"
#include "ranks.h"
#include "shm/rendezvous_name.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { WAIT_MS = 60000 };

/* Nothing here may need the deadline. */
#define NO_DEADLINE "rendezvous_timeout=1000"

#define CHECK_TEXT(error, words)                                                                   \
    do {                                                                                           \
        if (!strstr((error).text, words))                                                          \
            fprintf(stderr, "code %d: %s\n", (error).code, (error).text);                          \
        CHECK(strstr((error).text, words));                                                        \
    } while (0)

/* A rank of another version: what it says, and what it hears. */
struct stranger {
    int rank;
    unsigned protocol;
    const char *version;
    size_t bytes; /* of its hello */
    struct ranks_run *run;
};

static int wait_for_connection(int listener)
{
    struct pollfd p = {.fd = listener, .events = POLLIN};
    assert_int_equal(poll(&p, 1, WAIT_MS), 1);
    return shmrt_name_accept(listener);
}

static int connect_when_there(const char *key, int rank)
{
    int fd = -1;
    for (int i = 0; fd < 0 && i < WAIT_MS; i++) {
        fd = shmrt_name_connect(key, rank, NULL);
        if (fd < 0)
            ranks_nap_ms(1);
    }
    return fd;
}

/* Says its hello to the one rank that runs, and expects that one's. */
static void be_a_stranger(const pid_t *pids, void *arg)
{
    (void)pids;
    const struct stranger *stranger = arg;
    _Alignas(struct shmrt_hello) char bytes[2 * sizeof(struct shmrt_hello)] = {0};
    struct shmrt_hello *hello = (struct shmrt_hello *)bytes;
    const struct shmrt_logger silence = {0};
    char key[SHMRT_JOB_BYTES];
    assert_int_equal(shmrt_job_key(stranger->run->job, NULL, key, NULL), 0);
    int listener = stranger->rank ? -1 : shmrt_name_listen(key, 0, &silence, NULL);
    int fd = stranger->rank ? connect_when_there(key, 0) : wait_for_connection(listener);
    assert_true(fd >= 0);
    hello->head = shmrt_message_head_make(SHMRT_MESSAGE_HELLO);
    hello->head.protocol = stranger->protocol;
    hello->rank = stranger->rank;
    hello->size = 2;
    hello->pid = 4711;
    snprintf(hello->version, sizeof hello->version, "%s", stranger->version);
    memcpy(hello->job, key, sizeof key);
    int pair[2]; /* any descriptor, as if it were a segment */
    assert_int_equal(pipe(pair), 0);
    int rc;
    while ((rc = shmrt_message_send(fd, hello, stranger->bytes, pair, 1)) == -EPERM)
        ranks_nap_ms(1); /* the rank has not seen yet whose connection it is */
    assert_int_equal(rc, 0);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    struct shmrt_received received;
    assert_int_equal(poll(&p, 1, WAIT_MS), 1);
    assert_int_equal(shmrt_message_receive(fd, &received), 0);
    assert_int_equal(received.message.head.kind, SHMRT_MESSAGE_HELLO);
    assert_string_equal(received.message.hello.version, shmrt_version());
    shmrt_received_close(&received);
    close(pair[0]);
    close(pair[1]);
    close(fd);
    shmrt_name_close(listener);
}

/* The rank that runs is the other one of two. */
static int meet_a_stranger(struct rank *rank)
{
    const struct stranger *stranger = rank->arg;
    char theirs[64];
    struct shmrt_error error;
    rank->rank = !stranger->rank;
    rank->size = 2;
    CHECK(!rank_comm(rank, &error));
    snprintf(theirs, sizeof theirs, "rank %d (pid 4711) runs shmrt %s (protocol %u)",
             stranger->rank, stranger->version, stranger->protocol);
    CHECK_TEXT(error, theirs);
    CHECK_TEXT(error, shmrt_version());
    CHECK_TEXT(error, "install one version for all ranks");
    CHECK(error.code == -EPROTO);
    return 0;
}

static void other_versions_are_named(void **state)
{
    (void)state;
    static const char *const settings[] = {NO_DEADLINE, NULL};
    const size_t own = sizeof(struct shmrt_hello);
    const struct stranger strangers[] = {
        {.protocol = SHMRT_PROTOCOL_VERSION, .version = "99.1.2", .bytes = own},
        {.protocol = SHMRT_PROTOCOL_VERSION + 1, .version = "99.1.2", .bytes = own},
        {.protocol = SHMRT_PROTOCOL_VERSION + 1, .version = "99.1.2", .bytes = 2 * own},
        {.protocol = SHMRT_PROTOCOL_VERSION + 1, .version = "99.1.2", .bytes = 48},
        {.protocol = 3, .version = "(older)", .bytes = own - 8}, /* had no version there */
    };
    for (size_t i = 0; i < 2 * sizeof strangers / sizeof strangers[0]; i++) {
        struct stranger stranger = strangers[i / 2];
        struct ranks_run run = {.kind = RANKS_PROCESSES,
                                .size = 1,
                                .settings = settings,
                                .body = meet_a_stranger,
                                .arg = &stranger,
                                .meanwhile = be_a_stranger};
        stranger.rank = (int)(i % 2);
        stranger.run = &run;
        ranks_run_well(&run);
    }
}

/* @rank->arg: bit r: rank r has shared memory switched off, and asks for more than there is. */
static int be_off_on_some(struct rank *rank)
{
    static const char *const off[] = {"disable=1", "segment=64G", "groups=nonsense", NO_DEADLINE,
                                      NULL};
    static const char *const on[] = {"segment=1M", NO_DEADLINE, NULL};
    static const struct {
        uint64_t off;
        int size;
        const char *words;
    } told[] = {
        {0x1, 1, "on rank 0 of 1: unset it, or use another backend"},
        {0x2, 2, "on rank 1 of 2: unset it there, or set it on all ranks and use another"},
        {0x9, 4, "on ranks 0,3 of 4: unset it there"},
        {0xf, 4, "on ranks 0-3 of 4: unset it, or use another backend"},
    };
    struct shmrt_error error;
    size_t i = *(const size_t *)rank->arg;
    if (rank->rank >= told[i].size)
        return 0;
    rank->size = told[i].size;
    rank->settings = told[i].off >> rank->rank & 1 ? off : on;
    ranks_nap_ms(rank->rank * 37 % 50);
    CHECK(!rank_comm(rank, &error));
    CHECK_TEXT(error, told[i].words);
    CHECK_TEXT(error, "SHMRT_DISABLE=1");
    CHECK(error.code == -ECONNREFUSED);
    return 0;
}

static void ranks_that_are_off_are_named_on_all(void **state)
{
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct ranks_run run = {
            .kind = RANKS_PROCESSES, .size = 4, .body = be_off_on_some, .arg = &i};
        ranks_run_well(&run);
        run.kind = RANKS_THREADS;
        ranks_run_well(&run);
    }
}

/* @rank->arg: the setting that one rank alone has wrong. */
struct wrong {
    int rank;
    const char *setting;
    const char *words;
};

static int be_wrong_on_one(struct rank *rank)
{
    const struct wrong *wrong = rank->arg;
    const char *const settings[] = {NO_DEADLINE, wrong->setting, NULL};
    static const char *const right[] = {NO_DEADLINE, NULL};
    char passed_on[32];
    struct shmrt_error error;
    bool is_it = rank->rank == wrong->rank;
    rank->settings = is_it ? settings : right;
    snprintf(passed_on, sizeof passed_on, "rank %d gave up: ", wrong->rank);
    CHECK(!rank_comm(rank, &error));
    CHECK_TEXT(error, wrong->words);
    CHECK(error.code == (is_it ? -EINVAL : -ECONNABORTED));
    CHECK((strncmp(error.text, passed_on, strlen(passed_on)) == 0) == !is_it);
    rank->settings = right;
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm && shmrt_barrier(comm) == 0);
    shmrt_comm_destroy(comm);
    return 0;
}

static void a_wrong_setting_of_one_is_told_to_all(void **state)
{
    (void)state;
    struct wrong wrongs[] = {
        {1, "segment=1K", "segment=1K is not a number from"},
        {0, "speed=11", "\"speed=11\" is not key=value"},
        {2, "rendezvous_timeout=never", "rendezvous_timeout=never is not a number"},
        {1, "kernel=mmx", "SHMRT_KERNEL=mmx is not a rung"},
        {0, "groups=0-", "SHMRT_GROUPS=0- is not auto"},
        {2, "sum_order=height", "SHMRT_SUM_ORDER=height is not placement"},
        {0, "tune=later", "SHMRT_TUNE=later is not auto"},
    };
    for (size_t i = 0; i < sizeof wrongs / sizeof wrongs[0]; i++) {
        struct ranks_run run = {
            .kind = RANKS_PROCESSES, .size = 3, .body = be_wrong_on_one, .arg = &wrongs[i]};
        ranks_run_well(&run);
    }
}

/* Nothing is left behind: the same job meets again, with all on. */
static int be_off_once(struct rank *rank)
{
    static const char *const off[] = {"disable=1", NULL};
    for (int i = 0; i < 3; i++) {
        rank->settings = i < 2 && rank->rank == i ? off : NULL;
        struct shmrt_error error;
        struct shmrt_comm *comm = rank_comm(rank, &error);
        CHECK((i == 2) == (comm != NULL));
        CHECK(comm || error.code == -ECONNREFUSED);
        CHECK(!comm || shmrt_barrier(comm) == 0);
        shmrt_comm_destroy(comm);
    }
    return 0;
}

static void the_same_ranks_may_meet_again(void **state)
{
    (void)state;
    struct ranks_run run = {.kind = RANKS_PROCESSES, .size = 3, .body = be_off_once};
    ranks_run_well(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(other_versions_are_named),
        cmocka_unit_test(ranks_that_are_off_are_named_on_all),
        cmocka_unit_test(a_wrong_setting_of_one_is_told_to_all),
        cmocka_unit_test(the_same_ranks_may_meet_again),
    };
    return cmocka_run_group_tests_name("unlike", tests, NULL, NULL);
}
