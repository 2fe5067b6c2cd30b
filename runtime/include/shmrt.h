/* SPDX-License-Identifier: Apache-2.0 */
/**
 * shmrt.h - collectives between the processes of one machine, through shared memory
 *
 * A communicator joins `size` ranks, which may be processes or threads of one process. Every rank
 * creates it with the same job key, then all make the same collective calls in the same order.
 *
 * Errors, for every function that returns int: 0, or a negative errno value. The text that goes
 * with it (which value, which limit, what to do) is in the `struct shmrt_error` passed to
 * shmrt_comm_create(), and afterwards in shmrt_comm_error(). The library never prints, exits or
 * aborts, and keeps no global state.
 *
 *   -EINVAL, -ENOTSUP   refused before anything was shared; the communicator stays usable
 *   -ENOMEM             no memory; of an existing communicator: it stays usable
 *   -EPROTO             the ranks made calls that disagree; the communicator is dead
 *   -ETIMEDOUT          a rank did not come before the deadline; the communicator is dead
 *   -ECONNABORTED       a rank died, left or aborted; the communicator is dead
 *   -ECANCELED          the interrupt callback asked to stop; the communicator is dead
 *   -ENOTCONN           of shmrt_probe() only; the communicator stays usable
 *   -EBUSY              another thread is in a call on this communicator, or this is a callback of
 *                       one; refused, and nothing has changed: a request stays what it was
 *
 * A dead communicator answers every further call with the error that killed it. Destroy it; a new
 * one may be made in the same process.
 *
 * A communicator is used by one thread at a time, but for shmrt_comm_abort(). A second one gets
 * -EBUSY as a rule; one that comes within the same nanoseconds, and shmrt_comm_destroy() during a
 * call, are not noticed and undefined. Different communicators are independent. After fork() the
 * child can't use its parent's; it may create its own, but with one lane only (SHMRT_LANES=1): the
 * OpenMP runtime's threads do not survive a fork.
 */
#ifndef SHMRT_H
#define SHMRT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SHMRT_VERSION_MAJOR 0
#define SHMRT_VERSION_MINOR 1
#define SHMRT_VERSION_PATCH 0

#define SHMRT_API         __attribute__((visibility("default")))
#define SHMRT_WARN_UNUSED __attribute__((warn_unused_result))

enum { SHMRT_MAX_RANKS = 64, SHMRT_ERROR_TEXT_BYTES = 512 };

/** Element types. 16-bit floats are reduced in fp32 and rounded once. */
enum shmrt_dtype {
    SHMRT_FLOAT32,
    SHMRT_FLOAT64,
    SHMRT_BFLOAT16,
    SHMRT_FLOAT16,
    SHMRT_INT8,
    SHMRT_UINT8,
    SHMRT_INT16,
    SHMRT_INT32,
    SHMRT_INT64,
    SHMRT_DTYPE_COUNT /* number of types, not a type */
};

/**
 * Reductions. Integer sums and products wrap; min and max propagate NaN; avg (the sum divided by
 * the number of ranks) is refused for integers. A NaN result is the type's canonical quiet NaN.
 */
enum shmrt_op {
    SHMRT_SUM,
    SHMRT_MIN,
    SHMRT_MAX,
    SHMRT_PROD,
    SHMRT_AVG,
    SHMRT_OP_COUNT /* number of operations, not an operation */
};

/** What ranks do together. */
enum shmrt_collective {
    SHMRT_BARRIER = 1,
    SHMRT_ALLREDUCE,
    SHMRT_BROADCAST,
    SHMRT_REDUCE,
    SHMRT_ALLGATHER,
    SHMRT_REDUCE_SCATTER,
    SHMRT_ALLTOALL,
    SHMRT_GATHER,
    SHMRT_SCATTER,
    SHMRT_SEND,
    SHMRT_RECV,
    SHMRT_COLLECTIVE_END /* one past the last */
};

/** Of a line for a person. The library itself has none for debugging; programs around it may. */
enum shmrt_log_level { SHMRT_LOG_WARNING, SHMRT_LOG_INFO, SHMRT_LOG_DEBUG };

struct shmrt_comm;
struct shmrt_request;

/** What went wrong: a negative errno value and one or two sentences for a person. */
struct shmrt_error {
    int code;
    char text[SHMRT_ERROR_TEXT_BYTES];
};

