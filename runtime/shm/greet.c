/* SPDX-License-Identifier: Apache-2.0 */
/*
 * greet.c - the first words between ranks that meet: a rank calls the lower ones, lets in whoever
 * comes, and answers a hello with its own.
 */
#include "greet.h"

#include "base/clock.h"
#include "hello.h"
#include "name_list.h"
#include "rendezvous_name.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum {
    FIRST_RETRY_NS = 200000,
    BUSY_RETRY_NS = 1000000, /* where others crowd a rank's door */
    /* Looks at the list of all names: soon where strangers hold a rank's, else after a while, then
     * ever more seldom, but so that one that comes late, to names that are held, meets in a second.
     */
    HELD_LOOK_NS = 10000000,
    FIRST_LOOK_NS = 300000000,
    LAST_LOOK_NS = 800000000,
};

void shmrt_greet_begin(struct shmrt_meet *m)
{
    m->retry_ns = FIRST_RETRY_NS;
    m->look_at_ns = shmrt_now_ns() + FIRST_LOOK_NS;
    m->look_ns = FIRST_LOOK_NS;
}

int shmrt_greet_cannot_send(struct shmrt_meet *m, int code)
{
    return shmrt_error_set(m->error_out, code, "sending a segment to another rank failed: %s",
                           strerror(-code));
}

/* -EPIPE, -ECONNRESET: the peer is gone, which its socket tells too; -EPERM: it has not seen yet
 * whose connection this is, and takes no descriptors; -ETOOMANYREFS: this user has too many on
 * their way, to processes that have not run yet; anything else gets words. */
static int send_hello(struct shmrt_meet *m, int socket)
{
    int rc = shmrt_message_send(socket, m->mine, sizeof *m->mine, m->send_fds, SHMRT_MESSAGE_FDS);
    if (rc && rc != -EPIPE && rc != -ECONNRESET && rc != -EPERM && rc != -ETOOMANYREFS)
        shmrt_greet_cannot_send(m, rc);
    return rc == -ECONNRESET ? -EPIPE : rc;
}

bool shmrt_greet_is_hello(const struct shmrt_received *received)
{
    const struct shmrt_hello *hello = &received->message.hello;
    return hello->head.kind == SHMRT_MESSAGE_HELLO &&
           (received->fds[0] >= 0 || hello->absent || shmrt_hello_is_foreign(hello));
}

/* Our hello to a rank that has said its own, so has let us in, and has to hear why we give up. */
static int answer(struct shmrt_meet *m, int rank, struct shmrt_link *link)
{
    int rc = send_hello(m, link->socket);
    link->greeted = rc != -ETOOMANYREFS; /* else it comes later */
    if (rc == -EPERM)
        return shmrt_error_set(m->error_out, rc, "sending a segment to rank %d failed: %s", rank,
                               strerror(-rc));
    return rc == -EPIPE || rc == -ETOOMANYREFS ? 0 : rc;
}

int shmrt_greet_take(struct shmrt_meet *m, struct shmrt_link *link, struct shmrt_received *received)
{
    int rc = link->greeted ? 0 : answer(m, received->message.hello.rank, link);
    link->hello = received->message.hello;
    link->hello.version[sizeof link->hello.version - 1] = '\0';
    link->hello.job[SHMRT_JOB_BYTES - 1] = '\0';
    link->memfd = received->fds[0];
    bool has_pool = link->hello.pool_bytes != 0;
    link->poolfd = has_pool ? received->fds[1] : -1;
    link->pidfd = received->fds[has_pool ? 2 : 1];
    if (!has_pool && received->fds[2] >= 0) /* more than was announced */
        close(received->fds[2]);
    link->met = true;
    int differs = shmrt_hello_compare(m->mine, &link->hello, m->error_out);
    return differs ? differs : rc;
}

int shmrt_greet_descriptors_lost(struct shmrt_meet *m)
{
    return shmrt_error_set(m->error_out, -EMFILE,
                           "no descriptor was left to take a segment: %d ranks need about %d open "
                           "files; raise `ulimit -n`",
                           m->meeting->size, 5 * m->meeting->size);
}

static void drop_pending(struct shmrt_meet *m, int i)
{
    memmove(m->pending + i, m->pending + i + 1,
            (size_t)(--m->pendings - i) * sizeof *m->pending); /* the first stays the oldest */
}

static int claimed_twice(struct shmrt_meet *m, const struct shmrt_hello *hello)
{
    return shmrt_error_set(m->error_out, -EADDRINUSE,
                           "rank %d of job \"%s\" was also started as pid %d: two jobs share this "
                           "key, or two ranks this number; give each job its own MASTER_PORT or "
                           "SHMRT_JOB",
                           m->meeting->rank, m->meeting->job, hello->pid);
}

