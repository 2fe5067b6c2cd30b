/* SPDX-License-Identifier: Apache-2.0 */
/* test_recorder.c - what survivors tell of where a dead rank was is what it had done. */
#include "recorder_calls.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

enum { REPORT_BYTES = 8192 };

/* The line of @rank in a report, without its newline; NULL where there is none. */
static char *find_line(char *report, int rank)
{
    char start[32];
    snprintf(start, sizeof start, "\n  rank %-4d pid ", rank);
    char *line = strstr(report, start);
    if (line)
        line[1 + strcspn(line + 1, "\n")] = '\0';
    return line ? line + 1 : NULL;
}

static int call_until_error(struct rank *rank)
{
    struct truth *truth = rank->arg;
    struct ranks_heard heard = {0};
    char report[REPORT_BYTES];
    float *data = calloc(2 * LARGE, sizeof *data);
    rank->heard = &heard;
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm && data);
    int rc = 0;
    for (uint64_t number = 1; rc == 0; number++) {
        if (rank->rank == VICTIM)
            atomic_store(&truth->entered, number);
        rc = do_call(comm, truth, number, data);
        if (rank->rank == VICTIM && rc == 0)
            atomic_store(&truth->done, number);
    }
    CHECK(rc == -ECONNABORTED && strstr(shmrt_comm_error(comm)->text, "rank 1 (pid "));
    CHECK(shmrt_comm_report(comm, report, sizeof report) < sizeof report);
    char *line = find_line(report, VICTIM);
    CHECK(line);
    snprintf(truth->line[rank->rank], sizeof truth->line[0], "%s", line);
    snprintf(truth->log[rank->rank], sizeof truth->log[0], "%s", heard.last);
    int lines = heard.lines;
    CHECK(lines == 1 && shmrt_barrier(comm) == rc && heard.lines == lines); /* told once */
    shmrt_comm_destroy(comm);
    free(data);
    return 0;
}

static void kill_victim(const pid_t *pids, void *arg)
{
    const struct truth *truth = arg;
    /* Where none is done in a minute, what the victim has done is judged all the same. */
    for (int ms = 0; ms < 60000 && atomic_load(&truth->done) == 0; ms++)
        ranks_nap_ms(1);
    ranks_nap_ms(2 + truth->seed % 37);
    kill(pids[VICTIM], SIGKILL);
}

/*
 * The victim may have died just before its call began, or just after it had ended. So what is
 * told is "in" the call it entered last, or "after" that one or the one before, whichever of them
 * its own words leave possible; and by the right name.
 */
static void assert_line_is_true(const struct truth *truth, const char *line)
{
    char words[40], name[64] = "";
    uint64_t entered = atomic_load(&truth->entered), done = atomic_load(&truth->done);
    unsigned long number = 0;
    int pid = 0;
    const char *hash = strchr(line, '#');
    assert_int_equal(sscanf(line, "  rank 1 pid %d, died, %39s %63s", &pid, words, name), 3);
    assert_non_null(hash);
    assert_int_equal(sscanf(hash, "#%lu", &number), 1);
    bool is_true = strcmp(words, "in") == 0 ? number == entered && done < number
                                            : number == entered || number == done;
    if (!is_true)
        print_error("entered %lu, done %lu, but: %s\n", (unsigned long)entered, (unsigned long)done,
                    line);
    assert_true(is_true);
    /* A call line that was posted has no record for a moment. */
    if (strcmp(name, "call") != 0)
        assert_string_equal(name, recorder_names[kind_of(truth->seed, number)]);
}

static void assert_log_is_true(const char *log)
{
    bool is_true = strstr(log, "who was where") && strstr(log, " rank 1: died, ");
    if (!is_true)
        print_error("in the log: %s\n", log);
    assert_true(is_true);
}

