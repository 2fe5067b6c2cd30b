// SPDX-License-Identifier: Apache-2.0
/*
 * queue.cpp - who runs the next work.
 *
 * mutex_ is never held while a work runs, while its future calls back, or with the GIL taken.
 */
#include "queue.h"

#include "errors.h"
#include "host.h"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace shmrt
{

namespace
{

using Clock = std::chrono::steady_clock;

/* How long a work waits for somebody who wants its result, before the queue's thread takes it. */
constexpr std::chrono::nanoseconds DELAY = std::chrono::microseconds(100);

/* The same where the last works were all waited for before. A timer that would ring before the next
   tick of the kernel has to be programmed into the CPU, which takes a virtual machine some 7 us. */
constexpr std::chrono::nanoseconds LONG_DELAY = std::chrono::milliseconds(5);
constexpr int ATTENDED = 8;
constexpr std::chrono::nanoseconds AT_ONCE{1};

/* A thread that waits for another one looks this often for signals of the host. */
constexpr std::chrono::milliseconds SIGNALS = std::chrono::milliseconds(200);

/* Signal handlers run on this thread, inside its wait for a work. */
thread_local bool in_handlers = false;

} // namespace

WorkQueue::WorkQueue(std::function<void()> interrupted) : interrupted_(std::move(interrupted))
{
    for (Server &server : servers_)
        server.alarm = std::make_unique<Alarm>("shmrt-works");
}

bool WorkQueue::is_own_thread()
{
    return Alarm::is_own_thread();
}

/* The first whose thread is not in a callback; when all are, the last one has to come back. */
WorkQueue::Server &WorkQueue::free_server()
{
    for (Server &server : servers_)
        if (!server.is_in_callback)
            return server;
    return servers_.back();
}

/* The thread may be the last to hold the queue. */
void WorkQueue::ring_in(std::chrono::nanoseconds delay)
{
    Server &server = free_server();
    const auto which = static_cast<std::size_t>(&server - servers_.data());
    server.alarm->set(delay, [weak = weak_from_this(), which] {
        if (const std::shared_ptr<WorkQueue> queue = weak.lock())
            queue->serve(which);
    });
}

void WorkQueue::serve(std::size_t which)
{
    Lock lock(mutex_);
    servers_[which].thread = std::this_thread::get_id();
    while (may_run()) {
        attended_ = 0;
        run_next(lock);
    }
}

/* That of the calling thread; null where it is not one of this queue's. */
WorkQueue::Server *WorkQueue::own_server()
{
    for (Server &server : servers_)
        if (server.thread == std::this_thread::get_id())
            return &server;
    return nullptr;
}

/* Let callbacks run, while others may run works. */
void WorkQueue::publish(Lock &lock, const Item &work)
{
    Server *own = nullptr;
    if (work->has_future()) {
        own = own_server();
        if (own)
            own->is_in_callback = true;
        try {
            if (may_run())
                ring_in(attended_ >= ATTENDED ? LONG_DELAY : DELAY);
        } catch (...) { /* no second thread: then they run after the callbacks */
        }
    }
    lock.unlock();
    work->publish();
    lock.lock();
    if (own)
        own->is_in_callback = false;
}

void WorkQueue::run_next(Lock &lock)
{
    const Item work = std::move(pending_.front());
    pending_.pop_front();
    run_with_turn(lock, work);
}

void WorkQueue::run_with_turn(Lock &lock, const Item &work)
{
    running_ = true;
    runner_ = std::this_thread::get_id();
    lock.unlock();
    work->execute();
    lock.lock();
    work->settled_ = true;
    running_ = false;
    runner_ = {};
    if (waiting_)
        changed_.notify_all();
    publish(lock, work);
    if (waiting_)
        changed_.notify_all();
}

/* The calling thread will not run what is pending. */
void WorkQueue::leave()
{
    if (may_run() && !free_server().alarm->is_set())
        ring_in(attended_ >= ATTENDED ? LONG_DELAY : DELAY);
    else if (pending_.empty())
        free_server().alarm->clear();
}

/* A work of this queue is running on the calling thread. */
bool WorkQueue::is_run_here(const Lock &) const
{
    return running_ && runner_ == std::this_thread::get_id();
}

bool WorkQueue::is_run_here()
{
    return is_run_here(Lock(mutex_));
}

void WorkQueue::check(const Lock &lock)
{
    if (closed_)
        throw_in_host(closed_);
    if (is_run_here(lock))
        throw_error(EDEADLK, "a signal or log handler has called a collective, or waited for one, "
                             "while this very thread is in a collective of the same group");
}

void WorkQueue::run(const Item &work)
{
    Lock lock(mutex_);
    check(lock);
    if (running_ || !pending_.empty()) {
        pending_.push_back(work);
        help(lock, *work);
    } else {
        run_with_turn(lock, work);
    }
    leave();
}

void WorkQueue::start(const Item &work)
{
    const Lock lock(mutex_);
    check(lock);
    pending_.push_back(work);
    if (running_ || free_server().alarm->is_set())
        return;
    try {
        ring_in(attended_ >= ATTENDED ? LONG_DELAY : DELAY);
    } catch (...) { /* no thread to run it: then it was not started */
        pending_.pop_back();
        throw;
    }
}

bool WorkQueue::wait(const QueuedWork &work, std::chrono::milliseconds timeout)
{
    if (work.is_published())
        return true;
    Lock lock(mutex_);
    if (timeout.count() <= 0) {
        if (is_run_here(lock))
            check(lock);
        help(lock, work);
        leave();
        return true;
    }
    const auto deadline = Clock::now() + timeout;
    if (may_run())
        ring_in(AT_ONCE);
    while (!work.is_published() && Clock::now() < deadline)
        sleep(lock, deadline);
    return work.is_published();
}

/* Run what comes before @work, and @work itself, unless another thread does. */
void WorkQueue::help(Lock &lock, const QueuedWork &work)
{
    while (!work.is_published()) {
        if (!work.settled_ && may_run()) {
            attended_ = std::min(attended_ + 1, ATTENDED);
            run_next(lock);
            continue;
        }
        leave();
        sleep(lock, Clock::time_point::max());
    }
}

void WorkQueue::sleep(Lock &lock, Clock::time_point deadline)
{
    const auto now = Clock::now();
    waiting_++;
    const auto woken = changed_.wait_until(lock, std::min(deadline, now + SIGNALS));
    waiting_--;
    if (woken == std::cv_status::no_timeout || is_own_thread())
        return;
    lock.unlock();
    const bool is_nested = std::exchange(in_handlers, true);
    const std::exception_ptr raised = host().check_signals();
    in_handlers = is_nested;
    if (raised) {
        interrupted_();
        std::rethrow_exception(raised);
    }
    lock.lock();
}

void WorkQueue::run_here(c10::function_ref<void()> function)
{
    Lock lock(mutex_);
    check(lock);
    drain(lock);
    running_ = true;
    runner_ = std::this_thread::get_id();
    lock.unlock();
    std::exception_ptr error;
    try {
        function();
    } catch (...) {
        error = std::current_exception();
    }
    lock.lock();
    running_ = false;
    runner_ = {};
    if (waiting_)
        changed_.notify_all();
    leave();
    lock.unlock();
    if (error)
        std::rethrow_exception(error);
}

void WorkQueue::drain()
{
    if (in_handlers)
        interrupted_(); /* what the handler has interrupted may wait for a rank that never comes */
    Lock lock(mutex_);
    drain(lock);
    leave();
}

void WorkQueue::drain(Lock &lock)
{
    while (running_ || !pending_.empty()) {
        if (may_run())
            run_next(lock);
        else
            sleep(lock, Clock::time_point::max());
    }
}

void WorkQueue::close(int code, const std::string &reason)
{
    std::deque<Item> cancelled;
    Lock lock(mutex_);
    if (!closed_)
        closed_ = std::make_exception_ptr(Failure(code, reason));
    cancelled.swap(pending_);
    for (const Item &work : cancelled)
        work->settled_ = true;
    lock.unlock();
    for (const Item &work : cancelled)
        work->cancel(closed_);
    lock.lock();
    changed_.notify_all();
}

void WorkQueue::stop()
{
    {
        const Lock lock(mutex_);
        for (Server &server : servers_)
            server.alarm->stop();
    }
    for (Server &server : servers_)
        server.alarm->join();
}

} // namespace shmrt
