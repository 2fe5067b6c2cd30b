/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_other_user.c - another user of the machine, who knows all names: he is not let in, and keeps
 * nobody from meeting. docs/security.md rests on these.
 */
#include "comm.h"
#include "ranks.h"
#include "shm/message.h"
#include "timing.h"
#include "users.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { CROWD = 2000, SUFFIXES = 4 };

/* What he may cost a job beyond what it takes alone; as many times that where the machine is slow.
 */
static const double DELAY_S = 1, SLOW = 10;

static double slowest(const struct job *job)
{
    double most = 0;
    for (int r = 0; r < job->size; r++)
        most = job->outcomes[r].meet_s > most ? job->outcomes[r].meet_s : most;
    return most;
}

static double time_alone(int size)
{
    struct job job;
    job_make(&job, size);
    job_run(&job);
    job_assert_well(&job);
    double seconds = slowest(&job);
    job_free(&job);
    return seconds;
}

/* Opens connections to all ranks, before they listen and after, and keeps those that live. */
static void crowd(const char *job, void *arg)
{
    static int fds[CROWD];
    char names[JOB_MOST][NAME_BYTES];
    (void)arg;
    for (int r = 0; r < JOB_MOST; r++)
        name_of(job, r, 0, names[r]);
    for (int i = 0; i < CROWD; i++)
        fds[i] = -1;
    ready();
    for (unsigned i = 0;; i++) {
        int *fd = &fds[i % CROWD];
        char byte;
        if (*fd >= 0 && recv(*fd, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN)
            continue;
        if (*fd >= 0)
            close(*fd);
        *fd = connect_to(names[i % JOB_MOST], false);
    }
}

/* The best of a few: what else runs here takes its time too. */
static void a_crowd_at_the_door_delays_by_less_than_a_second(void **state)
{
    (void)state;
    if (!users_are_there())
        skip();
    double alone = time_alone(JOB_MOST), crowded = 0;
    for (int attempt = 0; attempt < 5; attempt++) {
        struct job job;
        pid_t attackers[2];
        job_make(&job, JOB_MOST);
        for (int i = 0; i < 2; i++)
            assert_true((attackers[i] = attack_start(crowd, job.key, NULL)) > 0);
        ranks_nap_ms(100);
        job_run(&job);
        for (int i = 0; i < 2; i++)
            attack_stop(attackers[i]);
        job_assert_well(&job);
        crowded = slowest(&job);
        printf("meeting of 4 ranks: %.1f ms alone, %.1f ms in a crowd, %.1f ms of CPU at most\n",
               1e3 * alone, 1e3 * crowded, 1e3 * job.outcomes[0].cpu_s);
        job_free(&job);
        if (crowded < DELAY_S + SLOW * alone)
            return;
    }
    assert_true(crowded < DELAY_S + SLOW * alone);
}

struct names {
    int suffixes;
    bool listens;
    int more; /* listeners at names that look like those which a rank takes then */
    int *knocks;
};

/* Counts who connects there, and lets nobody wait in vain. */
static void listen_at_more(const char *job, const struct names *names)
{
    static struct pollfd doors[CROWD];
    char stem[NAME_BYTES], name[NAME_BYTES + 20];
    name_of(job, 0, 0, stem);
    *strrchr(stem, '/') = '\0';
    for (int i = 0; i < names->more; i++) {
        snprintf(name, sizeof name, "%s/%016x", stem, 0x9e3779b9u * (unsigned)i);
        doors[i] = (struct pollfd){.fd = take_name(name, true), .events = POLLIN};
        if (doors[i].fd < 0)
            return;
    }
    ready();
    for (;;) {
        poll(doors, (nfds_t)names->more, -1);
        for (int i = 0; i < names->more; i++)
            if (doors[i].revents && close(accept(doors[i].fd, NULL, NULL)) == 0)
                ++*names->knocks;
    }
}

static void squat(const char *job, void *arg)
{
    const struct names *names = arg;
    char name[NAME_BYTES];
    for (int r = 0; r < JOB_MOST; r++)
        for (int suffix = 0; suffix < names->suffixes; suffix++) {
            name_of(job, r, suffix, name);
            if (take_name(name, names->listens) < 0)
                return;
        }
    if (names->more)
        listen_at_more(job, names);
    ready();
    for (;;)
        pause();
}

/* The ranks meet, in time, and each says who holds its name. */
static void meet_beside(struct names names)
{
    double alone = time_alone(3), beside = 0;
    for (int attempt = 0; attempt < 5; attempt++) {
        struct job job;
        char who[64], held[64];
        job_make(&job, 3);
        pid_t squatter = attack_start(squat, job.key, &names);
        assert_true(squatter > 0);
        job_run(&job);
        attack_stop(squatter);
        job_assert_well(&job);
        beside = slowest(&job);
        snprintf(who, sizeof who, "user %d", ATTACKER);
        snprintf(held, sizeof held, "holds %d of the 4 names", names.suffixes);
        for (int r = 0; r < job.size; r++) {
            const char *warning = job.outcomes[r].warning;
            if (!strstr(warning, who) || !strstr(warning, held))
                fprintf(stderr, "%s %s: \"%s\"\n", who, held, warning);
            assert_non_null(strstr(warning, who));
            assert_non_null(strstr(warning, held));
        }
        /* The first to ask also hears his process id; at a door that is full nobody does. */
        snprintf(who, sizeof who, "user %d (pid %d)", ATTACKER, (int)squatter);
        assert_true(!names.listens || strstr(job.outcomes[2].warning, who));
        printf("3 ranks, %d names of each held: %.1f ms, %.1f ms alone\n", names.suffixes,
               1e3 * beside, 1e3 * alone);
        job_free(&job);
        if (beside < DELAY_S + SLOW * alone)
            return;
    }
    assert_true(beside < DELAY_S + SLOW * alone);
}

static void a_squatter_is_named_and_passed_by(void **state)
{
    (void)state;
    if (!users_are_there())
        skip();
    meet_beside((struct names){1, true, 0, NULL});
    meet_beside((struct names){SUFFIXES, true, 0, NULL});
    meet_beside((struct names){SUFFIXES, false, 0, NULL});
}

/* There may be a hundred thousand: trying them takes a rank away from all else. */
static void listeners_at_names_like_ours_are_not_tried(void **state)
{
    (void)state;
    if (!users_are_there())
        skip();
    int *knocks = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(knocks != MAP_FAILED);
    meet_beside((struct names){SUFFIXES, true, CROWD, knocks});
    assert_int_equal(*knocks, 0); /* the kernel tells whose they are, as for the warning */
    munmap(knocks, 4096);
}

/* As a rank that is missing would say it, but for who says it. */
static void send_hello(const char *name, const char *job, int rank, const int *fds, int n)
{
    struct shmrt_hello hello = {.head = shmrt_message_head_make(SHMRT_MESSAGE_HELLO),
                                .rank = rank,
                                .size = 2,
                                .pid = getpid(),
                                .membarrier = 1,
                                .segment_bytes = 1 << 20,
                                .lanes = 1,
                                .group = -1};
    int fd = connect_to(name, false);
    if (fd < 0)
        return;
    snprintf(hello.version, sizeof hello.version, "%s", shmrt_version());
    if (shmrt_job_key(job, NULL, hello.job, NULL) != 0)
        abort();
    (void)shmrt_message_send(fd, &hello, sizeof hello, fds, n);
    close(fd);
}

static void send_rubbish(const char *name, size_t i)
{
    char rubbish[2048];
    uint64_t magic = SHMRT_MESSAGE_MAGIC;
    int fd = connect_to(name, false);
    if (fd < 0)
        return;
    for (size_t k = 0; k < sizeof rubbish; k++)
        rubbish[k] = (char)(k * 37 + i);
    if (i % 2)
        memcpy(rubbish, &magic, sizeof magic);
    rubbish[8] = (char)(i % 5);
    (void)!send(fd, rubbish, 1 + i * 31 % sizeof rubbish, MSG_NOSIGNAL);
    close(fd);
}

/* All that he can send, to a rank that waits for another one. Sockets are closed at once, so what
 * was sent is the receiver's alone. */
static void send_all_kinds(const char *job, void *arg)
{
    char name[NAME_BYTES];
    int file = memfd_create("attack", MFD_ALLOW_SEALING), ends[2], pair[2];
    (void)arg;
    name_of(job, 0, 0, name);
    if (file < 0 || ftruncate(file, 1 << 20) != 0 || pipe(ends) != 0 ||
        socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
        return;
    ready();
    for (size_t i = 0;; i++) {
        const int kinds[][3] = {{file, file, file}, {ends[0], ends[1], file}, {pair[0], -1, -1}};
        send_rubbish(name, i);
        send_hello(name, job, 1, kinds[i % 3], 3);
        send_hello(name, job, 1, NULL, 0);
        ranks_nap_ms(1);
    }
}

static void what_he_sends_is_not_taken(void **state)
{
    (void)state;
    if (!users_are_there())
        skip();
    struct job job;
    job_make(&job, 2);
    job.late_ms = 500;
    pid_t attacker = attack_start(send_all_kinds, job.key, NULL);
    assert_true(attacker > 0);
    job_run(&job);
    attack_stop(attacker);
    job_assert_well(&job);
    job_free(&job);
}

/* A TCP connection of which the last one to close it waits: its other end reads nothing. */
static int make_slow_to_close(int *other_out)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;
    static char much[1 << 16];
    int door = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(door, (struct sockaddr *)&address, bytes) != 0 || listen(door, 1) != 0 ||
        getsockname(door, (struct sockaddr *)&address, &bytes) != 0 ||
        connect(fd, (struct sockaddr *)&address, bytes) != 0 ||
        (*other_out = accept(door, NULL, NULL)) < 0)
        return -1;
    close(door);
    while (send(fd, much, sizeof much, MSG_DONTWAIT) > 0)
        ;
    const struct linger slow = {.l_onoff = 1, .l_linger = WAIT_S};
    return setsockopt(fd, SOL_SOCKET, SO_LINGER, &slow, sizeof slow) == 0 ? fd : -1;
}

