// SPDX-License-Identifier: Apache-2.0
/*
 * alarm.cpp - a timerfd, and the thread that reads it.
 *
 * The thread is detached and shares its state, so that it may outlive the alarm for a moment: the
 * last reference to a queue may be dropped on the queue's own thread.
 */
#include "alarm.h"

#include "comm.h"
#include "errors.h"
#include "host.h"

#include <ATen/Parallel.h>

#include <omp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>

namespace shmrt
{

namespace
{

thread_local bool is_alarm_thread = false;

/* A signal is for a thread of the host, which looks for it while it waits. */
class SignalsBlocked
{
  public:
    SignalsBlocked()
    {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~SignalsBlocked()
    {
        pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    }
    SignalsBlocked(const SignalsBlocked &) = delete;
    SignalsBlocked &operator=(const SignalsBlocked &) = delete;

  private:
    sigset_t before_;
};

/* PyTorch asks OpenMP for its number of threads, each thread for its own; first it sets it once. */
void have_one_openmp_thread()
{
    at::get_num_threads();
    omp_set_num_threads(1);
}

} // namespace

struct Alarm::Shared {
    explicit Shared(int fd) : timer(fd)
    {
    }
    ~Shared()
    {
        close(timer);
    }
    Shared(const Shared &) = delete;
    Shared &operator=(const Shared &) = delete;

    void set(std::chrono::nanoseconds delay)
    {
        itimerspec when{};
        when.it_value.tv_sec = delay.count() / 1000000000;
        when.it_value.tv_nsec = delay.count() % 1000000000;
        timerfd_settime(timer, 0, &when, nullptr);
    }

    void serve(const std::function<void()> &ring)
    {
        while (!stopped.load(std::memory_order_acquire)) {
            std::uint64_t times = 0;
            if (read(timer, &times, sizeof times) != sizeof times) {
                if (errno == EINTR || errno == EAGAIN)
                    continue;
                break; /* who closes descriptors that aren't its own has closed this one */
            }
            is_set.store(false, std::memory_order_relaxed);
            if (!stopped.load(std::memory_order_acquire))
                ring();
        }
        const std::lock_guard lock(mutex);
        ended = true;
        has_ended.notify_all();
    }

    const int timer;
    std::atomic<bool> is_set{false};
    std::atomic<bool> stopped{false};
    std::mutex mutex;
    std::condition_variable has_ended;
    bool ended = false;
    std::thread::id thread; /* under mutex */
};

Alarm::Alarm(const char *name) : name_(name), forks_(fork_count())
{
}

Alarm::~Alarm()
{
    stop();
}

/* The thread, if there is one, is of this process. */
bool Alarm::is_here() const
{
    return shared_ && forks_ == fork_count();
}

void Alarm::start(const std::function<void()> &ring)
{
    const int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    if (timer < 0)
        throw_error(errno, std::string("a thread for asynchronous collectives can't be started: "
                                       "timerfd_create: ") +
                               std::strerror(errno));
    const auto shared = std::make_shared<Shared>(timer);
    const SignalsBlocked blocked;
    const std::lock_guard lock(shared->mutex);
    try {
        std::thread thread([shared, ring, name = name_] {
            const Background background;
            is_alarm_thread = true;
            pthread_setname_np(pthread_self(), name);
            have_one_openmp_thread();
            shared->serve(ring);
        });
        shared->thread = thread.get_id();
        thread.detach();
    } catch (const std::system_error &error) {
        throw_error(error.code().value(),
                    std::string("a thread for asynchronous collectives can't be started: ") +
                        error.what());
    }
    shared_ = shared;
}

void Alarm::prepare(const std::function<void()> &ring)
{
    if (!shared_ && forks_ == fork_count())
        start(ring);
}

void Alarm::set(std::chrono::nanoseconds delay, const std::function<void()> &ring)
{
    if (forks_ != fork_count())
        return;
    prepare(ring);
    if (shared_->stopped.load(std::memory_order_relaxed))
        return;
    shared_->is_set.store(true, std::memory_order_relaxed);
    shared_->set(delay);
}

void Alarm::clear()
{
    if (!is_here() || shared_->stopped.load(std::memory_order_relaxed) ||
        !shared_->is_set.exchange(false, std::memory_order_relaxed))
        return;
    shared_->set(std::chrono::nanoseconds(0));
}

bool Alarm::is_set() const
{
    return shared_ && shared_->is_set.load(std::memory_order_relaxed);
}

void Alarm::stop()
{
    if (!is_here())
        return;
    shared_->stopped.store(true, std::memory_order_release);
    shared_->set(std::chrono::nanoseconds(1));
}

void Alarm::join()
{
    if (!is_here())
        return;
    std::unique_lock lock(shared_->mutex);
    if (shared_->thread != std::this_thread::get_id())
        shared_->has_ended.wait(lock, [&] { return shared_->ended; });
}

bool Alarm::is_own_thread()
{
    return is_alarm_thread;
}

} // namespace shmrt
