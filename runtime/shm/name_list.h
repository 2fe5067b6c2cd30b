/* SPDX-License-Identifier: Apache-2.0 */
/* name_list.h - the abstract names at which somebody listens, of any user of the machine (L1) */
#ifndef SHMRT_NAME_LIST_H
#define SHMRT_NAME_LIST_H

#include "rendezvous_name.h"

#include <stdio.h>
#include <sys/types.h>

struct shmrt_name_list {
    FILE *file;
    const char *stem;
    char *line;
    size_t room;
};

/** Those that begin with @stem, which has to live as long as @list; false without /proc. */
bool shmrt_name_list_open(struct shmrt_name_list *list, const char *stem);

/** The next one, without the zero byte in front; false at the end. */
bool shmrt_name_list_next(struct shmrt_name_list *list, char name_out[SHMRT_NAME_BYTES]);

void shmrt_name_list_close(struct shmrt_name_list *list);

/** The user who has bound @name, also one who does not listen there; false where nobody tells. */
bool shmrt_name_owner(const char *name, uid_t *uid_out);

#endif
