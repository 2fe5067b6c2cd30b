// SPDX-License-Identifier: Apache-2.0
/*
 * default_comm.cpp - lifetime and use of the default communicator.
 *
 * Calls take a reference to the Comm and use that, so that a finalize() in another thread can't
 * take it away under them. state_ is held for as long as that takes, and no longer, so that
 * questions are answered at once while a collective waits.
 */
#include "default_comm.h"

#include "errors.h"

#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <utility>

namespace shmrt
{

namespace
{

using Clock = std::chrono::steady_clock;

constexpr const char *POOL_IS_FULL = "no room in the pool: in private memory";
constexpr const char *NO_OTHER_RANK = "no rank to share memory with: in private memory";
constexpr const char *POOL_IS_OFF = "the pool is off: in private memory";

double seconds_since(Clock::time_point start)
{
    return std::chrono::duration<double>(Clock::now() - start).count();
}

/* The one global: which object is the default. It changes only in the child of a fork. */
std::atomic<DefaultComm *> current{nullptr};

} // namespace

/*
 * The child of a fork shares the parent's rank and memory, and its locks may be held by threads
 * that it does not have. It gets a fresh object and leaves the old one alone.
 */
void forget_after_fork()
{
    DefaultComm *old = current.load();
    auto *fresh = new DefaultComm;
    fresh->forked_from_ = old->request_ ? old->request_->rank : old->forked_from_;
    current.store(fresh);
}

DefaultComm &DefaultComm::get()
{
    DefaultComm *comm = current.load(std::memory_order_acquire);
    if (comm)
        return *comm;
    auto *fresh = new DefaultComm;
    if (!current.compare_exchange_strong(comm, fresh)) {
        delete fresh;
        return *comm;
    }
    pthread_atfork(nullptr, nullptr, forget_after_fork);
    return *fresh;
}

const char *operator_name(Operator which)
{
    switch (which) {
    case Operator::DEEPSPEED:
        return "deepspeed::inference_all_reduce";
    case Operator::DEEPSPEED_INPLACE:
        return "deepspeed::inference_all_reduce_";
    case Operator::SHMRT:
        return "shmrt::inference_all_reduce";
    case Operator::SHMRT_INPLACE:
        return "shmrt::inference_all_reduce_";
    case Operator::NAMED:
        return "shmrt::all_reduce";
    case Operator::NAMED_INPLACE:
        return "shmrt::all_reduce_";
    case Operator::RMS_NORM:
        return "shmrt::all_reduce_add_rms_norm";
    case Operator::RMS_NORM_INPLACE:
        return "shmrt::all_reduce_add_rms_norm_";
    case Operator::LAYER_NORM:
        return "shmrt::all_reduce_add_layer_norm";
    case Operator::LAYER_NORM_INPLACE:
        return "shmrt::all_reduce_add_layer_norm_";
    case Operator::COUNT:
        break;
    }
    return "unknown";
}

bool DefaultComm::is_present(const Request &request)
{
    const auto present = this->request();
    if (!present || *present == request)
        return present.has_value();
    throw_error(EALREADY, "this process is rank " + std::to_string(present->rank) + " of " +
                              std::to_string(present->size) +
                              " already, and was now asked to be rank " +
                              std::to_string(request.rank) + " of " + std::to_string(request.size) +
                              ", or to take another job key, timeout or settings: call "
                              "shmrt.finalize() in every rank before an init that differs");
}

bool DefaultComm::create(const Request &request, const c10::intrusive_ptr<c10d::Store> &store,
                         const EngineFactory &engine)
{
    const std::lock_guard one_at_a_time(create_);
    if (is_present(request))
        return false;
    GroupParams params;
    params.rank = request.rank;
    params.size = request.size;
    params.store = store;
    params.engine = engine;
    params.job = request.job;
    params.settings = request.settings;
    params.use_shm = request.use_shm;
    std::shared_ptr<Group> group = Group::create(params);
    {
        const std::lock_guard lock(stats_lock_);
        stats_ = Stats{};
    }
    const std::lock_guard state(state_);
    group_ = std::move(group);
    request_ = request;
    return true;
}

void DefaultComm::destroy()
{
    std::shared_ptr<Group> group = current_group();
    if (!group)
        return;
    if (group->is_entered_by_this_thread()) {
        group->abort(
            "shmrt.finalize() was called by a handler while this rank was in a collective");
        return;
    }
    {
        const std::lock_guard state(state_);
        group_.reset();
        request_.reset();
    }
    group->close(
        "shmrt.finalize() was called while another thread of this rank was in a collective");
}

std::optional<Request> DefaultComm::request()
{
    const std::lock_guard state(state_);
    return request_;
}

std::shared_ptr<Group> DefaultComm::current_group()
{
    const std::lock_guard state(state_);
    return group_;
}

std::shared_ptr<Group> DefaultComm::alive(const char *what)
{
    std::shared_ptr<Group> group = current_group();
    if (group)
        return group;
    if (forked_from_ >= 0)
        Comm::refuse_forked(what, forked_from_);
    throw_error(ENOTCONN, std::string(what) +
                              " was called before the ranks have met: call shmrt.init(), or "
                              "shmrt.initialize(size, rank), once in every rank first");
}

void DefaultComm::allreduce(const void *in, void *out, std::size_t count, shmrt_dtype dtype,
                            shmrt_op op, Operator which)
{
    const std::shared_ptr<Group> group = alive(operator_name(which));
    const auto start = Clock::now();
    group->allreduce(in, out, count, dtype, op, operator_name(which));
    count_call(which, seconds_since(start));
}

void DefaultComm::allreduce_norm(const shmrt_norm_args &args, Operator which)
{
    const std::shared_ptr<Group> group = alive(operator_name(which));
    const auto start = Clock::now();
    group->allreduce_norm(args, operator_name(which));
    count_call(which, seconds_since(start));
}

void DefaultComm::count_call(Operator which, double seconds)
{
    const std::lock_guard lock(stats_lock_);
    stats_.seconds += seconds;
    stats_.calls[static_cast<std::size_t>(which)]++;
}

void DefaultComm::barrier()
{
    alive("shmrt.barrier()")->barrier("shmrt.barrier()");
}

/* What @comm died of is a failure, however it is asked. */
void *DefaultComm::take_block(Comm &comm, const char *what, std::size_t bytes, bool strict)
{
    void *block = nullptr;
    const char *refused = nullptr;
    comm.call(what, [&](shmrt_comm *c) {
        const int rc = shmrt_alloc(c, bytes, &block);
        if (strict || (rc != -ENOMEM && rc != -ENOTSUP))
            return rc;
        refused = rc == -ENOMEM ? POOL_IS_FULL : POOL_IS_OFF;
        return 0;
    });
    if (refused)
        count_fallback(refused, 0);
    return block;
}

void *DefaultComm::alloc(std::size_t bytes, bool strict)
{
    const std::shared_ptr<Group> group = alive("shmrt.empty()");
    if (group->comm())
        return take_block(*group->comm(), "shmrt.empty()", bytes, strict);
    if (strict)
        throw_error(ENOTSUP, "shmrt.empty(): no other rank shares this machine's memory" +
                                 (group->off().empty() ? "" : ": " + group->off()));
    count_fallback(NO_OTHER_RANK, 0);
    return nullptr;
}

void *DefaultComm::alloc_result(std::size_t bytes, Operator which)
{
    const std::shared_ptr<Group> group = current_group();
    if (!group || !group->is_local() || group->size() == 1)
        return nullptr;
    return take_block(*group->comm(), operator_name(which), bytes, false);
}

bool DefaultComm::count_fallback(const std::string &reason, double seconds)
{
    trace_instant("fallback", reason);
    const std::lock_guard lock(stats_lock_);
    stats_.seconds += seconds;
    return stats_.fallbacks[reason]++ == 0;
}

Stats DefaultComm::stats()
{
    const std::shared_ptr<Group> group = alive("shmrt.stats()");
    Stats stats;
    {
        const std::lock_guard lock(stats_lock_);
        stats = stats_;
    }
    stats.group = group->stats();
    stats.fallbacks.insert(stats.group.fallbacks.begin(), stats.group.fallbacks.end());
    if (!group->comm())
        return stats;
    stats.size = group->comm()->size();
    group->comm()->call("shmrt.stats()", [&](shmrt_comm *c) {
        shmrt_comm_counters(c, &stats.counters);
        shmrt_comm_traffic(c, &stats.traffic);
        shmrt_comm_skew(c, stats.late_ns.data());
        shmrt_comm_pool_stats(c, &stats.pool);
        return 0;
    });
    return stats;
}

Facts DefaultComm::facts()
{
    const std::shared_ptr<Group> group = alive("shmrt.report()");
    Facts facts;
    facts.rank = group->rank();
    facts.size = group->size();
    if (!group->is_local())
        facts.text = group->describe() + "\n";
    if (!group->comm())
        return facts;
    group->comm()->call("shmrt.report()", [&](shmrt_comm *c) {
        facts.lanes = shmrt_comm_lanes(c);
        facts.kernel = shmrt_comm_kernel(c);
        facts.tuning.resize(shmrt_comm_tuning(c, nullptr, 0));
        shmrt_comm_tuning(c, facts.tuning.data(), facts.tuning.size() + 1);
        shmrt_comm_pool_stats(c, &facts.pool);
        /* Asking for the length would ask the kernel twice; 64 ranks have a line each. */
        std::string text(64 << 10, '\0');
        shmrt_comm_report(c, text.data(), text.size());
        facts.text += text.c_str();
        facts.verify_code = shmrt_comm_verify(c, &facts.proof);
        return 0;
    });
    return facts;
}

} // namespace shmrt