static void send_slow_to_close(const char *job, void *arg)
{
    char name[NAME_BYTES];
    int other, slow = make_slow_to_close(&other);
    (void)arg;
    name_of(job, 0, 0, name);
    if (slow < 0)
        return;
    ready();
    int fd;
    while ((fd = connect_to(name, false)) < 0)
        ranks_nap_ms(1);
    const struct shmrt_message_head head = shmrt_message_head_make(SHMRT_MESSAGE_HELLO);
    (void)shmrt_message_send(fd, &head, sizeof head, &slow, 1);
    close(slow);
    for (;;)
        pause();
}

static bool kernel_keeps_descriptors_out(void)
{
    int off = 0, fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    bool can = setsockopt(fd, SOL_SOCKET, 83 /* SO_PASSRIGHTS */, &off, sizeof off) == 0;
    close(fd);
    return can;
}

/* Who closes the last copy of it would wait for a minute. */
static void a_descriptor_that_is_slow_to_close_delays_nobody(void **state)
{
    (void)state;
    if (!users_are_there())
        skip();
    if (!kernel_keeps_descriptors_out()) {
        fprintf(stderr, "skipped: before Linux 6.16 anybody can send descriptors\n");
        skip();
    }
    struct job job;
    job_make(&job, 2);
    job.late_ms = 500;
    pid_t attacker = attack_start(send_slow_to_close, job.key, NULL);
    assert_true(attacker > 0);
    double start = now_s();
    job_run(&job);
    double took = now_s() - start;
    attack_stop(attacker);
    job_assert_well(&job);
    assert_true(took < WAIT_S / 2);
    job_free(&job);
}

