/* SPDX-License-Identifier: Apache-2.0 */
/* name_list.h - the abstract names at which somebody listens, of any user of the machine (L1) */
#ifndef SHMRT_NAME_LIST_H
#define SHMRT_NAME_LIST_H

#include "rendezvous_name.h"

#include <sys/types.h>

enum { SHMRT_NAMES_MOST = 128 }; /* more than a job has ranks; so many are tried at most */

struct shmrt_name_list {
    int n;
    char names[SHMRT_NAMES_MOST][SHMRT_NAME_BYTES]; /* without the zero byte in front */
};

/**
 * shmrt_name_list_read - where somebody listens: names that begin with @stem, but for those whose
 * last part is one character, which are agreed on
 *
 * Only those of this user; where the kernel does not tell whose they are, those of all, and if
 * these are more than fit, some of them, chosen anew each time. Connects to nobody.
 */
void shmrt_name_list_read(struct shmrt_name_list *list, const char *stem);

/** The user who has bound @name, also one who does not listen there; false where nobody tells. */
bool shmrt_name_owner(const char *name, uid_t *uid_out);

#endif