static void survivors_say_where_the_dead_rank_was(void **state)
{
    (void)state;
    struct truth *truth =
        mmap(NULL, sizeof *truth, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(truth, MAP_FAILED);
    for (unsigned i = 0; i < KILLS; i++) {
        *truth = (struct truth){.seed = 1000 + 7919 * i};
        struct ranks_run run = {.kind = RANKS_PROCESSES,
                                .size = RANKS,
                                .body = call_until_error,
                                .arg = truth,
                                .meanwhile = kill_victim};
        ranks_run(&run);
        for (int r = 0; r < RANKS; r++) {
            assert_int_equal(run.results[r], r == VICTIM ? 128 + SIGKILL : 0);
            if (r == VICTIM)
                continue;
            assert_line_is_true(truth, truth->line[r]);
            assert_log_is_true(truth->log[r]);
        }
    }
    munmap(truth, sizeof *truth);
}

/* Rank 1 looks at rank 0, which waits for it, and comes when it has seen it. */
static int watch_a_wait(struct rank *rank)
{
    float value = 0;
    char report[REPORT_BYTES];
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    CHECK(comm && shmrt_barrier(comm) == 0);
    bool seen = rank->rank != 1;
    for (int i = 0; i < 3000 && !seen; i++) {
        CHECK(shmrt_comm_report(comm, report, sizeof report) < sizeof report);
        const char *line = find_line(report, 0);
        CHECK(line);
        seen = strstr(line, "in barrier #2, waiting ") && strstr(line, " s for rank 1");
        if (!seen)
            ranks_nap_ms(10);
    }
    CHECK(seen);
    if (rank->rank == 1) {
        CHECK(shmrt_comm_report(comm, report, sizeof report) < sizeof report);
        const char *line = find_line(report, 1);
        CHECK(line && strstr(line, "after barrier #1, 1 behind"));
    }
    /* The root waits for nobody, and then, before its next call begins, for all of them. */
    CHECK(shmrt_barrier(comm) == 0 && shmrt_barrier(comm) == 0);
    if (rank->rank == 1)
        ranks_nap_ms(200);
    CHECK(shmrt_broadcast(comm, &value, 1, SHMRT_FLOAT32, 0) == 0 && shmrt_barrier(comm) == 0);
    CHECK(shmrt_comm_report(comm, report, sizeof report) < sizeof report);
    const char *line = find_line(report, rank->rank);
    CHECK(line && strstr(line, "after barrier #5") && !strstr(line, "waiting"));
    shmrt_comm_destroy(comm);
    return 0;
}

static void waits_are_seen_while_they_last(void **state)
{
    (void)state;
    for (int kind = RANKS_THREADS; kind <= RANKS_PROCESSES; kind++) {
        struct ranks_run run = {.kind = (enum ranks_kind)kind, .size = 2, .body = watch_a_wait};
        ranks_run_well(&run);
    }
}

/* A receive that nobody serves, beside collectives that are done. */
static int leave_a_message_open(struct rank *rank)
{
    char report[REPORT_BYTES];
    float value = 0;
    struct shmrt_request *request;
    struct shmrt_comm *comm = rank_comm(rank, NULL);
    struct shmrt_args args = {
        .collective = SHMRT_RECV, .out = &value, .count = 1, .dtype = SHMRT_FLOAT32, .peer = 1};
    CHECK(comm);
    if (rank->rank == 0)
        CHECK(shmrt_start(comm, &args, &request) == 0);
    CHECK(shmrt_barrier(comm) == 0);
    CHECK(shmrt_comm_report(comm, report, sizeof report) < sizeof report);
    const char *line = find_line(report, 0);
    CHECK(line && strstr(line, "barrier #")); /* the first, or it is in the second already */
    CHECK(strstr(line, ", in receive #1 (1 float32, from rank 1)"));
    CHECK(shmrt_barrier(comm) == 0);
    if (rank->rank == 1)
        CHECK(shmrt_send(comm, &value, 1, SHMRT_FLOAT32, 0) == 0);
    else
        CHECK(shmrt_wait(request) == 0);
    CHECK(shmrt_barrier(comm) == 0);
    CHECK(shmrt_comm_report(comm, report, sizeof report) < sizeof report);
    CHECK((line = find_line(report, 0)) && !strstr(line, "receive"));
    shmrt_comm_destroy(comm);
    return 0;
}

static void open_messages_are_told(void **state)
{
    (void)state;
    struct ranks_run run = {.kind = RANKS_THREADS, .size = 2, .body = leave_a_message_open};
    ranks_run_well(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(survivors_say_where_the_dead_rank_was),
        cmocka_unit_test(waits_are_seen_while_they_last),
        cmocka_unit_test(open_messages_are_told),
    };
    return cmocka_run_group_tests_name("recorder", tests, NULL, NULL);
}
