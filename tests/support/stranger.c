/* SPDX-License-Identifier: Apache-2.0 */
/* stranger.c - the part of a meeting that rank 0 has in it, with messages alone. */
#include "stranger.h"

#include "comm.h"
#include "shm/rendezvous_name.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

enum { ANSWER_MS = 60000 };

int stranger_memfd(unsigned flags, size_t bytes, int seals)
{
    int fd = memfd_create("shown", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
    if (fd >= 0 && ftruncate(fd, (off_t)bytes) == 0 && fcntl(fd, F_ADD_SEALS, seals) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static int listen_as_first(const char *job)
{
    const struct shmrt_logger silence = {0};
    char key[SHMRT_JOB_BYTES];
    assert_int_equal(shmrt_job_key(job, NULL, key, NULL), 0);
    int listener = shmrt_name_listen(key, 0, &silence, NULL);
    assert_true(listener >= 0);
    return listener;
}

/* The hello of who comes, without what it shows. */
static void hear_hello(int listener, struct pollfd *peer_out, struct shmrt_received *out)
{
    struct pollfd door = {.fd = listener, .events = POLLIN};
    int rc;
    assert_int_equal(poll(&door, 1, ANSWER_MS), 1);
    *peer_out = (struct pollfd){.fd = shmrt_name_accept(listener), .events = POLLIN};
    assert_true(peer_out->fd >= 0);
    do {
        assert_int_equal(poll(peer_out, 1, ANSWER_MS), 1);
        rc = shmrt_message_receive(peer_out->fd, out);
    } while (rc == -EAGAIN);
    assert_int_equal(rc, 0);
    shmrt_received_close(out);
}

void stranger_answer(const char *job, const int shown[2], void (*change)(struct shmrt_hello *hello))
{
    const struct shmrt_verdict verdict = {.head = shmrt_message_head_make(SHMRT_MESSAGE_VERDICT)};
    struct shmrt_received got;
    struct pollfd peer;
    int listener = listen_as_first(job);
    hear_hello(listener, &peer, &got);
    struct shmrt_hello *hello = &got.message.hello;
    hello->rank = 0;
    if (change)
        change(hello);
    assert_true(shown[0] >= 0 && shown[1] >= 0);
    assert_int_equal(shmrt_message_send(peer.fd, hello, sizeof *hello, shown, 2), 0);
    (void)shmrt_message_send(peer.fd, &verdict, sizeof verdict, NULL, 0); /* may be gone already */
    close(shown[0]);
    close(shown[1]);
    (void)poll(&peer, 1, ANSWER_MS);
    close(peer.fd);
    shmrt_name_close(listener);
}
