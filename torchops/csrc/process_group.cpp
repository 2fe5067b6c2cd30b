// SPDX-License-Identifier: Apache-2.0
/*
 * process_group.cpp - how a group of the c10d backend meets, runs its works, and ends.
 *
 * The store that torch.distributed gives is only used to meet: the ranks' number of attempts there
 * makes every group a new one, also where one of the same name was destroyed before.
 */
#include "process_group.h"

#include "errors.h"
#include "host.h"

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

namespace shmrt
{

namespace
{

using std::chrono::milliseconds;

std::string seconds_text(milliseconds timeout)
{
    char text[32];
    std::snprintf(text, sizeof text, "%.3f", std::clamp(timeout.count() * 1e-3, 0.001, 1e7));
    return text;
}

} // namespace

ProcessGroupShmrt::ProcessGroupShmrt(ProcessGroupParams params)
    : Backend(params.rank, params.size), params_(std::move(params)), forks_(fork_count()),
      options_(c10::make_intrusive<Options>(params_.timeout))
{
    const Released released;
    options_->group_name = params_.name;
    options_->global_ranks_in_group = params_.global_ranks;
    meet();
    queue_ = std::make_shared<WorkQueue>([weak = std::weak_ptr<Group>(group_)] {
        if (const std::shared_ptr<Group> group = weak.lock())
            group->abort("a rank was interrupted while it waited for a collective");
    });
    put_operators_in_turn();
    init();
    register_group(params_.name, group_); /* last: whose making fails is not known to operators */
}

/*
 * Operators that are given this group go into the same communicator as its works: they come after
 * those that were started before, under the group's own timeout.
 */
void ProcessGroupShmrt::put_operators_in_turn()
{
    const auto turn = [queue = std::weak_ptr<WorkQueue>(queue_), options = options_,
                       group = group_.get()](const char *what, c10::function_ref<void()> call) {
        const std::shared_ptr<WorkQueue> kept = queue.lock();
        if (!kept)
            throw_error(ENOTCONN,
                        std::string(what) + " was called after its communicator was closed");
        if (kept->is_run_here())
            return call();
        kept->run_here([&] {
            group->tell(what, options->timeout, WorkQueue::is_own_thread());
            call();
        });
    };
    group_->set_turn(turn);
}

ProcessGroupShmrt::~ProcessGroupShmrt()
{
    if (forks_ != fork_count())
        return;
    const Released released;
    leave("its process group was freed");
}

/* The same on all ranks, and on no others. */
std::string ProcessGroupShmrt::common_key()
{
    std::string key = random_key();
    key.resize(32, '0');
    comm_->call("init_process_group", [&](shmrt_comm *comm) {
        return shmrt_broadcast(comm, key.data(), key.size(), SHMRT_UINT8, 0);
    });
    return key;
}

void ProcessGroupShmrt::meet()
{
    const std::int64_t attempt =
        params_.store->add("shmrt/made by rank " + std::to_string(rank_), 1);
    store_ =
        c10::make_intrusive<c10d::PrefixStore>("shmrt/" + std::to_string(attempt), params_.store);
    const std::string timeout = seconds_text(params_.timeout);
    GroupParams group;
    group.rank = rank_;
    group.size = size_;
    group.name = params_.name;
    group.store = store_;
    group.engine = params_.engine;
    group.settings = {"timeout=" + timeout, "rendezvous_timeout=" + timeout};
    group_ = Group::create(group);
    if (group_->is_local()) {
        comm_ = group_->comm();
        p2p_ = std::make_shared<PointToPoint>(
            Comm::create({rank_,
                          size_,
                          common_key(),
                          "p2p",
                          {"segment=1M", "pool=0", "tune=off", "lanes=1", "timeout=1e7",
                           "rendezvous_timeout=" + timeout},
                          false}));
        return;
    }
    elsewhere_ = group_->off().empty() ? "c10d: ranks on several machines" : group_->off();
    engine_for(
        call_of("init_process_group", "shmrt:init", c10d::OpType::UNKNOWN, c10d::BarrierOptions()));
}

void ProcessGroupShmrt::check_process() const
{
    if (forks_ != fork_count())
        throw_error(ENOTCONN, "a process group of the backend shmrt was used in a process that was "
                              "forked from rank " +
                                  std::to_string(rank_) +
                                  " of it: groups stay with the process that made them; start this "
                                  "process with spawn, or leave collectives to its parent");
}

c10::intrusive_ptr<c10d::Backend::Options> ProcessGroupShmrt::getBackendOptions()
{
    return options_;
}

void ProcessGroupShmrt::setTimeout(milliseconds timeout)
{
    options_->timeout = timeout;
    group_->set_timeout(timeout);
}

c10::intrusive_ptr<c10d::Backend>
ProcessGroupShmrt::split(const c10::intrusive_ptr<c10d::Store> &store,
                         const std::vector<int> &ranks,
                         const c10::intrusive_ptr<c10d::Backend::Options> &options)
{
    const auto mine = std::find(ranks.begin(), ranks.end(), rank_);
    if (mine == ranks.end())
        return nullptr;
    ProcessGroupParams params = params_;
    params.store = store;
    params.rank = static_cast<int>(mine - ranks.begin());
    params.size = static_cast<int>(ranks.size());
    params.timeout = options ? options->timeout : options_->timeout;
    params.name = options ? options->group_name : "";
    params.global_ranks.clear();
    for (const int rank : ranks)
        params.global_ranks.push_back(params_.global_ranks.empty()
                                          ? static_cast<std::uint64_t>(rank)
                                          : params_.global_ranks.at(rank));
    return c10::make_intrusive<ProcessGroupShmrt>(std::move(params));
}

std::uint64_t ProcessGroupShmrt::getSequenceNumberForGroup()
{
    return sequence_.load();
}

c10d::ErrorType ProcessGroupShmrt::getError()
{
    return error_.load();
}

void ProcessGroupShmrt::abort()
{
    if (forks_ != fork_count())
        return;
    const Released released;
    const std::string reason = "rank " + std::to_string(rank_) + " has aborted the process group";
    group_->abort(reason);
    if (p2p_)
        p2p_->abort(reason.c_str());
    queue_->close(ECONNABORTED, reason);
}

void ProcessGroupShmrt::shutdown()
{
    if (forks_ != fork_count() || is_closed_)
        return;
    const Released released;
    /* By a signal handler, inside a collective: that one ends first, and can't be waited for. */
    if (queue_->is_run_here() || group_->is_entered_by_this_thread()) {
        unregister_group(params_.name, group_.get());
        return abort();
    }
    queue_->drain();
    leave("the process group was destroyed");
}

void ProcessGroupShmrt::leave(const std::string &reason)
{
    if (forks_ != fork_count() || is_closed_)
        return;
    if (group_->is_entered_by_this_thread())
        return abort();
    if (is_closed_.exchange(true))
        return;
    unregister_group(params_.name, group_.get());
    queue_->close(ENOTCONN, reason);
    if (p2p_)
        p2p_->close(ENOTCONN, reason);
    group_->close(reason);
    queue_->stop();
}

void ProcessGroupShmrt::refuse(const Call &call, const std::string &text) const
{
    throw_error(EINVAL, std::string("ProcessGroupShmrt::") + call.name + ": " + text);
}

std::chrono::milliseconds ProcessGroupShmrt::timeout_of(const Call &call) const
{
    return call.timeout.count() <= 0 ? options_->timeout : call.timeout;
}

/* A work runs on one thread at a time, so only it knows and changes what the communicator knows. */
void ProcessGroupShmrt::prepare(const Call &call)
{
    if (group_->off().empty())
        counts_->native[static_cast<std::size_t>(call.type) % ProcessGroupCounts::TYPES]++;
    else
        count_fallback(call, elsewhere_);
    group_->tell(call.name, timeout_of(call), WorkQueue::is_own_thread());
}

ProcessGroupShmrt::WorkPtr ProcessGroupShmrt::submit(const Call &call, const Tensors &inputs,
                                                     Outputs outputs, std::function<void()> run)
{
    check_process();
    const WorkInfo info{rank_, call.type, call.title, ++sequence_};
    /* The group lives until its last work has run, on whichever thread. */
    auto kept = [self = c10::intrusive_ptr<ProcessGroupShmrt>::unsafe_reclaim_from_nonowning(this),
                 run = std::move(run)] { run(); };
    auto work =
        c10::make_intrusive<QueuedWork>(queue_, info, inputs, std::move(outputs), std::move(kept));
    if (call.is_async) {
        queue_->start(work);
        return work;
    }
    queue_->run(work);
    work->wait(kNoTimeout);
    return work;
}

c10::intrusive_ptr<c10d::Backend> ProcessGroupShmrt::engine_for(const Call &call)
{
    check_process();
    if (is_closed_)
        throw_error(ENOTCONN, std::string(call.name) + ": the process group was destroyed");
    return group_->engine_elsewhere(call.name);
}

void ProcessGroupShmrt::count_fallback(const Call &call, const std::string &reason)
{
    {
        const std::lock_guard lock(counts_->lock);
        counts_->fallbacks[reason]++;
    }
    group_->tell_fallback(call.name, reason);
}

/* Who knows Gloo's messages looks for the words "Timed out". */
void ProcessGroupShmrt::fail(const Call &call, const Failure &failure)
{
    const bool is_late = failure.code() == ETIMEDOUT;
    error_ = is_late ? c10d::ErrorType::TIMEOUT : c10d::ErrorType::COMM_ERROR;
    const std::string text =
        std::string(call.name) +
        (is_late ? ": Timed out waiting " + std::to_string(timeout_of(call).count()) + "ms: "
                 : ": ") +
        failure.what();
    throw Failure(failure.code(), text);
}

void ProcessGroupShmrt::monitoredBarrier(const c10d::BarrierOptions &options, bool wait_all_ranks)
{
    const Call call =
        call_of("monitoredBarrier", "shmrt:monitored_barrier", c10d::OpType::BARRIER, options);
    /* No other rank can have come by then; making the other engine would wait for all of them. */
    if (rank_ == 0 && options.timeout.count() == 0)
        throw_error(ETIMEDOUT, "Rank 0 timed out in monitoredBarrier after 0 ms");
    engine_for(call);
    queue_->run_here([&] {
        group_->elsewhere(call.name, timeout_of(call), [&](c10d::Backend &engine) {
            engine.monitoredBarrier(options, wait_all_ranks);
            return c10::intrusive_ptr<c10d::Work>();
        });
    });
}

ProcessGroupShmrt::WorkPtr ProcessGroupShmrt::barrier(const c10d::BarrierOptions &options)
{
    const Call call = call_of("barrier", "shmrt:barrier", c10d::OpType::BARRIER, options);
    if (!comm_)
        return submit(call, {}, {},
                      [this, call] { guarded(call, [&] { group_->barrier(call.name); }); });
    return submit(call, {}, {}, [this, call] { native(call, &shmrt_barrier); });
}

} // namespace shmrt
