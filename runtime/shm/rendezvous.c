/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rendezvous.c - the meeting of the ranks.
 *
 * One thread, one poll loop, no blocking call. A rank is met when its hello came and its
 * descriptors were taken; it is judged when it said that it can go on. A connection is believed
 * only as far as SO_PEERCRED goes: same user, or it is closed.
 */
#include "rendezvous.h"

#include "base/clock.h"
#include "base/list.h"
#include "greet.h"
#include "name_list.h"
#include "rendezvous_name.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_own_pidfd(void)
{
    return (int)syscall(SYS_pidfd_open, getpid(), 0);
}

static bool is_missing(const struct shmrt_meet *m, bool judged, int r)
{
    return r != m->meeting->rank && !(judged ? m->links[r].judged : m->links[r].met);
}

/* "1,4-7"; 64 ranks fit. */
static void list_missing(const struct shmrt_meet *m, bool judged, char *out, size_t bytes)
{
    uint64_t missing = 0;
    for (int r = 0; r < m->meeting->size; r++)
        if (is_missing(m, judged, r))
            missing |= UINT64_C(1) << r;
    shmrt_list_format(&missing, SHMRT_MAX_RANKS, out, bytes);
}

/* What a rank only passes on, or what names both sides, keeps its words. */
static int gave_up(struct shmrt_meet *m, int rank, const struct shmrt_verdict *verdict)
{
    if (verdict->code == -ECONNABORTED || verdict->code == -EPROTO ||
        verdict->code == -ECONNREFUSED)
        return shmrt_error_set(m->error_out, verdict->code, "%s", verdict->text);
    return shmrt_error_set(m->error_out, -ECONNABORTED, "rank %d gave up: %.*s", rank,
                           SHMRT_ERROR_TEXT_BYTES - 32, verdict->text);
}

static int is_gone(struct shmrt_meet *m, int rank)
{
    const struct shmrt_hello *hello = &m->links[rank].hello;
    return shmrt_error_set(m->error_out, -ECONNABORTED,
                           "rank %d (pid %d) died or gave up while the ranks were meeting", rank,
                           hello->pid);
}

/* Something came, or ended, on the connection to @rank. */
static int read_link(struct shmrt_meet *m, int rank)
{
    struct shmrt_link *link = &m->links[rank];
    struct shmrt_received received;
    if (m->agreeing && link->judged && shmrt_message_peek(link->socket) != SHMRT_MESSAGE_VERDICT) {
        link->done = true; /* what it left there is for the communicator's own waits */
        return 0;
    }
    int rc = shmrt_message_receive(link->socket, &received);
    if (rc == -EAGAIN)
        return 0;
    if (rc == -EMFILE)
        return shmrt_greet_descriptors_lost(m);
    if (rc == 0 && !link->met && shmrt_greet_is_hello(&received) &&
        received.message.hello.rank == rank)
        return shmrt_greet_take(m, link, &received);
    if (rc == 0 && link->met && received.message.head.kind == SHMRT_MESSAGE_VERDICT) {
        shmrt_received_close(&received);
        received.message.verdict.text[SHMRT_ERROR_TEXT_BYTES - 1] = '\0';
        if (received.message.verdict.code == -ECONNREFUSED && !m->agreeing)
            link->done = true; /* that one has met all, and so will this rank, and see it too */
        else if (received.message.verdict.code)
            return gave_up(m, rank, &received.message.verdict);
        else
            link->judged = true;
        return 0;
    }
    if (rc == 0)
        shmrt_received_close(&received);
    if (rc && rc != -ENODATA && rc != -EBADMSG)
        return shmrt_error_set(m->error_out, rc, "receiving from rank %d failed: %s", rank,
                               strerror(-rc));
    if (link->met)
        return is_gone(m, rank);
    close(link->socket); /* a listener of an earlier communicator, just closing: try again */
    link->socket = -1;
    link->greeted = false;
    return 0;
}

static bool any_missing(const struct shmrt_meet *m, bool judged)
{
    for (int r = 0; r < m->meeting->size; r++)
        if (is_missing(m, judged, r))
            return true;
    return false;
}

/* Whether a rank that has said its hello is still to have ours. */
static bool any_unanswered(const struct shmrt_meet *m)
{
    for (int r = 0; r < m->meeting->size; r++)
        if (m->links[r].met && !m->links[r].greeted)
            return true;
    return false;
}

