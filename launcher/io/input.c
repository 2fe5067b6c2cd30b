/* SPDX-License-Identifier: Apache-2.0 */
/*
 * input.c - one queue for all readers, in which each has a place of its own.
 *
 * The queue holds what the slowest reader has not taken yet. With several readers it may grow to
 * AHEAD_MOST; then those in front wait for the last one. One that takes nothing for PATIENCE_MS
 * while another has nothing left to read is not going to: it gets an end of file.
 */
#include "input.h"

#include "common/say.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    READ_BYTES = 64 * 1024,
    AHEAD_MOST = 32 * 1024 * 1024,
    PATIENCE_MS = 5000,
    LOOK_FOR_FOREGROUND_MS = 500,
};

int launch_input_check(const struct launch_options *options, const struct shmrt_plan *plan,
                       struct shmrt_error *error_out)
{
    if (options->stdin_rank < 0 || (size_t)options->stdin_rank < plan->rank_count)
        return 0;
    if (plan->rank_count == 1)
        return launch_error(error_out, -EINVAL,
                            "--stdin %d: the job has rank 0 only; give 0, all or none",
                            options->stdin_rank);
    return launch_error(error_out, -EINVAL,
                        "--stdin %d: the job has ranks 0 to %zu; give one of these, all or none",
                        options->stdin_rank, plan->rank_count - 1);
}

static int add_reader(struct launch_input *input, struct launch_job *job, size_t rank)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -errno;
    (void)fcntl(ends[1], F_SETFL, O_NONBLOCK);
    job->our_fds[job->our_fd_count++] = ends[1];
    job->in_fds[rank] = ends[0];
    input->to[rank] = ends[1];
    input->from = STDIN_FILENO;
    return 0;
}

int launch_input_open(struct launch_input *input, struct launch_job *job)
{
    int reader = job->options->stdin_rank, rc = 0;
    *input = (struct launch_input){
        .from = -1,
        .is_terminal = isatty(STDIN_FILENO),
        .is_kept = job->attempt < job->options->restarts,
        .ranks = job->plan->rank_count,
    };
    for (size_t i = 0; i < input->ranks; i++)
        input->to[i] = job->in_fds[i] = -1;
    if (reader >= 0 && !input->is_terminal)
        job->in_fds[reader] = STDIN_FILENO;
    else if (reader >= 0)
        rc = add_reader(input, job, (size_t)reader);
    for (size_t i = 0; i < input->ranks && reader == LAUNCH_STDIN_ALL && rc == 0; i++)
        rc = add_reader(input, job, i);
    return rc;
}

/* Who writes to us has to notice when nobody reads. */
static void let_go_of_ours(const struct launch_input *input)
{
    int null = input->is_kept || input->is_terminal ? -1 : open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null < 0)
        return;
    dup2(null, STDIN_FILENO);
    close(null);
}

void launch_input_started(struct launch_input *input, struct launch_job *job)
{
    for (size_t i = 0; i < input->ranks; i++)
        if (job->in_fds[i] > STDERR_FILENO)
            close(job->in_fds[i]);
    if (input->from < 0)
        let_go_of_ours(input);
}

static uint64_t end_of(const struct launch_input *input)
{
    return input->first + input->length;
}

static size_t readers_of(const struct launch_input *input)
{
    size_t count = 0;
    for (size_t i = 0; i < input->ranks; i++)
        count += input->to[i] >= 0;
    return count;
}

/* The rank that has taken least; @ranks when nobody reads. */
static size_t slowest_of(const struct launch_input *input)
{
    size_t slowest = input->ranks;
    for (size_t i = 0; i < input->ranks; i++)
        if (input->to[i] >= 0 &&
            (slowest == input->ranks || input->taken[i] < input->taken[slowest]))
            slowest = i;
    return slowest;
}

static uint64_t least_taken(const struct launch_input *input)
{
    size_t slowest = slowest_of(input);
    return slowest < input->ranks ? input->taken[slowest] : end_of(input);
}

static bool is_full(const struct launch_input *input)
{
    return end_of(input) - least_taken(input) >= (readers_of(input) > 1 ? AHEAD_MOST : READ_BYTES);
}

static void shorten(int *timeout_ms, int64_t other_ms)
{
    if (*timeout_ms < 0 || other_ms < *timeout_ms)
        *timeout_ms = other_ms > 0 ? (int)other_ms : 0;
}

