// SPDX-License-Identifier: Apache-2.0
/*
 * p2p_wait.cpp - who moves messages, how often it looks, and when it gives up.
 *
 * A rank that sends rings no bell, so a receiver has to look. It looks less and less often, at last
 * once in a millisecond, and a long wait costs next to nothing.
 */
#include "p2p.h"

#include "errors.h"
#include "host.h"

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <thread>
#include <utility>

namespace shmrt
{

namespace
{

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;

/* How long a message waits for somebody who wants it, before the thread takes care of it. */
constexpr std::chrono::nanoseconds DELAY = microseconds(200);

constexpr microseconds SPIN{20};
constexpr microseconds YIELD{1000};
constexpr microseconds MOST_NAP{1000};
constexpr std::chrono::milliseconds SIGNALS{100};

int usable_cpus()
{
    cpu_set_t cpus;
    return sched_getaffinity(0, sizeof cpus, &cpus) ? 1 : CPU_COUNT(&cpus);
}

/* Between two looks in a wait: nothing, then yield, then nap for an eighth of the time waited. */
class Patience
{
  public:
    explicit Patience(bool is_crowded) : is_crowded_(is_crowded)
    {
    }

    void reset()
    {
        start_ = Clock::now();
    }
    void pause(Clock::time_point until) const
    {
        const auto now = Clock::now();
        const auto waited = now - start_;
        if (waited < SPIN && !is_crowded_)
            return;
        if (waited < YIELD) {
            sched_yield();
            return;
        }
        const auto nap = std::min<Clock::duration>(waited / 8, MOST_NAP);
        std::this_thread::sleep_for(std::min<Clock::duration>(nap, until - now));
    }

