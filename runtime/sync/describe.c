/* SPDX-License-Identifier: Apache-2.0 */
/* describe.c - a call in words, for messages. */
#include "sync.h"

#include <inttypes.h>
#include <stdio.h>

const char *shmrt_call_describe(const struct shmrt_call_context *context,
                                char out[SHMRT_CALL_TEXT_BYTES])
{
    const struct shmrt_call *call = &context->call;
    const char *dtype = shmrt_dtype_name((enum shmrt_dtype)call->dtype);
    const char *op = shmrt_op_name((enum shmrt_op)call->op);
    if (call->collective == SHMRT_BARRIER)
        snprintf(out, SHMRT_CALL_TEXT_BYTES, "barrier #%" PRIu64, context->epoch);
    else
        snprintf(out, SHMRT_CALL_TEXT_BYTES, "all-reduce #%" PRIu64 " (%s of %" PRIu64 " %s)",
                 context->epoch, op ? op : "?", call->count, dtype ? dtype : "?");
    return out;
}