/**
 * struct shmrt_params - what a communicator is made from; zero what you do not set
 * @rank, @size: this rank and their number, 0 <= rank < size <= SHMRT_MAX_RANKS
 * @job:         job key, the same on all ranks and different for every job of the user; NULL takes
 *               SHMRT_JOB, or else what is set of MASTER_ADDR, MASTER_PORT, TORCHELASTIC_RUN_ID,
 *               TORCHELASTIC_RESTART_COUNT, SLURM_JOB_ID, SLURM_STEP_ID, PMIX_NAMESPACE, PMI_JOBID
 * @name:        tells communicators of one job apart, without a slash; NULL means "default"
 * @settings:    NULL-terminated list of "key=value" that win over the environment; keys and their
 *               ranges are those of shmrt_options_describe()
 * @log:         called with a level, one line without newline, and @log_arg; NULL: silence
 * @interrupt:   called now and then by the waiting caller's thread with @interrupt_arg; a nonzero
 *               answer ends the wait with -ECANCELED and aborts the communicator
 */
struct shmrt_params {
    int rank;
    int size;
    const char *job;
    const char *name;
    const char *const *settings;
    void (*log)(enum shmrt_log_level level, const char *line, void *arg);
    void *log_arg;
    int (*interrupt)(void *arg);
    void *interrupt_arg;
};

/** The version as "major.minor.patch". */
SHMRT_API const char *shmrt_version(void);

/**
 * shmrt_params_from_env - fill rank and size from the launcher's environment
 * @params:    rank and size are written; the rest is left alone
 * @error_out: may be NULL
 *
 * Reads, in this order and always as a pair: RANK and WORLD_SIZE (torchrun, shm-launch),
 * OMPI_COMM_WORLD_RANK and _SIZE, PMI_RANK and PMI_SIZE, SLURM_PROCID and SLURM_NTASKS.
 *
 * Return: 0, -ENOENT (no launcher's variables are set) or -EINVAL (not a number, or out of range).
 */
SHMRT_API SHMRT_WARN_UNUSED int shmrt_params_from_env(struct shmrt_params *params,
                                                      struct shmrt_error *error_out);

/**
 * shmrt_comm_create - meet the other ranks and build the communicator
 * @params:    copied; may be freed afterwards (callbacks and their arguments must stay valid)
 * @comm_out:  the communicator; untouched on failure
 * @error_out: may be NULL
 *
 * Blocks until all ranks came, at most the option rendezvous_timeout (60 s). Each rank's shared
 * memory is taken whole here, on the NUMA nodes of the calling thread's affinity: a shortage is an
 * error now, not a SIGBUS later.
 *
 * Return: 0, or -EINVAL (a bad parameter or setting), -EADDRINUSE (this rank of this job key is
 * taken), -ETIMEDOUT (ranks missing: named), -EPROTO (ranks differ in version, size or a setting:
 * named), -ECONNREFUSED (on all ranks as soon as they have met: SHMRT_DISABLE=1 on those that are
 * named), -ECONNABORTED (a rank died or failed meanwhile), -ENOMEM, or another errno of the system.
 * After a failure nothing is left behind.
 */
SHMRT_API SHMRT_WARN_UNUSED int shmrt_comm_create(const struct shmrt_params *params,
                                                  struct shmrt_comm **comm_out,
                                                  struct shmrt_error *error_out);

/**
 * shmrt_comm_destroy - leave and free; NULL is ignored
 *
 * Never blocks on other ranks: a rank that still waits for this one gets -ECONNABORTED. A process
 * that ends without it counts as dead for all that are still in a collective, also those that have
 * all they need from it.
 */
SHMRT_API void shmrt_comm_destroy(struct shmrt_comm *comm);

SHMRT_API int shmrt_comm_rank(const struct shmrt_comm *comm);
SHMRT_API int shmrt_comm_size(const struct shmrt_comm *comm);

/** The number of lanes (OpenMP threads a rank) that all ranks agreed on. */
SHMRT_API int shmrt_comm_lanes(const struct shmrt_comm *comm);

/** The kernel rung this rank reduces with, as the option kernel names it: "reference", "avx2". */
SHMRT_API const char *shmrt_comm_kernel(const struct shmrt_comm *comm);

/** The error of the last call that failed; code 0 when none has. Valid until the next call. */
SHMRT_API const struct shmrt_error *shmrt_comm_error(const struct shmrt_comm *comm);