  private:
    const bool is_crowded_;
    Clock::time_point start_ = Clock::now();
};

std::string peer_name(int peer)
{
    return peer < 0 ? "any rank" : "rank " + std::to_string(peer);
}

} // namespace

MessageWork::MessageWork(std::shared_ptr<PointToPoint> owner, const WorkInfo &info,
                         const at::Tensor &tensor, int peer, int tag,
                         std::chrono::milliseconds timeout)
    : GroupWork(info, {tensor}, {{tensor}}), owner_(std::move(owner)), peer_(peer), tag_(tag),
      timeout_(timeout), deadline_(Clock::now() + timeout), packed_(tensor)
{
}

bool MessageWork::wait(std::chrono::milliseconds timeout)
{
    if (!owner_->wait(*this, timeout))
        throw_error(ETIMEDOUT, std::string(title()) + ": Timed out waiting " +
                                   std::to_string(timeout.count()) + "ms for " + peer_name(peer_) +
                                   ", as given to wait(); the operation goes on");
    rethrow();
    return true;
}

std::string MessageWork::describe() const
{
    char waited[32];
    const auto start = deadline_ - timeout_;
    std::snprintf(waited, sizeof waited, "%.3g",
                  std::chrono::duration<double>(Clock::now() - start).count());
    return std::string(opType_ == c10d::OpType::SEND ? "send" : "recv") + " (" +
           std::to_string(packed_.bytes()) + " bytes, tag " + std::to_string(tag_) + "), waiting " +
           waited + " s for " + peer_name(peer_);
}

int MessageWork::sourceRank() const
{
    return source_;
}

PointToPoint::PointToPoint(std::shared_ptr<Comm> comm)
    : comm_(std::move(comm)), own_(comm_->rank()), is_crowded_(comm_->size() > usable_cpus()),
      outgoing_(static_cast<std::size_t>(comm_->size())),
      incoming_(static_cast<std::size_t>(comm_->size())), alarm_("shmrt-p2p")
{
}

/* What can be moved without waiting; an error is that of all that is under way. */
bool PointToPoint::step()
{
    const Background failures;
    try {
        return move_all();
    } catch (const Failure &error) {
        comm_->abort(error.what()); /* a refusal, as for want of memory, ends this rank only */
        if (error.code() == ECONNABORTED)
            fail_all_in_waits(error.code(), error.what());
        else
            fail_all(error.code(), error.what());
    } catch (const std::exception &error) {
        comm_->abort(error.what());
        fail_all(EIO, error.what());
    }
    return true;
}

/*
 * libshmrt knows which piece of a message it was at, or that somebody looked for one. This rank's
 * part of the story is the message, and since when it waits.
 */
std::string PointToPoint::where_found(const MessageWork &work, const std::string &error) const
{
    const std::string own_part = "; rank " + std::to_string(own_) + " was in ";
    return error.substr(0, error.rfind(own_part)) + own_part + work.describe();
}

/* Futures call back here, and may send and receive. */
void PointToPoint::publish(Lock &lock)
{
    while (!finished_.empty()) {
        const std::vector<Item> works = std::exchange(finished_, {});
        lock.unlock();
        for (const Item &work : works)
            work->publish();
        lock.lock();
    }
}

/* Before something is put under way: without the thread it can't be looked after, so it is refused.
 */
void PointToPoint::prepare()
{
    if (broken_)
        throw_in_host(broken_);
    alarm_.prepare(ring());
}

/* After that: try it, and see that somebody looks after it. */
void PointToPoint::post(Lock &lock, bool is_next)
{
    if (is_next)
        step();
    publish(lock);
    if (!is_idle() && waiting_ == 0 && !alarm_.is_set() && !is_served_)
        ring_in(DELAY);
}

std::function<void()> PointToPoint::ring()
{
    return [weak = weak_from_this()] {
        if (const std::shared_ptr<PointToPoint> self = weak.lock())
            self->serve();
    };
}

void PointToPoint::ring_in(std::chrono::nanoseconds delay)
{
    alarm_.set(delay, ring());
}

/* On the alarm's thread, until nothing is under way or somebody waits, who does it then. */
void PointToPoint::serve()
{
    Lock lock(mutex_);
    is_served_ = true;
    Patience patience(true);
    while (!is_idle() && waiting_ == 0) {
        if (step())
            patience.reset();
        check_deadlines();
        publish(lock);
        lock.unlock();
        patience.pause(Clock::time_point::max());
        lock.lock();
    }
    is_served_ = false;
}

bool PointToPoint::wait(const MessageWork &work, std::chrono::milliseconds timeout)
{
    if (work.is_published())
        return true;
    const auto start = Clock::now();
    const auto until = timeout.count() > 0 ? start + timeout : Clock::time_point::max();
    auto look_for_signals = start + SIGNALS;
    Patience patience(is_crowded_);
    Lock lock(mutex_);
    waiting_++;
    while (!work.is_published() && Clock::now() < until) {
        if (step())
            patience.reset();
        check_deadlines();
        publish(lock);
        lock.unlock();
        if (!work.is_published())
            patience.pause(until);
        if (Clock::now() > look_for_signals) {
            look_for_signals = Clock::now() + SIGNALS;
            if (const std::exception_ptr raised = host().check_signals()) {
                lock.lock();
                leave();
                std::rethrow_exception(raised);
            }
        }
        lock.lock();
    }
    leave();
    return work.is_published();
}

/* A waiter goes. What it has not waited for is the thread's again. */
void PointToPoint::leave()
{
    if (--waiting_ > 0)
        return;
    if (is_idle())
        alarm_.clear();
    else if (!is_served_ && !broken_)
        ring_in(DELAY);
}

/*
 * A receive that no message has come for is only forgotten. What is on its way can't be stopped
 * halfway, so that ends the communicator.
 */
void PointToPoint::check_deadlines()
{
    const auto now = Clock::now();
    const auto late = [&](const Item &work) { return work && work->deadline_ < now; };
    const auto text = [](const MessageWork &work, const char *what, int peer) {
        return std::string(what) + ": Timed out waiting " + std::to_string(work.timeout_.count()) +
               "ms for " + peer_name(peer) + " (tag " + std::to_string(work.tag_) + ")";
    };
    for (auto at = receives_.begin(); at != receives_.end();) {
        const Item work = *at;
        if (!late(work)) {
            ++at;
            continue;
        }
        at = receives_.erase(at);
        finish(work, std::make_exception_ptr(
                         Failure(ETIMEDOUT, text(*work, "recv", work->peer_) +
                                                ": it has sent no message with this tag")));
    }
    std::string reason;
    for (std::size_t peer = 0; peer < outgoing_.size() && reason.empty(); peer++) {
        const Outgoing &out = outgoing_[peer];
        const Incoming &in = incoming_[peer];
        const Item &receive = in.early ? in.early->wanted_by : in.work;
        if (!out.works.empty() && late(out.works.front()))
            reason = text(*out.works.front(), "send", static_cast<int>(peer)) +
                     ": it does not receive what was sent to it";
        else if (late(receive))
            reason =
                text(*receive, "recv", static_cast<int>(peer)) + ": its message has come in part";
    }
    if (reason.empty())
        return;
    comm_->abort(reason.c_str());
    fail_all(ETIMEDOUT, reason);
}

void PointToPoint::abort(const char *reason)
{
    comm_->abort(reason);
    Lock lock(mutex_);
    fail_all(ECONNABORTED, reason);
    publish(lock);
}

void PointToPoint::close(int code, const std::string &reason)
{
    {
        Lock lock(mutex_);
        fail_all(code, reason);
        alarm_.stop();
        publish(lock);
    }
    comm_->close(reason.c_str());
    alarm_.join();
}

} // namespace shmrt
