// SPDX-License-Identifier: Apache-2.0
/*
 * group.cpp - a group's members, and the ways its calls go. How ranks find out who shares a machine
 * is in meeting.cpp, which way a call goes in route.cpp, the way across machines in across.cpp.
 */
#include "group.h"

#include "errors.h"
#include "host.h"
#include "trace.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace shmrt
{

namespace
{

struct Registry {
    std::mutex lock;
    std::map<std::string, std::shared_ptr<Group>> groups;
};

/* Never freed: operators may run while the process ends. */
Registry &registry()
{
    static auto *const all = new Registry;
    return *all;
}

} // namespace

Group::Group(const GroupParams &params)
    : rank_(params.rank), size_(params.size), name_(params.name), settings_(params.settings),
      forks_(fork_count()), make_engine_(params.engine)
{
    facts_.ranks = params.size;
    set_elsewhere(nullptr);
}

void Group::set_elsewhere(const c10::intrusive_ptr<c10d::Store> &store)
{
    elsewhere_.set_params(
        {make_engine_, store, rank_, size_, name_,
         seconds_option(settings_, "rendezvous_timeout", "SHMRT_RENDEZVOUS_TIMEOUT", 60),
         seconds_option(settings_, "timeout", "SHMRT_TIMEOUT", 1800)});
}

/* As in Comm: what a signal handler calls during a wait would wait for its own thread. */
Group::Entry::Entry(Group &group, const char *what) : group_(group)
{
    if (group.forks_ != fork_count())
        Comm::refuse_forked(what, group.rank_);
    if (group.is_entered_by_this_thread())
        throw_error(EDEADLK, std::string(what) +
                                 " was called by a signal or log handler while this very thread "
                                 "is in a collective");
    group.call_.lock();
    if (group.closed_) {
        group.call_.unlock();
        throw_error(ENOTCONN, std::string(what) + " was called after its communicator was closed");
    }
    group.caller_.store(std::this_thread::get_id(), std::memory_order_relaxed);
}

Group::Entry::~Entry()
{
    group_.caller_.store(std::thread::id(), std::memory_order_relaxed);
    group_.call_.unlock();
}

std::shared_ptr<Group> Group::create(const GroupParams &params)
{
    observe_as_environment_says(params.rank);
    const std::shared_ptr<Group> group(new Group(params));
    if (params.store) {
        group->meet(params);
        return group;
    }
    CommParams comm;
    comm.rank = params.rank;
    comm.size = params.size;
    comm.job = params.job;
    comm.name = params.name;
    comm.settings = params.settings;
    if (!switched_off(params.use_shm).empty())
        comm.settings.push_back("disable=1");
    group->comm_ = Comm::create(comm);
    group->partition_ = one_machine(params.size);
    return group;
}

void Group::meet(const GroupParams &params)
{
    MeetingParams meeting;
    meeting.rank = params.rank;
    meeting.size = params.size;
    meeting.name = params.name.empty() ? "default communicator" : params.name;
    meeting.store = params.store;
    meeting.settings = params.settings;
    meeting.off = switched_off(params.use_shm);
    meeting.prepare = [&](const Meeting &met) {
        if (met.off.empty() && met.partition.machines() > 1)
            across_ = std::make_unique<Across>(met, rank_, make_engine_, settings_);
    };
    Meeting met = meet_over_store(meeting);
    set_elsewhere(met.store);
    partition_ = std::move(met.partition);
    comm_ = std::move(met.comm);
    facts_.machines = partition_.machines();
    facts_.off = std::move(met.off);
}

Way Group::decide(const CallFacts &call)
{
    const Decision decision = route(facts_, call);
    if (decision.way != Way::FALLBACK)
        return decision.way;
    {
        const std::lock_guard lock(counts_lock_);
        fallbacks_[decision.reason]++;
    }
    tell_fallback("a reduction", decision.reason);
    return decision.way;
}

void Group::tell_fallback(const char *what, const std::string &reason)
{
    trace_instant("fallback", std::string(what) + ": " + reason, name_);
    {
        const std::lock_guard lock(counts_lock_);
        if (!told_.insert(reason).second)
            return;
    }
    if (rank_ == 0)
        host().log(
            SHMRT_LOG_WARNING,
            (std::string(what) + (name_.empty() ? "" : " of group \"" + name_ + "\"") +
             " goes through another engine of torch.distributed, and so do later ones: " + reason)
                .c_str());
}

void Group::in_turn(const char *what, c10::function_ref<void()> call)
{
    if (turn_)
        turn_(what, call);
    else
        call();
}

void Group::tell(const char *what, std::chrono::milliseconds timeout, bool caller_only)
{
    if (timeout == told_timeout_ && caller_only == told_caller_only_)
        return;
    const double limit = std::clamp(static_cast<double>(timeout.count()) * 1e-3, 0.001, 1e7);
    const double here = facts_.machines > 1 ? timeout_within_machine(limit) : limit;
    if (comm_)
        comm_->call(what, [&](shmrt_comm *comm) {
            shmrt_comm_set_caller_only(comm, caller_only);
            return shmrt_comm_set_timeout(comm, std::min(here, 1e7));
        });
    if (across_)
        across_->set_timeout(limit);
    told_timeout_ = timeout;
    told_caller_only_ = caller_only;
}

void Group::set_timeout(std::chrono::milliseconds timeout)
{
    elsewhere_.set_timeout(static_cast<double>(timeout.count()) * 1e-3);
}

c10::intrusive_ptr<c10d::Backend> Group::engine_elsewhere(const char *what)
{
    return elsewhere_.backend(what);
}

void Group::elsewhere(const char *what, std::chrono::milliseconds timeout, Engine::Start start)
{
    const Entry entry(*this, what);
    elsewhere_.call(what, timeout, start);
}

void Group::allreduce(const void *in, void *out, std::size_t count, shmrt_dtype dtype, shmrt_op op,
                      const char *what, const CallFacts &call)
{
    in_turn(what, [&] { allreduce_now(in, out, count, dtype, op, what, call); });
}

void Group::allreduce_now(const void *in, void *out, std::size_t count, shmrt_dtype dtype,
                          shmrt_op op, const char *what, const CallFacts &call)
{
    const Way way = decide(call);
    if (way == Way::SHARED_MEMORY)
        return comm_->call(what, [&](shmrt_comm *comm) {
            return shmrt_allreduce(comm, in, out, count, dtype, op);
        });
    const bool is_float = dtype <= SHMRT_FLOAT16;
    if (op == SHMRT_AVG && !is_float)
        throw_error(EINVAL, std::string(what) + ": avg of integers (" + shmrt_dtype_name(dtype) +
                                ") is not defined; use sum and divide, or convert to a float");
    const Span span("all-reduce", name_, count * shmrt_dtype_bytes(dtype), shmrt_dtype_name(dtype),
                    way == Way::ACROSS ? "across machines" : "torch.distributed");
    const Entry entry(*this, what);
    if (way == Way::ACROSS)
        return across_->allreduce(in, out, count, dtype, op);
    if (in != out)
        std::memcpy(out, in, count * shmrt_dtype_bytes(dtype));
    elsewhere_.allreduce(out, count, dtype, op);
}

void Group::barrier(const char *what)
{
    in_turn(what, [&] { barrier_now(what); });
}

void Group::barrier_now(const char *what)
{
    const Way way = decide({});
    if (way == Way::SHARED_MEMORY)
        return comm_->call(what, shmrt_barrier);
    const Entry entry(*this, what);
    if (way == Way::ACROSS)
        return across_->barrier();
    elsewhere_.barrier();
}

/*
 * The sum by its way, then residual and norm as a communicator of one does them: its sum over ranks
 * is the term that it is given, and the rest has the same bits everywhere.
 */
void Group::allreduce_norm(const shmrt_norm_args &args, const char *what, const CallFacts &call)
{
    if (route(facts_, call).way == Way::SHARED_MEMORY) {
        const auto native = [&](shmrt_comm *comm) { return shmrt_allreduce_norm(comm, &args); };
        return in_turn(what, [&] { comm_->call(what, native); });
    }
    const std::size_t count = args.rows * args.columns;
    std::vector<std::byte> sum(count * shmrt_dtype_bytes(args.dtype));
    allreduce(args.in, sum.data(), count, args.dtype, SHMRT_SUM, what, call);
    std::shared_ptr<Comm> alone;
    {
        const std::lock_guard lock(counts_lock_);
        if (!alone_) {
            CommParams params;
            params.size = 1;
            /* Alone, there is nobody to share memory with: nothing is switched off for it. */
            params.settings = {"lanes=1", "pool=0", "tune=off", "disable=0"};
            params.job = random_key();
            alone_ = Comm::create(params);
        }
        alone = alone_;
    }
    shmrt_norm_args own = args;
    own.in = sum.data();
    alone->call(what, [&](shmrt_comm *comm) { return shmrt_allreduce_norm(comm, &own); });
}

void Group::abort(const std::string &reason)
{
    elsewhere_.abort(reason);
    /* The thread that is in a call closes the connections; without one, this one does. */
    if (elsewhere_.is_made() &&
        caller_.load(std::memory_order_relaxed) != std::this_thread::get_id() && call_.try_lock()) {
        elsewhere_.drop();
        call_.unlock();
    }
    if (across_)
        across_->abort(reason);
    else if (comm_)
        comm_->abort(reason.c_str());
}

bool Group::is_entered_by_this_thread() const
{
    return caller_.load(std::memory_order_relaxed) == std::this_thread::get_id() ||
           (comm_ && comm_->is_entered_by_this_thread());
}

void Group::close(const std::string &reason)
{
    if (forks_ != fork_count())
        return;
    closed_ = true;
    if (facts_.machines > 1 || elsewhere_.is_made()) {
        if (call_.try_lock())
            call_.unlock();
        else
            abort(reason);
        const std::lock_guard calls(call_);
        elsewhere_.drop();
        if (across_)
            across_->close();
    }
    if (comm_)
        comm_->close(reason.c_str());
}

GroupStats Group::stats()
{
    GroupStats stats;
    stats.machines = facts_.machines;
    if (across_)
        stats.across = across_->stats();
    const std::lock_guard lock(counts_lock_);
    stats.fallbacks = fallbacks_;
    return stats;
}

std::string Group::describe() const
{
    std::string text = "rank " + std::to_string(rank_) + " of " + std::to_string(size_) + ": ";
    if (!facts_.off.empty())
        return text + facts_.off;
    const int machine = partition_.machine_of[static_cast<std::size_t>(rank_)];
    return text + partition_.describe(machine) + " of " + std::to_string(facts_.machines) +
           (comm_ ? "; there, counted from 0:" : "");
}

void register_group(const std::string &name, std::shared_ptr<Group> group)
{
    std::shared_ptr<Group> earlier; /* let go of it without the lock */
    const std::lock_guard lock(registry().lock);
    earlier = std::exchange(registry().groups[name], std::move(group));
}

std::shared_ptr<Group> unregister_group(const std::string &name, const Group *only)
{
    const std::lock_guard lock(registry().lock);
    const auto found = registry().groups.find(name);
    if (found == registry().groups.end() || (only && found->second.get() != only))
        return nullptr;
    return std::move(registry().groups.extract(found).mapped());
}

std::vector<std::string> group_names()
{
    std::vector<std::string> names;
    const std::lock_guard lock(registry().lock);
    for (const auto &[name, group] : registry().groups)
        names.push_back(name);
    return names;
}

std::shared_ptr<Group> find_group(const std::string &name)
{
    const std::lock_guard lock(registry().lock);
    const auto found = registry().groups.find(name);
    if (found != registry().groups.end())
        return found->second;
    std::string known;
    for (const auto &[other, group] : registry().groups)
        known += (known.empty() ? "\"" : ", \"") + other + "\"";
    throw_error(EINVAL, "there is no group \"" + name + "\" here; " +
                            (known.empty() ? "there is none at all" : "there are " + known) +
                            ": make it with the backend \"shmrt\", or call "
                            "shmrt.attach(process_group) on all of its ranks first");
}

} // namespace shmrt
