/* SPDX-License-Identifier: Apache-2.0 */
/*
 * name_list.c - sock_diag, which knows the sockets of this network namespace and whose they are;
 * where it is not to be had /proc/net/unix, which has a line for each.
 *
 * Anybody can put any name there, line feeds included, and as many as he has descriptors: what is
 * found is only something to try.
 */
#include "name_list.h"

#include "base/clock.h"

#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef UDIAG_SHOW_UID
#define UDIAG_SHOW_UID 0x40 /* Linux 5.3; the kernel's headers may be older */
#endif
enum {
    DIAG_UID = 7 /* UNIX_DIAG_UID */,
    LISTENING = 1 << 10 /* TCP_LISTEN */,
    ACCEPTS_CONNECTIONS = 0x10000 /* __SO_ACCEPTCON */,
    READS_MOST = 4096, /* half a million sockets */
};

/* @uid: NULL where the kernel is too old to tell. Return: whether to go on. */
typedef bool (*visit_socket)(const char *name, size_t bytes, const uid_t *uid, void *arg);

static const char *find_part(const struct nlmsghdr *message, int type, size_t *bytes_out)
{
    size_t at = NLMSG_LENGTH(sizeof(struct unix_diag_msg));
    while (at + sizeof(struct nlattr) <= message->nlmsg_len) {
        struct nlattr part;
        memcpy(&part, (const char *)message + at, sizeof part);
        if (part.nla_len < sizeof part || at + part.nla_len > message->nlmsg_len)
            return NULL;
        *bytes_out = part.nla_len - sizeof part;
        if (part.nla_type == type)
            return (const char *)message + at + sizeof part;
        at += NLA_ALIGN(part.nla_len);
    }
    return NULL;
}

/* Return: whether to go on. */
static bool show_socket(const struct nlmsghdr *message, visit_socket visit, void *arg)
{
    size_t name_bytes = 0, uid_bytes = 0;
    uid_t uid;
    const char *name = find_part(message, UNIX_DIAG_NAME, &name_bytes);
    const char *owner = find_part(message, DIAG_UID, &uid_bytes);
    if (!name || name_bytes == 0 || name[0] != '\0') /* not an abstract one */
        return true;
    bool is_known = owner && uid_bytes == sizeof uid;
    if (is_known)
        memcpy(&uid, owner, sizeof uid);
    return visit(name + 1, name_bytes - 1, is_known ? &uid : NULL, arg);
}

static bool ask_for_sockets(int fd, uint32_t states)
{
    const struct {
        struct nlmsghdr head;
        struct unix_diag_req body;
    } question = {
        .head = {.nlmsg_len = sizeof question,
                 .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
        .body = {.sdiag_family = AF_UNIX,
                 .udiag_states = states,
                 .udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_UID},
    };
    return send(fd, &question, sizeof question, 0) == (ssize_t)sizeof question;
}

/* Return: whether the kernel has told all of them, or as much as the visitor wanted. */
static bool visit_sockets(uint32_t states, visit_socket visit, void *arg)
{
    _Alignas(struct nlmsghdr) char answer[32768]; /* no dump has larger pieces */
    bool good = false, more = true;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    if (fd < 0)
        return false;
    more = ask_for_sockets(fd, states);
    for (int i = 0; more && i < READS_MOST; i++) {
        /* The kernel makes the next piece before recv() returns: nothing to wait for. */
        ssize_t got = recv(fd, answer, sizeof answer, MSG_DONTWAIT);
        size_t left = got > 0 ? (size_t)got : 0;
        const struct nlmsghdr *message = (const void *)answer;
        more = left > 0;
        for (; more && NLMSG_OK(message, left); message = NLMSG_NEXT(message, left)) {
            good = message->nlmsg_type == NLMSG_DONE || message->nlmsg_type == SOCK_DIAG_BY_FAMILY;
            more = message->nlmsg_type == SOCK_DIAG_BY_FAMILY && show_socket(message, visit, arg);
        }
    }
    close(fd);
    return good;
}

/* What a reading keeps of what it is shown. */
struct reading {
    struct shmrt_name_list *list;
    const char *stem;
    uint64_t seen, random;
};

/* Each of those that have been seen is as likely to be kept. */
static int choose_place(struct reading *reading)
{
    uint64_t place = reading->seen++;
    if (place >= SHMRT_NAMES_MOST) {
        reading->random = reading->random * UINT64_C(6364136223846793005) + 1;
        place = (reading->random >> 32) % reading->seen;
    }
    return place < SHMRT_NAMES_MOST ? (int)place : -1;
}

static bool keep_name(const char *name, size_t bytes, const uid_t *uid, void *arg)
{
    struct reading *reading = arg;
    struct shmrt_name_list *list = reading->list;
    size_t stem_bytes = strlen(reading->stem);
    if ((uid && *uid != geteuid()) || bytes < stem_bytes + 2 || bytes >= SHMRT_NAME_BYTES ||
        memcmp(name, reading->stem, stem_bytes) != 0 || name[bytes - 2] == '/' ||
        memchr(name, '\0', bytes))
        return true;
    int place = choose_place(reading);
    if (place >= 0) {
        memcpy(list->names[place], name, bytes);
        list->names[place][bytes] = '\0';
        list->n = place >= list->n ? place + 1 : list->n;
    }
    return true;
}

/* The abstract name in a line of /proc/net/unix if somebody listens there, or NULL. */
static const char *find_name(char *line)
{
    unsigned flags;
    int end = 0;
    line[strcspn(line, "\n")] = '\0';
    if (sscanf(line, "%*s %*x %*x %x %*x %*x %*u %n", &flags, &end) != 1 || !end)
        return NULL;
    return (flags & ACCEPTS_CONNECTIONS) && line[end] == '@' ? line + end + 1 : NULL;
}

static void read_file(struct reading *reading)
{
    char *line = NULL;
    size_t room = 0;
    FILE *file = fopen("/proc/net/unix", "re");
    if (!file)
        return;
    while (getline(&line, &room, file) > 0) {
        const char *name = find_name(line);
        if (name)
            keep_name(name, strlen(name), NULL, reading);
    }
    free(line);
    fclose(file);
}

void shmrt_name_list_read(struct shmrt_name_list *list, const char *stem)
{
    struct reading reading = {.list = list, .stem = stem};
    list->n = 0;
    if (getrandom(&reading.random, sizeof reading.random, GRND_NONBLOCK) < 0)
        reading.random = (uint64_t)shmrt_now_ns(); /* who waits is to try others each time */
    if (visit_sockets(LISTENING, keep_name, &reading))
        return;
    list->n = 0;
    reading.seen = 0;
    read_file(&reading);
}

struct question {
    const char *name;
    uid_t *uid_out;
    bool answered;
};

static bool find_owner(const char *name, size_t bytes, const uid_t *uid, void *arg)
{
    struct question *question = arg;
    if (bytes != strlen(question->name) || memcmp(name, question->name, bytes) != 0)
        return true;
    if (uid)
        *question->uid_out = *uid;
    question->answered = uid != NULL;
    return false;
}

bool shmrt_name_owner(const char *name, uid_t *uid_out)
{
    struct question question = {.name = name, .uid_out = uid_out};
    (void)visit_sockets(UINT32_MAX, find_owner, &question);
    return question.answered;
}
