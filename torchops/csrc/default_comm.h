// SPDX-License-Identifier: Apache-2.0
/* default_comm.h - the one communicator that the operators use, since they have no argument for it.
 */
#pragma once

#include "group.h"

#include <shmrt.h>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace shmrt
{

/** The operators that are counted apart; their schema names are in operator_name(). */
enum class Operator {
    DEEPSPEED,
    DEEPSPEED_INPLACE,
    SHMRT,
    SHMRT_INPLACE,
    NAMED,
    NAMED_INPLACE,
    RMS_NORM,
    RMS_NORM_INPLACE,
    LAYER_NORM,
    LAYER_NORM_INPLACE,
    COUNT
};

const char *operator_name(Operator which);

/** What the communicator was asked to be. Two equal requests mean the same communicator. */
struct Request {
    int rank = 0;
    int size = 0;
    std::optional<std::string> job;
    std::vector<std::string> settings;
    bool use_shm = true;

    bool operator==(const Request &) const = default;
};

struct Stats {
    int size = 0; /* of this machine's ranks, which the traffic is of */
    GroupStats group;
    shmrt_counters counters{};
    shmrt_traffic traffic{};
    std::array<std::uint64_t, SHMRT_MAX_RANKS> late_ns{};
    shmrt_pool_stats pool{};
    std::array<std::uint64_t, static_cast<std::size_t>(Operator::COUNT)> calls{};
    std::map<std::string, std::uint64_t> fallbacks;
    double seconds = 0;
};

/**
 * Facts about the communicator for a report: @verify_code is what shmrt_comm_verify answered, @text
 * the lines of shmrt_comm_report.
 */
struct Facts {
    int rank = 0;
    int size = 0;
    int lanes = 0;
    std::string kernel;
    std::string tuning;
    std::string text;
    shmrt_pool_stats pool{};
    shmrt_placement_proof proof{};
    int verify_code = 0;
};

/**
 * DefaultComm - a communicator, its lifetime and its statistics
 *
 * Every member may be called from any thread, none may be called with the GIL held, see Comm.
 * Failures are thrown by throw_error().
 */
class DefaultComm
{
  public:
    static DefaultComm &get();

    /** Does this very communicator exist already? EALREADY where another one does. */
    bool is_present(const Request &request);
    /**
     * Meet the other ranks: over @store, or directly where it is null, see GroupParams. @engine:
     * as there. False when this very communicator exists already.
     */
    bool create(const Request &request, const c10::intrusive_ptr<c10d::Store> &store = {},
                const EngineFactory &engine = {});
    /**
     * Leave. A collective that another thread is in is aborted first. One that this very thread is
     * in (a signal handler calls this) is aborted only: the communicator is freed by the next call.
     */
    void destroy();

    std::optional<Request> request();
    /** The ranks of the communicator, wherever they are; throws where there is none. */
    std::shared_ptr<Group> alive(const char *what);
    void allreduce(const void *in, void *out, std::size_t count, shmrt_dtype dtype, shmrt_op op,
                   Operator which);
    void allreduce_norm(const shmrt_norm_args &args, Operator which);
    void barrier();

    /**
     * A block of the pool. nullptr, counted as a fallback, where the pool has no room or is off,
     * unless @strict: then that is a failure as any other.
     */
    void *alloc(std::size_t bytes, bool strict);
    /** The same for what a reduction will write; nullptr too where there is no other rank. */
    void *alloc_result(std::size_t bytes, Operator which);

    Stats stats();
    Facts facts();

    /** Count a call of an operator, of another group's ranks too, and the seconds it took. */
    void count_call(Operator which, double seconds);
    /**
     * Count a call that took a longer way than it might have, and the seconds it cost; true the
     * first time for this reason.
     */
    bool count_fallback(const std::string &reason, double seconds);

  private:
    std::shared_ptr<Group> current_group();
    void *take_block(Comm &comm, const char *what, std::size_t bytes, bool strict);

    std::mutex create_; /* one init() at a time */
    std::mutex state_;  /* guards group_ and request_; never held while waiting */
    std::shared_ptr<Group> group_;
    std::optional<Request> request_;
    std::mutex stats_lock_; /* guards stats_ */
    Stats stats_;
    int forked_from_ = -1; /* rank of the parent, when fork() made this process */

    friend void forget_after_fork();
};

} // namespace shmrt