static void warn_once(struct shmrt_meet *m, const char *missing, int64_t waited_ns)
{
    const struct shmrt_meeting *meeting = m->meeting;
    m->warned = true;
    if (meeting->trouble)
        shmrt_log(&meeting->logger, SHMRT_LOG_WARNING,
                  "rank %d can't take part, and waits for rank(s) %s of %d to tell them, %.3g s at "
                  "most: %s",
                  meeting->rank, missing, meeting->size, (double)meeting->timeout_ns / 1e9,
                  meeting->trouble);
    else
        shmrt_log(&meeting->logger, SHMRT_LOG_WARNING,
                  "rank %d waits for rank(s) %s of %d to meet, %.0f s so far (job %s)",
                  meeting->rank, missing, meeting->size, (double)waited_ns / 1e9, meeting->job);
}

/* Deadline, warning and Ctrl-C of a round of the loop; judged: which ranks count as missing. */
static int check_clock(struct shmrt_meet *m, bool judged)
{
    char missing[160];
    int64_t waited_ns = shmrt_now_ns() - m->meeting->start_ns;
    if (shmrt_interrupted(&m->meeting->interrupt))
        return shmrt_error_set(m->error_out, -ECANCELED,
                               "interrupted while the ranks were meeting");
    if (waited_ns > m->meeting->warn_ns && !m->warned) {
        list_missing(m, judged, missing, sizeof missing);
        warn_once(m, missing, waited_ns);
    }
    bool waits = any_missing(m, judged);
    if (waited_ns <= m->meeting->timeout_ns || !(waits || any_unanswered(m)))
        return 0; /* the last one may have come late, but it has */
    if (!waits)
        return shmrt_greet_cannot_send(m, -ETOOMANYREFS);
    list_missing(m, judged, missing, sizeof missing);
    return shmrt_error_set(
        m->error_out, -ETIMEDOUT,
        "rank(s) %s of %d did not come within %.3g s (job %s): start them on this "
        "machine with the same job key, or raise SHMRT_RENDEZVOUS_TIMEOUT",
        missing, m->meeting->size, (double)m->meeting->timeout_ns / 1e9, m->meeting->job);
}

/* Waits for something to happen, at most until the next retry, then handles it. */
static int poll_once(struct shmrt_meet *m, int64_t wait_ns)
{
    struct pollfd fds[1 + SHMRT_MAX_PENDING + SHMRT_MAX_RANKS];
    int rank_of[SHMRT_MAX_RANKS];
    int pendings = m->pendings, n = 0, rc = 0;
    bool listens = shmrt_now_ns() >= m->accept_at_ns;
    fds[n++] = (struct pollfd){.fd = listens ? m->listener : -1, .events = POLLIN};
    for (int i = 0; i < pendings; i++)
        fds[n++] = (struct pollfd){.fd = m->pending[i], .events = POLLIN};
    int first_link = n;
    for (int r = 0; r < m->meeting->size; r++)
        if (m->links[r].socket >= 0 && !m->links[r].done) {
            rank_of[n - first_link] = r;
            fds[n++] = (struct pollfd){.fd = m->links[r].socket, .events = POLLIN};
        }
    struct timespec wait = shmrt_timespec_from_ns(wait_ns);
    if (ppoll(fds, (nfds_t)n, &wait, NULL) < 0 && errno != EINTR)
        return shmrt_error_set(m->error_out, -errno, "poll failed: %s", strerror(errno));
    for (int i = first_link; i < n && rc == 0; i++)
        if (fds[i].revents)
            rc = read_link(m, rank_of[i - first_link]);
    /* Backwards: those behind a connection that is taken out move up. */
    for (int i = pendings - 1; i >= 0 && rc == 0; i--)
        if (fds[1 + i].revents)
            rc = shmrt_greet_pending(m, i);
    if (rc == 0 && fds[0].revents)
        rc = shmrt_greet_accept(m);
    return rc;
}

static int meet_all(struct shmrt_meet *m)
{
    int rc = 0;
    while (rc == 0 && (any_missing(m, false) || any_unanswered(m))) {
        int64_t now_ns = shmrt_now_ns();
        rc = shmrt_greet_ranks(m, now_ns);
        if (rc == 0)
            rc = poll_once(m, m->retry_at_ns - now_ns);
        if (rc == 0)
            rc = check_clock(m, false);
    }
    return rc;
}

/* The rank that was first may meet ranks of our job: it has to give up as well. */
static void warn_twin(struct shmrt_meet *m)
{
    struct shmrt_name_list list;
    shmrt_name_look(m->meeting->job, &list);
    int socket = shmrt_name_connect(m->meeting->job, m->meeting->rank, &list);
    if (socket < 0)
        return;
    shmrt_message_send(socket, m->mine, sizeof *m->mine, NULL, 0);
    close(socket);
}

