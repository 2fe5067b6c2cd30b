/* SPDX-License-Identifier: Apache-2.0 */
/*
 * name_list.c - /proc/net/unix, which has the sockets of this network namespace, a line each; and
 * sock_diag, which knows whose they are.
 *
 * Anybody can put any name there, line feeds included: what is found is only something to try.
 */
#include "name_list.h"

#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef UDIAG_SHOW_UID
#define UDIAG_SHOW_UID 0x40 /* Linux 5.3; the kernel's headers may be older */
#endif
enum { DIAG_UID = 7 /* UNIX_DIAG_UID */, ACCEPTS_CONNECTIONS = 0x10000 /* __SO_ACCEPTCON */ };

bool shmrt_name_list_open(struct shmrt_name_list *list, const char *stem)
{
    *list = (struct shmrt_name_list){.file = fopen("/proc/net/unix", "re"), .stem = stem};
    return list->file != NULL;
}

/* The abstract name in a line, or NULL. */
static char *find_name(char *line, unsigned *flags_out, unsigned *inode_out)
{
    int end = 0;
    line[strcspn(line, "\n")] = '\0';
    if (sscanf(line, "%*s %*x %*x %x %*x %*x %u %n", flags_out, inode_out, &end) != 2 || !end)
        return NULL;
    return line[end] == '@' ? line + end + 1 : NULL;
}

bool shmrt_name_list_next(struct shmrt_name_list *list, char name_out[SHMRT_NAME_BYTES])
{
    unsigned flags, inode;
    while (getline(&list->line, &list->room, list->file) > 0) {
        const char *name = find_name(list->line, &flags, &inode);
        if (name && (flags & ACCEPTS_CONNECTIONS) &&
            strncmp(name, list->stem, strlen(list->stem)) == 0 &&
            snprintf(name_out, SHMRT_NAME_BYTES, "%s", name) < SHMRT_NAME_BYTES)
            return true;
    }
    return false;
}

void shmrt_name_list_close(struct shmrt_name_list *list)
{
    free(list->line);
    fclose(list->file);
}

/* The inode of the socket that holds @name; 0 when there is none. */
static unsigned find_inode(const char *name)
{
    struct shmrt_name_list list;
    unsigned flags, inode, found = 0;
    if (!shmrt_name_list_open(&list, name))
        return 0;
    while (!found && getline(&list.line, &list.room, list.file) > 0) {
        const char *held = find_name(list.line, &flags, &inode);
        if (held && strcmp(held, name) == 0)
            found = inode;
    }
    shmrt_name_list_close(&list);
    return found;
}

/* The uid in an answer of sock_diag. */
static bool read_uid(const struct nlmsghdr *answer, size_t bytes, uid_t *uid_out)
{
    size_t at = NLMSG_LENGTH(sizeof(struct unix_diag_msg));
    if (!NLMSG_OK(answer, bytes) || answer->nlmsg_type != SOCK_DIAG_BY_FAMILY)
        return false;
    while (at + sizeof(struct nlattr) <= answer->nlmsg_len) {
        struct nlattr part;
        memcpy(&part, (const char *)answer + at, sizeof part);
        if (part.nla_len < sizeof part || at + part.nla_len > answer->nlmsg_len)
            return false;
        if (part.nla_type == DIAG_UID && part.nla_len == sizeof part + sizeof *uid_out) {
            memcpy(uid_out, (const char *)answer + at + sizeof part, sizeof *uid_out);
            return true;
        }
        at += NLA_ALIGN(part.nla_len);
    }
    return false;
}

bool shmrt_name_owner(const char *name, uid_t *uid_out)
{
    struct {
        struct nlmsghdr head;
        struct unix_diag_req body;
    } question = {
        .head = {.nlmsg_len = sizeof question,
                 .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                 .nlmsg_flags = NLM_F_REQUEST},
        .body = {.sdiag_family = AF_UNIX,
                 .udiag_states = UINT32_MAX,
                 .udiag_ino = find_inode(name),
                 .udiag_show = UDIAG_SHOW_UID,
                 .udiag_cookie = {UINT32_MAX, UINT32_MAX}},
    };
    _Alignas(struct nlmsghdr) char answer[1024];
    if (question.body.udiag_ino == 0)
        return false;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    if (fd < 0)
        return false;
    ssize_t got = -1; /* the kernel answers before send() returns */
    if (send(fd, &question, sizeof question, 0) == (ssize_t)sizeof question)
        got = recv(fd, answer, sizeof answer, MSG_DONTWAIT);
    close(fd);
    return got > 0 && read_uid((const struct nlmsghdr *)(const void *)answer, (size_t)got, uid_out);
}