static void listen_for_words(const char *job, void *arg)
{
    char name[NAME_BYTES];
    int *heard = arg, fd;
    name_of(job, 0, 0, name);
    ready();
    while ((fd = connect_to(name, false)) < 0)
        ranks_nap_ms(1);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char byte;
    poll(&p, 1, WAIT_S * 1000);
    heard[0] = (int)recv(fd, &byte, 1, 0);
    heard[1] = 1;
    for (;;)
        pause();
}

/* Who knows a name learns nothing by it. */
static void he_gets_no_word(void **state)
{
    (void)state;
    if (!users_are_there())
        skip();
    struct job job;
    int *heard = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(heard != MAP_FAILED);
    job_make(&job, 2);
    job.late_ms = 300;
    pid_t attacker = attack_start(listen_for_words, job.key, heard);
    assert_true(attacker > 0);
    job_run(&job);
    for (int i = 0; i < WAIT_S * 10 && !heard[1]; i++)
        ranks_nap_ms(100);
    attack_stop(attacker);
    job_assert_well(&job);
    assert_int_equal(heard[1], 1);
    assert_in_range(heard[0] + 1, 0, 1); /* closed, or reset */
    munmap(heard, 4096);
    job_free(&job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crowd_at_the_door_delays_by_less_than_a_second),
        cmocka_unit_test(a_squatter_is_named_and_passed_by),
        cmocka_unit_test(listeners_at_names_like_ours_are_not_tried),
        cmocka_unit_test(what_he_sends_is_not_taken),
        cmocka_unit_test(a_descriptor_that_is_slow_to_close_delays_nobody),
        cmocka_unit_test(he_gets_no_word),
    };
    return cmocka_run_group_tests_name("other_user", tests, NULL, NULL);
}
