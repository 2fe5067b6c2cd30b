// SPDX-License-Identifier: Apache-2.0
/* queue.h - the works of one group, one after the other, on whichever thread has reason to run. */
#pragma once

#include "alarm.h"
#include "work.h"

#include <c10/util/FunctionRef.h>

#include <array>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace shmrt
{

/**
 * WorkQueue - runs works in the order in which they came
 *
 * At most one thread at a time runs works; it has the turn. Who waits for a work takes the turn if
 * it is free, and runs the queue up to its own: a collective that is waited for at once costs no
 * change of threads. For works that nobody waits for there is the queue's own thread, which is
 * started by the first of them, looks after some microseconds, and opens no OpenMP region. While it
 * is in a future's callback, which may wait for another work, a second one takes its place.
 *
 * Invariant, outside of mutex_: where works are pending and nobody has the turn, the alarm is set
 * or a waiter is awake.
 */
class WorkQueue : public std::enable_shared_from_this<WorkQueue>
{
  public:
    using Item = c10::intrusive_ptr<QueuedWork>;

    /** @interrupted: called when a signal handler ends the wait for a work that is running. */
    explicit WorkQueue(std::function<void()> interrupted);

    /** Run @work here and now, or after what is pending. */
    void run(const Item &work);
    /** Run @work soon. */
    void start(const Item &work);
    /** Return when @work is published. False: @timeout (0: none) has passed before. */
    bool wait(const QueuedWork &work, std::chrono::milliseconds timeout);

    /** Is a work, or a function of run_here(), running on the calling thread? */
    bool is_run_here();
    /** Call @function here when all that is pending has run. */
    void run_here(c10::function_ref<void()> function);

    /** Run all that is pending, and wait for what is running. */
    void drain();
    /** Fail all that is pending, and every new work, with @code and @reason. The first one stays.
     */
    void close(int code, const std::string &reason);
    /** End the thread, and wait for it, unless it is the calling one. To be closed before. */
    void stop();

    /** Is the calling thread one of a queue, which must not open OpenMP regions? */
    static bool is_own_thread();

  private:
    using Lock = std::unique_lock<std::mutex>;

    bool may_run() const
    {
        return !running_ && !pending_.empty();
    }
    /* A thread of the queue's. */
    struct Server {
        std::unique_ptr<Alarm> alarm;
        std::thread::id thread;
        bool is_in_callback = false; /* of a future, which may wait for a work that is pending */
    };
    void ring_in(std::chrono::nanoseconds delay);
    Server &free_server();
    Server *own_server();
    void serve(std::size_t which);
    void publish(Lock &lock, const Item &work);
    void run_next(Lock &lock);
    void run_with_turn(Lock &lock, const Item &work);
    void leave();
    void check(const Lock &lock);
    bool is_run_here(const Lock &lock) const;
    void drain(Lock &lock);
    void help(Lock &lock, const QueuedWork &work);
    void sleep(Lock &lock, std::chrono::steady_clock::time_point deadline);

    std::mutex mutex_;
    std::condition_variable changed_; /* a turn has ended, a work was published */
    std::deque<Item> pending_;
    bool running_ = false; /* somebody has the turn */
    std::thread::id runner_;
    int waiting_ = 0;  /* threads in changed_ */
    int attended_ = 0; /* works in a row that were run by who waited for them, ATTENDED at most */
    std::exception_ptr closed_;
    const std::function<void()> interrupted_;
    /* The first one serves; the next ones while those before are in callbacks. */
    std::array<Server, 3> servers_;
};

} // namespace shmrt