/**
 * shmrt_comm_abort - kill the communicator on all ranks, from any thread of this one
 * @reason: one line, copied into the error of every rank
 *
 * Every wait in it, here and elsewhere, ends with -ECONNABORTED.
 */
SHMRT_API void shmrt_comm_abort(struct shmrt_comm *comm, const char *reason);

/**
 * shmrt_comm_set_timeout - how long each later call of this rank may wait for another one
 * @seconds: 0.001 to 1e7, as the option timeout has it
 *
 * Concerns this rank alone, and holds also for what it has started and waits for later. Return: 0,
 * or -EINVAL.
 */
SHMRT_API SHMRT_WARN_UNUSED int shmrt_comm_set_timeout(struct shmrt_comm *comm, double seconds);

/**
 * shmrt_comm_set_caller_only - whether later calls of this rank stay on the calling thread
 * @caller_only: true: no OpenMP region is opened, and the calling thread serves all lanes, one
 * after the other; false, as at the start: they go over the OpenMP threads
 *
 * Concerns this rank alone: the others see no difference but in speed.
 */
SHMRT_API void shmrt_comm_set_caller_only(struct shmrt_comm *comm, bool caller_only);

/**
 * shmrt_allreduce - combine a vector over all ranks
 * @comm:  every rank of it makes this call, in the same order
 * @in:    @count elements, this rank's term; may equal @out, else must not overlap it
 * @out:   @count elements, the result; any alignment
 * @count: elements, the same on all ranks; 0 moves nothing, but is a call like any other
 *
 * Blocks until every rank's term has been read. Terms are combined in rank order, or, where the
 * ranks are in several groups (see SHMRT_GROUPS), within each group in rank order and then the
 * groups' results in the order of their lowest ranks: 16-bit floats in fp32, rounded once; the
 * others in their own type. All ranks get the same bits, which depend on the terms and the groups
 * alone: not on size, algorithm, number of threads or kernel rung.
 *
 * Return: 0, or -EINVAL / -ENOTSUP (refused before anything was shared; may be retried),
 * -EPROTO (the ranks disagree), -ETIMEDOUT (a rank did not come), -ECONNABORTED (a rank died).
 * After the last three @comm is dead and @out is unspecified.
 */
SHMRT_API SHMRT_WARN_UNUSED int shmrt_allreduce(struct shmrt_comm *comm, const void *in, void *out,
                                                size_t count, enum shmrt_dtype dtype,
                                                enum shmrt_op op);

/** What a row is normed by: its root mean square, or mean and variance. */
enum shmrt_norm {
    SHMRT_RMS_NORM,
    SHMRT_LAYER_NORM,
    SHMRT_NORM_COUNT /* number of norms, not a norm */
};

/**
 * struct shmrt_norm_args - an all-reduce, the residual and a norm, all of @dtype
 * @in:       this rank's term: @rows x @columns elements, row by row
 * @residual: the same on all ranks, added to the sum over ranks; NULL: none; not @in where that
 *            is also an output
 * @sum_out:  the sum over ranks plus @residual, which is the next residual; may equal @in or
 *            @residual
 * @out:      the norm of @sum_out; may equal @in
 * @weight:   @columns factors, the same on all ranks
 * @bias:     @columns addends, the same on all ranks; NULL: none, which SHMRT_RMS_NORM requires
 * @rows, @columns: the same on all ranks; either may be 0
 * @dtype:    SHMRT_FLOAT32, SHMRT_BFLOAT16 or SHMRT_FLOAT16
 * @epsilon:  0 or more, added to the mean square or the variance, as fp32
 *
 * Buffers overlap in no other way; any alignment.
 */
struct shmrt_norm_args {
    const void *in;
    const void *residual;
    void *sum_out;
    void *out;
    const void *weight;
    const void *bias;
    size_t rows;
    size_t columns;
    enum shmrt_dtype dtype;
    enum shmrt_norm norm;
    double epsilon;
};

