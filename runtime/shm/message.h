/* SPDX-License-Identifier: Apache-2.0 */
/* message.h - what ranks say to each other over their sockets (L1) */
#ifndef SHMRT_MESSAGE_H
#define SHMRT_MESSAGE_H

#include "base/options.h"

#define SHMRT_MESSAGE_MAGIC UINT64_C(0x31676d74726d6873) /* "shmrtmg1", little-endian */

enum {
    SHMRT_PROTOCOL_VERSION = 5, /* messages, and the segment's layout and flags */
    SHMRT_JOB_BYTES = 256,
    SHMRT_VERSION_BYTES = 16,
    SHMRT_MESSAGE_FDS = 3,
    SHMRT_NOTICES_MOST = 4,
};

/* Why a rank that meets the others has no shared memory to show. */
enum shmrt_absent {
    SHMRT_PRESENT,
    SHMRT_SWITCHED_OFF, /* by SHMRT_DISABLE */
    SHMRT_IN_TROUBLE,   /* it could not be had; the verdict says why */
};

enum shmrt_message_kind { SHMRT_MESSAGE_HELLO = 1, SHMRT_MESSAGE_VERDICT, SHMRT_MESSAGE_BYE };

struct shmrt_message_head {
    uint64_t magic;
    uint32_t kind;
    uint32_t protocol;
};

/* First message each way. Carries the segment's descriptor, then the pool's if there is one, then a
 * pidfd where the kernel has them; of an absent rank, nothing. What is compared is in
 * hello.h. */
struct shmrt_hello {
    /* Up to and with version the same in every protocol from 4 on, whatever follows: ranks of
     * different versions can then name each other. */
    struct shmrt_message_head head;
    int32_t rank;
    int32_t size;
    int32_t pid; /* as its own PID namespace numbers it; for messages only */
    uint32_t membarrier;
    char version[SHMRT_VERSION_BYTES];
    uint64_t absent; /* enum shmrt_absent */
    uint64_t segment_bytes;
    uint64_t pool_bytes; /* 0: no pool, and no descriptor of one */
    uint64_t chunk_bytes;
    uint64_t oneshot_max_bytes;
    uint64_t lanes;
    uint64_t tuning[3];  /* of rank 0: one-shot, exchange and lane bytes */
    uint64_t tuned;      /* of rank 0: enum shmrt_tuned */
    int64_t group;       /* equal for ranks that are near each other; SHMRT_GROUP_UNKNOWN */
    uint64_t rank_order; /* 1: this rank wants terms combined in rank order */
    char groups[SHMRT_GROUPS_BYTES];      /* SHMRT_GROUPS, which has to be the same */
    uint64_t notices[SHMRT_NOTICES_MOST]; /* hashes of warnings that wait; 0: none */
    /* Used in builds with SHMRT_SHARE_MAPPINGS: addresses of the segment and the struct of the pool
     */
    uint64_t mapping;
    uint64_t pool_mapping;
    char job[SHMRT_JOB_BYTES];
};

/* Whether the sender can go on; code 0 or a negative errno with its reason. */
struct shmrt_verdict {
    struct shmrt_message_head head;
    int32_t code;
    char text[SHMRT_ERROR_TEXT_BYTES];
};

union shmrt_message {
    struct shmrt_message_head head;
    struct shmrt_hello hello;
    struct shmrt_verdict verdict;
};

/** A received message; descriptors that were not sent are -1. */
struct shmrt_received {
    union shmrt_message message;
    int fds[SHMRT_MESSAGE_FDS];
};

/** Whether a hello is another version's: of that, what comes after version is zero. */
static inline bool shmrt_hello_is_foreign(const struct shmrt_hello *hello)
{
    return hello->head.protocol != SHMRT_PROTOCOL_VERSION;
}

/** Head of a message of this library. */
struct shmrt_message_head shmrt_message_head_make(enum shmrt_message_kind kind);

/**
 * shmrt_message_send - send one whole message, with @n descriptors (-1 entries are left out)
 *
 * Never blocks and never raises SIGPIPE. Return: 0 or -errno (-EPIPE: the peer is gone).
 */
int shmrt_message_send(int socket, const void *message, size_t bytes, const int *fds, int n);

/**
 * shmrt_message_receive - receive one message, if one is there
 *
 * Every byte is taken as hostile: anything but a message of the right magic, kind and length is
 * -EBADMSG, and no descriptor of it stays open. A hello of another protocol may have any length
 * from its version on, and is stripped of its descriptors.
 * Return: 0, -EAGAIN (nothing yet), -ENODATA (the peer closed), -EBADMSG, -EMFILE (descriptors
 * were lost to RLIMIT_NOFILE), or another negative errno.
 */
int shmrt_message_receive(int socket, struct shmrt_received *out) SHMRT_WARN_UNUSED;

/**
 * shmrt_message_peek - the kind of the next message, which stays where it is
 *
 * Return: enum shmrt_message_kind, -EAGAIN (nothing yet), -ENODATA (closed) or -EBADMSG.
 */
int shmrt_message_peek(int socket) SHMRT_WARN_UNUSED;

/** Close the descriptors of a message that nobody takes over. */
void shmrt_received_close(struct shmrt_received *received);

#endif
