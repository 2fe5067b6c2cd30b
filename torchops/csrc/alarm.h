// SPDX-License-Identifier: Apache-2.0
/* alarm.h - a thread that does something a little later, unless it has been done by then. */
#pragma once

#include <chrono>
#include <functional>
#include <memory>

namespace shmrt
{

/**
 * Alarm - calls a function on a thread of its own, a delay after it was set
 *
 * To set it costs one system call and wakes nobody, so who comes before the delay is over pays for
 * no change of threads. The thread is started by prepare() or the first set(), lives until stop(),
 * is a Background one, and opens no OpenMP region, nor does PyTorch on it.
 *
 * prepare(), set(), clear() and stop() are called under one lock of the owner's. A forked child has
 * no thread: there they do nothing.
 */
class Alarm
{
  public:
    /** @name of the thread, 15 characters at most. */
    explicit Alarm(const char *name);
    Alarm(const Alarm &) = delete;
    Alarm &operator=(const Alarm &) = delete;
    ~Alarm();

    /** Start the thread, where it is not there yet. The first @ring given stays. */
    void prepare(const std::function<void()> &ring);
    /** Call @ring after @delay; each time it has been set once. Prepares, too. */
    void set(std::chrono::nanoseconds delay, const std::function<void()> &ring);
    /** Not any more, unless it rings already. */
    void clear();
    bool is_set() const;

    /** Let the thread end. It may still be in a call of @ring. Not to be set after that. */
    void stop();
    /** Return when the thread has ended; at once when it is the calling one. Without the lock. */
    void join();

    /** Is the calling thread one of an alarm? */
    static bool is_own_thread();

  private:
    struct Shared;

    void start(const std::function<void()> &ring);
    bool is_here() const;

    const char *const name_;
    const unsigned forks_;
    std::shared_ptr<Shared> shared_; /* with the thread, once there is one */
};

} // namespace shmrt