/**
 * shmrt_allreduce_norm - sum over all ranks, add the residual, norm each row
 * @comm: every rank of it makes this call, in the same order
 * @args: read before the call returns, not kept
 *
 * A rank that gives other rows or columns, or calls shmrt_allreduce() instead, gets -EPROTO. Each
 * rank norms all rows by itself, while they are in cache. Arithmetic is fp32; "round" is to @dtype:
 *
 *   sum_out = round(allreduce(in) + residual)     allreduce(in) is rounded before, as always
 *   RMS:   out = round(round(x / sqrt(mean(x * x) + epsilon)) * weight), as Hugging Face's
 *          LlamaRMSNorm; torch.nn.RMSNorm lacks the inner rounding, and so differs for 16 bits
 *   layer: out = round((x - mean(x)) / sqrt(variance + epsilon) * weight + bias), as
 *          torch.nn.functional.layer_norm; the variance is the mean of squared deviations
 *
 * where x is a row of sum_out, and 1 / sqrt is computed first. A sum over a row has a fixed order:
 * element j is added to partial sum j mod 64, in ascending order of j; then the upper half of the
 * partial sums is added to the lower half, and so on. All ranks get the same bits, whatever the
 * number of threads or the kernel rung. A NaN is stored as the canonical one.
 *
 * Return: as shmrt_allreduce(); after an error @sum_out and @out are unspecified, unless it was
 * -EINVAL or -ENOTSUP, which leave them untouched.
 */
SHMRT_API SHMRT_WARN_UNUSED int shmrt_allreduce_norm(struct shmrt_comm *comm,
                                                     const struct shmrt_norm_args *args);

/** shmrt_barrier - return when every rank has called it. Errors as shmrt_allreduce(). */
SHMRT_API SHMRT_WARN_UNUSED int shmrt_barrier(struct shmrt_comm *comm);

/*
 * The other collectives. As for shmrt_allreduce(): every rank makes the same call in the same
 * order, blocks, and gets the same errors; buffers may have any alignment. A block is @count
 * elements; blocks lie one after the other in rank order. Input and output must not overlap. A rank
 * returns when its own part is done, which need not be when all others have come: only
 * shmrt_barrier() promises that.
 */

/** shmrt_broadcast - @buffer of rank @root, @count elements, becomes that of every rank */
SHMRT_API SHMRT_WARN_UNUSED int shmrt_broadcast(struct shmrt_comm *comm, void *buffer, size_t count,
                                                enum shmrt_dtype dtype, int root);

/**
 * shmrt_reduce - as shmrt_allreduce(), with the result at rank @root only
 * @out: used by @root only, may be NULL elsewhere; may equal @in
 */
SHMRT_API SHMRT_WARN_UNUSED int shmrt_reduce(struct shmrt_comm *comm, const void *in, void *out,
                                             size_t count, enum shmrt_dtype dtype, enum shmrt_op op,
                                             int root);

/** shmrt_allgather - a block of each rank (@in) becomes, on all ranks, all blocks (@out) */
SHMRT_API SHMRT_WARN_UNUSED int shmrt_allgather(struct shmrt_comm *comm, const void *in, void *out,
                                                size_t count, enum shmrt_dtype dtype);

/** shmrt_allgatherv - with blocks of @counts[rank] elements; @counts is the same on all ranks */
SHMRT_API SHMRT_WARN_UNUSED int shmrt_allgatherv(struct shmrt_comm *comm, const void *in, void *out,
                                                 const size_t *counts, enum shmrt_dtype dtype);

/** shmrt_reduce_scatter - @in is a block for each rank; @out is this rank's block, reduced */
SHMRT_API SHMRT_WARN_UNUSED int shmrt_reduce_scatter(struct shmrt_comm *comm, const void *in,
                                                     void *out, size_t count,
                                                     enum shmrt_dtype dtype, enum shmrt_op op);

/** shmrt_reduce_scatterv - with blocks of @counts[rank] elements; the same @counts on all ranks */
SHMRT_API SHMRT_WARN_UNUSED int shmrt_reduce_scatterv(struct shmrt_comm *comm, const void *in,
                                                      void *out, const size_t *counts,
                                                      enum shmrt_dtype dtype, enum shmrt_op op);

/** shmrt_alltoall - block r of @in goes to rank r; block r of @out is what came from rank r */
SHMRT_API SHMRT_WARN_UNUSED int shmrt_alltoall(struct shmrt_comm *comm, const void *in, void *out,
                                               size_t count, enum shmrt_dtype dtype);

/**
 * shmrt_alltoallv - with @in_counts[r] elements to rank r, and @out_counts[r] from it
 *
 * What one rank sends another has to be what that one expects, else -EPROTO on all.
 */
SHMRT_API SHMRT_WARN_UNUSED int shmrt_alltoallv(struct shmrt_comm *comm, const void *in,
                                                const size_t *in_counts, void *out,
                                                const size_t *out_counts, enum shmrt_dtype dtype);