size_t launch_input_poll(const struct launch_input *input, struct pollfd *polls, int *timeout_ms,
                         int64_t now_ns)
{
    size_t count = 0;
    for (size_t i = 0; i < input->ranks; i++)
        if (input->to[i] >= 0) /* of a closed pipe we hear in any case */
            polls[count++] = (struct pollfd){
                .fd = input->to[i],
                .events = input->taken[i] < end_of(input) ? POLLOUT : 0,
            };
    if (input->stuck_ns)
        shorten(timeout_ms, (input->stuck_ns - now_ns) / 1000000 + PATIENCE_MS + 1);
    if (input->from < 0 || is_full(input))
        return count;
    if (!input->is_terminal || tcgetpgrp(input->from) == getpgrp())
        polls[count++] = (struct pollfd){.fd = input->from, .events = POLLIN};
    else /* reading in the background would stop us */
        shorten(timeout_ms, LOOK_FOR_FOREGROUND_MS);
    return count;
}

static void drop_reader(struct launch_input *input, size_t rank)
{
    close(input->to[rank]);
    input->to[rank] = -1;
    if (input->from < 0 || readers_of(input) > 0)
        return;
    let_go_of_ours(input);
    input->from = -1;
}

/* Give back what all have taken, once it is half of what is held: each byte moves once at most. */
static void forget_taken(struct launch_input *input)
{
    uint64_t least = least_taken(input);
    size_t done = (size_t)(least - input->first);
    if (done == 0 || done < input->length / 2)
        return;
    memmove(input->bytes, input->bytes + done, input->length - done);
    input->length -= done;
    input->first = least;
}

static void end_readers_that_have_all(struct launch_input *input)
{
    for (size_t i = 0; i < input->ranks && input->from < 0; i++)
        if (input->to[i] >= 0 && input->taken[i] == end_of(input))
            drop_reader(input, i);
}

static bool make_room(struct launch_input *input)
{
    if (input->length + READ_BYTES <= input->room)
        return true;
    size_t room = 2 * (input->length + READ_BYTES);
    char *grown = realloc(input->bytes, room);
    if (!grown)
        return false;
    input->bytes = grown;
    input->room = room;
    return true;
}

static void take(struct launch_input *input)
{
    if (!make_room(input))
        return; /* as when it is full */
    ssize_t got = read(input->from, input->bytes + input->length, READ_BYTES);
    if (got > 0) {
        input->length += (size_t)got;
    } else if (got == 0 || (errno != EINTR && errno != EAGAIN)) {
        let_go_of_ours(input);
        input->from = -1;
    }
}

static void give(struct launch_input *input, size_t rank)
{
    size_t at = (size_t)(input->taken[rank] - input->first);
    ssize_t put =
        at < input->length ? write(input->to[rank], input->bytes + at, input->length - at) : 0;
    if (put >= 0)
        input->taken[rank] += (size_t)put;
    else if (errno != EINTR && errno != EAGAIN) /* it has closed its input, or ended */
        drop_reader(input, rank);
}

static size_t reader_at(const struct launch_input *input, int fd)
{
    size_t rank = 0;
    while (rank < input->ranks && input->to[rank] != fd)
        rank++;
    return rank;
}

void launch_input_move(struct launch_input *input, const struct pollfd *polls, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t rank = reader_at(input, polls[i].fd);
        if (!polls[i].revents)
            continue;
        if (rank == input->ranks)
            take(input);
        else if (polls[i].revents & POLLOUT)
            give(input, rank);
        else
            drop_reader(input, rank);
    }
    forget_taken(input);
    end_readers_that_have_all(input);
}

int launch_input_give_up(struct launch_input *input, int64_t now_ns)
{
    bool is_waited_for = false;
    for (size_t i = 0; i < input->ranks; i++)
        is_waited_for = is_waited_for || (input->to[i] >= 0 && input->taken[i] == end_of(input));
    if (input->from < 0 || !is_waited_for || !is_full(input)) {
        input->stuck_ns = 0;
        return -1;
    }
    if (!input->stuck_ns)
        input->stuck_ns = now_ns;
    if (now_ns - input->stuck_ns < PATIENCE_MS * INT64_C(1000000))
        return -1;
    size_t slowest = slowest_of(input);
    drop_reader(input, slowest);
    forget_taken(input);
    return (int)slowest;
}

void launch_input_close(struct launch_input *input)
{
    for (size_t i = 0; i < input->ranks; i++)
        if (input->to[i] >= 0)
            close(input->to[i]);
    free(input->bytes);
    *input = (struct launch_input){.from = -1};
}
