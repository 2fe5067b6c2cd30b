/* SPDX-License-Identifier: Apache-2.0 */
/* describe.c - a call in words, for messages. */
#include "sync.h"

#include <inttypes.h>
#include <stdio.h>

static bool is_reduction(const struct shmrt_call *call)
{
    return call->collective == SHMRT_ALLREDUCE || call->collective == SHMRT_REDUCE ||
           call->collective == SHMRT_REDUCE_SCATTER;
}

/* ", root 2", ", to rank 2": what the one rank is that the call names; empty when it names none. */
static const char *role_of_root(const struct shmrt_call *call)
{
    switch (call->collective) {
    case SHMRT_BROADCAST:
    case SHMRT_REDUCE:
    case SHMRT_GATHER:
    case SHMRT_SCATTER:
        return ", root ";
    case SHMRT_SEND:
        return ", to rank ";
    case SHMRT_RECV:
        return ", from rank ";
    default:
        return "";
    }
}

const char *shmrt_call_describe(const struct shmrt_call_context *context,
                                char out[SHMRT_CALL_TEXT_BYTES])
{
    const struct shmrt_call *call = &context->call;
    const char *name = shmrt_collective_name((enum shmrt_collective)call->collective);
    const char *dtype = shmrt_dtype_name((enum shmrt_dtype)call->dtype);
    const char *op = shmrt_op_name((enum shmrt_op)call->op);
    const char *role = role_of_root(call);
    char root[8] = "", rows[32] = "";
    name = name ? name : "unknown collective";
    if (*role)
        snprintf(root, sizeof root, "%d", call->root);
    if (call->collective == SHMRT_ALLREDUCE && call->shape)
        snprintf(rows, sizeof rows, ", rows of %" PRIu32, call->shape);
    if (call->collective == SHMRT_CALL_PROBE)
        snprintf(out, SHMRT_CALL_TEXT_BYTES, "a probe for messages of rank %d", call->root);
    else if (call->collective == SHMRT_CALL_SPLIT)
        snprintf(out, SHMRT_CALL_TEXT_BYTES, "a split (after #%" PRIu64 ")", context->epoch);
    else if (call->collective == SHMRT_BARRIER)
        snprintf(out, SHMRT_CALL_TEXT_BYTES, "%s #%" PRIu64, name, context->epoch);
    else
        snprintf(out, SHMRT_CALL_TEXT_BYTES, "%s #%" PRIu64 " (%s%s%" PRIu64 " %s%s%s%s)", name,
                 context->epoch, is_reduction(call) && op ? op : "",
                 is_reduction(call) ? " of " : "", call->count, dtype ? dtype : "?", role, root,
                 rows);
    return out;
}