/** shmrt_gather - a block of each rank (@in) becomes all blocks (@out) at rank @root */
SHMRT_API SHMRT_WARN_UNUSED int shmrt_gather(struct shmrt_comm *comm, const void *in, void *out,
                                             size_t count, enum shmrt_dtype dtype, int root);

/** shmrt_scatter - a block for each rank (@in, of rank @root) becomes one block (@out) of each */
SHMRT_API SHMRT_WARN_UNUSED int shmrt_scatter(struct shmrt_comm *comm, const void *in, void *out,
                                              size_t count, enum shmrt_dtype dtype, int root);

/**
 * shmrt_send, shmrt_recv - @count elements from one rank to another
 *
 * Messages of an ordered pair of ranks arrive in order. A send returns when its data is on the way,
 * which for more than fits in the channel (about 128 KiB with few ranks) means when the receiver is
 * taking it: two ranks that both send much first wait for each other for ever; use shmrt_start().
 * A receive whose count or type differs from the message's is -EPROTO.
 */
SHMRT_API SHMRT_WARN_UNUSED int shmrt_send(struct shmrt_comm *comm, const void *in, size_t count,
                                           enum shmrt_dtype dtype, int to);
SHMRT_API SHMRT_WARN_UNUSED int shmrt_recv(struct shmrt_comm *comm, void *out, size_t count,
                                           enum shmrt_dtype dtype, int from);

/**
 * shmrt_probe - whether a message of rank @from, or its beginning, waits for a shmrt_recv()
 * @there_out: false also while a receive from @from that was started is unfinished, since what
 * comes is for that one first
 *
 * Returns at once; what was started goes on, as in shmrt_test(). Has no deadline and does not call
 * the interrupt callback: the caller, who comes back, looks to both. Return: 0, -EINVAL, -ENOTCONN
 * when @from has destroyed its communicator and all that it sent was received (@comm stays usable:
 * other ranks may go on), or what @comm died of, such as -ECONNABORTED when a rank has died.
 */
SHMRT_API SHMRT_WARN_UNUSED int shmrt_probe(struct shmrt_comm *comm, int from, bool *there_out);

/**
 * struct shmrt_args - a collective, for shmrt_start(); zero what it does not use
 * @in, @out:   as in the function of that name; a broadcast has its buffer in @out
 * @count:      as there; unused where counts are given
 * @in_counts:  allgatherv and reduce_scatterv: @counts; alltoallv: what is sent
 * @out_counts: alltoallv: what is received
 * @peer:       the root, the destination or the source
 */
struct shmrt_args {
    enum shmrt_collective collective;
    const void *in;
    void *out;
    size_t count;
    const size_t *in_counts;
    const size_t *out_counts;
    enum shmrt_dtype dtype;
    enum shmrt_op op;
    int peer;
};

/**
 * shmrt_start - begin a collective and return
 * @args:        copied, counts too; the buffers belong to the library until the request is done
 * @request_out: freed by the shmrt_wait() or shmrt_test() that says it is done
 *
 * Collectives that were started take effect in the order of their start, and before every later
 * blocking one; sends and receives have an order for each pair of ranks. There is no thread behind
 * it: work goes on inside shmrt_start(), shmrt_test(), shmrt_wait() and blocking calls, and other
 * ranks may wait for it. shmrt_comm_destroy() frees what nobody has waited for. Return: as
 * shmrt_allreduce(), or -ENOMEM.
 */
SHMRT_API SHMRT_WARN_UNUSED int shmrt_start(struct shmrt_comm *comm, const struct shmrt_args *args,
                                            struct shmrt_request **request_out);

/** shmrt_test - go on with what was started; @done_out: this request is done, and freed */
SHMRT_API SHMRT_WARN_UNUSED int shmrt_test(struct shmrt_request *request, bool *done_out);

/** shmrt_wait - return when @request is done; it is freed, also after an error */
SHMRT_API SHMRT_WARN_UNUSED int shmrt_wait(struct shmrt_request *request);

/**
 * shmrt_comm_split - make a communicator of those ranks that give the same color
 * @color:     0 or more; a negative one takes part but gets no communicator (NULL)
 * @key:       orders the ranks of the new communicator; equal keys keep their order here
 * @comm_out:  the new one, with the options and callbacks of @comm and shared memory of its own
 *
 * Every rank of @comm calls it. Sends and receives that were started do not go on while the ranks
 * meet: wait for them before. Return: as shmrt_comm_create(); the text is in @comm's error.
 */