int shmrt_greet_pending(struct shmrt_meet *m, int i)
{
    struct shmrt_received received;
    int socket = m->pending[i];
    int rc = shmrt_message_receive(socket, &received);
    if (rc == -EAGAIN)
        return 0;
    drop_pending(m, i);
    if (rc == -EMFILE) {
        close(socket);
        return shmrt_greet_descriptors_lost(m);
    }
    const struct shmrt_hello *hello = &received.message.hello;
    bool is_any = rc == 0 && hello->head.kind == SHMRT_MESSAGE_HELLO;
    bool in_range = is_any && hello->rank >= 0 && hello->rank < SHMRT_MAX_RANKS;
    bool is_twin = in_range && hello->rank == m->meeting->rank; /* brings no descriptors */
    if (!in_range || !shmrt_greet_is_hello(&received) ||
        (hello->rank < m->meeting->size &&
         (hello->rank <= m->meeting->rank || m->links[hello->rank].socket >= 0))) {
        if (rc == 0)
            shmrt_received_close(&received);
        close(socket);
        return is_twin ? claimed_twice(m, hello) : 0;
    }
    if (hello->rank >= m->meeting->size) { /* it hears our hello, so that it can say why, too */
        struct shmrt_link stranger = {.socket = socket};
        rc = shmrt_greet_take(m, &stranger, &received);
        shmrt_links_close(&stranger, 1, false);
        return rc;
    }
    struct shmrt_link *link = &m->links[hello->rank];
    link->socket = socket;
    return shmrt_greet_take(m, link, &received);
}

/* Who has said nothing for longest makes place for the next, and may come again. */
static void add_pending(struct shmrt_meet *m, int socket)
{
    if (m->pendings == SHMRT_MAX_PENDING) {
        close(m->pending[0]);
        drop_pending(m, 0);
    }
    m->pending[m->pendings++] = socket;
}

int shmrt_greet_accept(struct shmrt_meet *m)
{
    int socket = 0;
    for (int i = 0; i < SHMRT_MAX_PENDING && (socket = shmrt_name_accept(m->listener)) >= 0; i++)
        add_pending(m, socket);
    if (socket == -EMFILE || socket == -ENFILE)
        return shmrt_greet_descriptors_lost(m);
    if (socket < 0 && socket != -EAGAIN) /* whoever is at the door is still there then */
        m->accept_at_ns = shmrt_now_ns() + SHMRT_LAST_RETRY_NS;
    return 0;
}

static int refuse(struct shmrt_meet *m, int rank, int code)
{
    return shmrt_error_set(m->error_out, code, "connecting to rank %d failed: %s", rank,
                           strerror(-code));
}

/* Return: 0, also where @rank is not there yet, or an error that ends the meeting. */
static int call_rank(struct shmrt_meet *m, int rank, const struct shmrt_name_list *list)
{
    struct shmrt_link *link = &m->links[rank];
    int socket = link->socket;
    if (socket < 0)
        socket = shmrt_name_connect(m->meeting->job, rank, list);
    if (socket == -EAGAIN && m->retry_ns > BUSY_RETRY_NS)
        m->retry_ns = BUSY_RETRY_NS;
    if ((socket == -EACCES || socket == -EAGAIN) && !m->held) {
        m->held = true;
        m->look_at_ns = 0;
        m->look_ns = HELD_LOOK_NS;
    }
    if (socket < 0)
        return socket == -ECONNREFUSED || socket == -EACCES || socket == -EAGAIN
                   ? 0
                   : refuse(m, rank, socket);
    int rc = send_hello(m, socket);
    int64_t soon_ns = link->socket < 0 ? FIRST_RETRY_NS : BUSY_RETRY_NS;
    if (rc == -EPERM && m->retry_ns > soon_ns) /* it is going to let us in when it next runs */
        m->retry_ns = soon_ns;
    if (rc == 0 || rc == -EPERM || rc == -ETOOMANYREFS) {
        link->socket = socket;
        link->greeted = rc == 0;
        return 0;
    }
    close(socket);
    link->socket = -1;
    return rc == -EPIPE || rc == -EAGAIN ? 0 : rc;
}

/* Connects to the lower ranks that are not connected yet, and sends hellos that are still due. */
static int call_ranks(struct shmrt_meet *m, int64_t now_ns)
{
    struct shmrt_name_list list;
    bool looks = false;
    int rc = 0;
    for (int r = 0; r < m->meeting->rank && rc == 0; r++) {
        if (m->links[r].socket < 0 && !looks && now_ns >= m->look_at_ns) {
            looks = true; /* once for all ranks */
            shmrt_name_look(m->meeting->job, &list);
            m->look_at_ns = shmrt_now_ns() + m->look_ns;
            m->look_ns = m->look_ns * 2 < LAST_LOOK_NS ? m->look_ns * 2 : LAST_LOOK_NS;
        }
        if (m->links[r].socket < 0 || (!m->links[r].greeted && !m->links[r].met))
            rc = call_rank(m, r, looks ? &list : NULL);
    }
    for (int r = 0; r < m->meeting->size && rc == 0; r++)
        if (m->links[r].met && !m->links[r].greeted)
            rc = answer(m, r, &m->links[r]);
    return rc;
}

int shmrt_greet_ranks(struct shmrt_meet *m, int64_t now_ns)
{
    if (now_ns < m->retry_at_ns)
        return 0;
    int rc = call_ranks(m, now_ns);
    m->retry_at_ns = now_ns + m->retry_ns;
    m->retry_ns = m->retry_ns * 2 < SHMRT_LAST_RETRY_NS ? m->retry_ns * 2 : SHMRT_LAST_RETRY_NS;
    return rc;
}
