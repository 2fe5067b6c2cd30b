// SPDX-License-Identifier: Apache-2.0
/* work.h - what a collective of the c10d backend hands back: torch.distributed.Work. */
#pragma once

#include <torch/csrc/distributed/c10d/Work.hpp>

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

namespace shmrt
{

class WorkQueue;

/** Lists of tensors that a work gives back; which list is which depends on the collective. */
using Outputs = std::vector<std::vector<at::Tensor>>;

/** What all works have in common: their name in profiles, and their number in the group. */
struct WorkInfo {
    int rank = -1;
    c10d::OpType type = c10d::OpType::UNKNOWN;
    const char *title = nullptr; /* "shmrt:all_reduce" */
    std::uint64_t sequence = 0;
};

/**
 * GroupWork - state, error and future of one operation of a group
 *
 * It is done in two steps. The results are there after settle(), which wakes nobody; publish() then
 * completes the future, whose callbacks may start and wait for other operations, and lets wait()
 * return. An error is stored as a Failure, or as what a signal handler has raised, and thrown by
 * every wait() in the host's own kind.
 */
class GroupWork : public c10d::Work
{
  public:
    GroupWork(const WorkInfo &info, const std::vector<at::Tensor> &inputs, Outputs outputs);

    bool isCompleted() override;
    bool isSuccess() const override;
    std::exception_ptr exception() const override;
    std::vector<at::Tensor> result() override;
    void synchronize() override;
    c10::intrusive_ptr<c10::ivalue::Future> getFuture() override;
    std::uint64_t getSequencenumber() const override;

  protected:
    /** Has publish() ended? */
    bool is_published() const
    {
        return published_.load(std::memory_order_acquire);
    }
    /** Has anybody asked for the future? Then publish() may call back. */
    bool has_future() const;
    void settle(std::exception_ptr error);
    void publish();
    /** Throw what went wrong, if anything did. */
    void rethrow();
    const char *title() const
    {
        return title_;
    }

  private:
    void complete(c10::ivalue::Future &future);

    const char *const title_;
    const std::uint64_t sequence_;
    const Outputs outputs_;
    mutable std::mutex state_; /* guards error_ and future_ */
    std::exception_ptr error_;
    c10::intrusive_ptr<c10::ivalue::Future> future_; /* made by the first who asks for it */
    std::atomic<bool> published_{false};
};

/** QueuedWork - a collective, which runs when the queue of its group comes to it */
class QueuedWork final : public GroupWork
{
  public:
    QueuedWork(std::shared_ptr<WorkQueue> queue, const WorkInfo &info,
               const std::vector<at::Tensor> &inputs, Outputs outputs, std::function<void()> run);

    bool wait(std::chrono::milliseconds timeout) override;

  private:
    friend class WorkQueue;

    /** Run it, on the thread that the queue has chosen; never throws. */
    void execute();
    /** End it without running it. */
    void cancel(const std::exception_ptr &reason);

    const std::shared_ptr<WorkQueue> queue_;
    std::function<void()> run_; /* keeps the tensors; empty once it has run */
    bool settled_ = false;      /* under the queue's lock */
};

/** An exception that is a Failure becomes the host's own kind of error; others stay. */
[[noreturn]] void throw_in_host(const std::exception_ptr &error);

} // namespace shmrt