SHMRT_API SHMRT_WARN_UNUSED int shmrt_comm_split(struct shmrt_comm *comm, int color, int key,
                                                 struct shmrt_comm **comm_out);

/** Size of an element in bytes; 0 for a value that is not a type. */
SHMRT_API size_t shmrt_dtype_bytes(enum shmrt_dtype dtype);

/** "float32", "bfloat16", ...; NULL for a value that is not a type. */
SHMRT_API const char *shmrt_dtype_name(enum shmrt_dtype dtype);

/** "all-reduce", "broadcast", ...; NULL for a value that is not a collective. */
SHMRT_API const char *shmrt_collective_name(enum shmrt_collective collective);

/** "sum", "min", ...; NULL for a value that is not an operation. */
SHMRT_API const char *shmrt_op_name(enum shmrt_op op);

/** struct shmrt_counters - what a communicator has done since it was created */
struct shmrt_counters {
    uint64_t calls;           /* collectives completed */
    uint64_t bytes;           /* bytes of this rank's terms */
    uint64_t oneshot_calls;   /* begun with one flag round, on the caller's thread */
    uint64_t pipelined_calls; /* begun in pipelined rounds over the lanes */
    uint64_t shared_calls;    /* of these, those that read or wrote tensors in shared memory */
    uint64_t wait_ns;         /* time lost in waits whose flag was not there at the first look */
    uint64_t late_ns;         /* of it, waiting for a rank that had not entered the call yet */
    uint64_t sleeps;          /* times a waiter went to sleep in a futex */
};

SHMRT_API void shmrt_comm_counters(const struct shmrt_comm *comm, struct shmrt_counters *out);

/**
 * shmrt_comm_skew - for which ranks this one has waited until they entered a call
 * @late_ns_out: of counters' late_ns, by the rank that was late; where several were, a wait counts
 *               for the one that was looked for first
 */
SHMRT_API void shmrt_comm_skew(const struct shmrt_comm *comm,
                               uint64_t late_ns_out[SHMRT_MAX_RANKS]);

/** struct shmrt_last_call - the collective or message that a communicator completed last */
struct shmrt_last_call {
    enum shmrt_collective collective; /* 0: none so far */
    enum shmrt_dtype dtype;           /* of these two, what the collective has */
    enum shmrt_op op;
    const char *way; /* the algorithm: "one-shot", "one pass", ...; "" before the first */
};

SHMRT_API void shmrt_comm_last_call(const struct shmrt_comm *comm, struct shmrt_last_call *out);

/**
 * struct shmrt_traffic - what this rank moved of the other ranks' memory since the communicator was
 * created
 *
 * Each rank's shared memory lies on its own NUMA node. What a rank moves of its own is not counted,
 * nor are flags and other words of a few bytes.
 */
struct shmrt_traffic {
    int groups;                          /* of ranks that are near each other, see SHMRT_GROUPS */
    int group_of[SHMRT_MAX_RANKS];       /* of each rank */
    uint64_t read_from[SHMRT_MAX_RANKS]; /* bytes, by the rank that they belong to */
    uint64_t written_to[SHMRT_MAX_RANKS];
};

SHMRT_API void shmrt_comm_traffic(const struct shmrt_comm *comm, struct shmrt_traffic *out);

/**
 * shmrt_comm_tuning - one line about the sizes at which algorithms change, and where these are from
 * @buffer: written and NUL-terminated, cut at @bytes; may be NULL when @bytes is 0
 *
 * Return: the bytes needed, without the NUL, as snprintf does.
 */
SHMRT_API size_t shmrt_comm_tuning(const struct shmrt_comm *comm, char *buffer, size_t bytes);

/** struct shmrt_pages_proof - where the kernel says the pages of a segment or a pool are */
struct shmrt_pages_proof {
    size_t pages;         /* taken so far, of page_bytes each */
    size_t pages_on_node; /* of them, on a node where they belong */
    size_t pages_unknown; /* of them, the kernel would not say */
    size_t page_bytes;    /* of the system's pages; with hugetlb of its huge ones */
    size_t huge_bytes;    /* of it this rank has mapped in huge pages, transparent or hugetlb */
    bool bound;           /* mbind was accepted; otherwise first touch served */
};