static int listen_as(const struct shmrt_meeting *meeting, struct shmrt_error *error_out)
{
    return shmrt_name_listen(meeting->job, meeting->rank, &meeting->logger, error_out);
}

int shmrt_rendezvous_meet(const struct shmrt_meeting *meeting, const struct shmrt_hello *mine,
                          int memfd, int poolfd, int *listener_out, struct shmrt_link *links_out,
                          struct shmrt_error *error_out)
{
    struct shmrt_meet m = {.meeting = meeting,
                           .mine = mine,
                           .links = links_out,
                           .error_out = error_out,
                           .send_fds = {memfd, poolfd, mine->absent ? -1 : open_own_pidfd()}};
    shmrt_greet_begin(&m);
    for (int r = 0; r < meeting->size; r++)
        links_out[r] = (struct shmrt_link){.socket = -1, .memfd = -1, .poolfd = -1, .pidfd = -1};
    m.listener = meeting->size > 1 ? listen_as(meeting, error_out) : -1;
    int rc = meeting->size > 1 && m.listener < 0 ? m.listener : meet_all(&m);
    if (rc == -EADDRINUSE && m.listener < 0)
        warn_twin(&m);
    *listener_out = m.listener;
    for (int i = 0; i < m.pendings; i++)
        close(m.pending[i]);
    if (m.send_fds[2] >= 0)
        close(m.send_fds[2]);
    return rc;
}

/* @error_out: a rank that could not be told; one that is gone is seen to be gone. */
static int send_verdict(const struct shmrt_error *outcome, const struct shmrt_meeting *meeting,
                        struct shmrt_link *links, struct shmrt_error *error_out)
{
    int failed = 0;
    struct shmrt_verdict verdict = {.head = shmrt_message_head_make(SHMRT_MESSAGE_VERDICT),
                                    .code = outcome->code};
    if (outcome->code)
        snprintf(verdict.text, sizeof verdict.text, "%s", outcome->text);
    for (int r = 0; r < meeting->size; r++) {
        if (links[r].socket < 0)
            continue;
        /* It has had our hello, even where its own is still to come. */
        int rc = shmrt_message_send(links[r].socket, &verdict, sizeof verdict, NULL, 0);
        if (rc && rc != -EPIPE && rc != -ECONNRESET && !failed)
            failed = shmrt_error_set(error_out, rc, "telling rank %d how it went here failed: %s",
                                     r, strerror(-rc));
    }
    return failed;
}

/*
 * Behind a good verdict there may already be a bad one, of a rank that heard of another's failure
 * or came to its deadline while this one was busy. It has gone, so this one must not go on.
 */
static int look_once_more(struct shmrt_meet *m)
{
    int rc = 0;
    for (int r = 0; r < m->meeting->size && rc == 0; r++)
        if (m->links[r].socket >= 0 && !m->links[r].done &&
            shmrt_message_peek(m->links[r].socket) == SHMRT_MESSAGE_VERDICT)
            rc = read_link(m, r);
    return rc;
}

int shmrt_rendezvous_agree(const struct shmrt_meeting *meeting, const struct shmrt_error *outcome,
                           struct shmrt_link *links, struct shmrt_error *error_out)
{
    struct shmrt_error failure = *outcome;
    struct shmrt_meet m = {.meeting = meeting,
                           .links = links,
                           .error_out = &failure,
                           .listener = -1,
                           .agreeing = true};
    int rc = send_verdict(outcome, meeting, links, outcome->code ? NULL : &failure);
    bool was_good = outcome->code == 0;
    while (was_good && rc == 0 && any_missing(&m, true)) {
        rc = poll_once(&m, SHMRT_LAST_RETRY_NS);
        if (rc == 0)
            rc = check_clock(&m, true);
    }
    if (was_good && rc == 0)
        rc = look_once_more(&m);
    if (was_good && rc) /* a rank that believed our first verdict has to hear of it */
        (void)send_verdict(&failure, meeting, links, NULL);
    rc = failure.code;
    if (rc && error_out)
        *error_out = failure;
    return rc;
}

void shmrt_links_close(struct shmrt_link *links, int size, bool bye)
{
    struct shmrt_message_head goodbye = shmrt_message_head_make(SHMRT_MESSAGE_BYE);
    for (int r = 0; r < size; r++) {
        if (bye && links[r].socket >= 0)
            shmrt_message_send(links[r].socket, &goodbye, sizeof goodbye, NULL, 0);
        int *const fds[] = {&links[r].socket, &links[r].memfd, &links[r].poolfd, &links[r].pidfd};
        for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) {
            if (*fds[i] >= 0)
                close(*fds[i]);
            *fds[i] = -1;
        }
    }
}