/**
 * struct shmrt_placement_proof - this rank's shared memory, and where the rank is
 * @segment:   through which collectives go; taken whole at creation
 * @pool:      behind shmrt_alloc(); what has been taken of it
 * @nodes:     bit n: the memory belongs on NUMA node n (the first 64): SHMRT_NODES, or the nodes of
 *             the CPUs that the rank might run on when it was taken
 * @cpu_nodes: the nodes of the CPUs that the calling thread may run on now
 * @moved:     these are others than at creation; memory does not follow by itself, only where a
 *             cgroup's cpuset takes it along
 */
struct shmrt_placement_proof {
    struct shmrt_pages_proof segment;
    struct shmrt_pages_proof pool;
    uint64_t nodes;
    uint64_t cpu_nodes;
    bool moved;
};

/**
 * shmrt_comm_verify - ask the kernel for the node of every page of this rank's segment and pool
 *
 * Maps each page and has the kernel walk the page tables: some milliseconds or, with a large pool
 * or process, more. Return: 0, or -ENOSYS / -EPERM where move_pages is refused (@out then says all
 * are unknown).
 */
SHMRT_API SHMRT_WARN_UNUSED int shmrt_comm_verify(struct shmrt_comm *comm,
                                                  struct shmrt_placement_proof *out);

/**
 * shmrt_comm_report - a few lines for a person: where this rank runs, where its shared memory is
 * (as shmrt_comm_verify() finds it), what it does with it, and where every rank is: alive, dead or
 * gone, in which call or after which, and for whom it waits. That part holds also for a
 * communicator that has failed, until it is destroyed
 * @buffer: written and NUL-terminated, cut at @bytes; may be NULL when @bytes is 0
 *
 * Return: the bytes needed, without the NUL, as snprintf does; 0 in a forked child.
 */
SHMRT_API size_t shmrt_comm_report(struct shmrt_comm *comm, char *buffer, size_t bytes);

/**
 * shmrt_alloc - memory that every rank of @comm can map, so that collectives need not copy it
 * @bytes: at least one is given; from 4 KiB on the block is aligned to 4 KiB, below to 128 bytes at
 * least
 * @out:   the block, not zeroed; shmrt_free() it
 *
 * Concerns this rank alone: ranks need not call it alike, and any buffer of any collective may lie
 * in a block, or part of a block, or not. The pool it comes from is limited (SHMRT_POOL) and takes
 * memory from the system as it is needed, on this rank's NUMA nodes; what has been taken stays with
 * the pool. Peers can read and write the block at any time.
 *
 * Return: 0, -ENOTSUP (SHMRT_POOL is 0), -ENOMEM (the pool, the machine or the cgroup is full: the
 * text says which; @comm stays usable and so does private memory), or what @comm died of: peers may
 * still write to blocks of a dead communicator, so none of them is given out again.
 */
SHMRT_API SHMRT_WARN_UNUSED int shmrt_alloc(struct shmrt_comm *comm, size_t bytes, void **out);

/**
 * shmrt_free - give a block back, from any thread, also after its communicator was destroyed
 * @memory: from shmrt_alloc(); NULL, what is no block, and a block freed before are ignored
 *
 * Must not be called while a collective that was started on the block is unfinished. The pool is
 * unmapped with its communicator and its last block. A forked child does not have the memory of
 * its parent's blocks, and may free them without effect.
 */
SHMRT_API void shmrt_free(void *memory);

/** struct shmrt_pool_stats - the memory behind shmrt_alloc() on this rank */
struct shmrt_pool_stats {
    size_t limit_bytes; /* SHMRT_POOL */
    size_t taken_bytes; /* taken from the system so far */
    size_t used_bytes;  /* of them in blocks, with 128 or 256 bytes for each and the rounding */
    size_t peak_bytes;  /* the most that used_bytes has been */
    uint64_t refused;   /* calls of shmrt_alloc() that ended for want of memory */
};

/** Of the pool of @comm; all zero in a forked child. */
SHMRT_API void shmrt_comm_pool_stats(const struct shmrt_comm *comm, struct shmrt_pool_stats *out);

/**
 * shmrt_options_describe - a page that lists every option: key, variable, default, range, meaning
 * @buffer: written and NUL-terminated, cut at @bytes; may be NULL when @bytes is 0
 *
 * Return: the bytes needed, without the NUL, as snprintf does.
 */
SHMRT_API size_t shmrt_options_describe(char *buffer, size_t bytes);

#ifdef __cplusplus
}
#endif
#endif
