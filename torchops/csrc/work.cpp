// SPDX-License-Identifier: Apache-2.0
/* work.cpp - how an operation of a group ends: its error, its future, and who is told. */
#include "work.h"

#include "errors.h"
#include "host.h"
#include "queue.h"

#include <c10/util/Exception.h>

#include <cerrno>
#include <utility>

namespace shmrt
{

namespace
{

using c10::ivalue::Future;

/* As Gloo's: a list of tensors, or with several lists a list of them. */
c10::TypePtr future_type(const Outputs &outputs)
{
    const auto tensors = c10::ListType::create(c10::TensorType::get());
    return outputs.size() > 1 ? c10::ListType::create(tensors) : tensors;
}

c10::IValue future_value(const Outputs &outputs)
{
    if (outputs.empty())
        return c10::IValue(std::vector<at::Tensor>());
    return outputs.size() > 1 ? c10::IValue(outputs) : c10::IValue(outputs.front());
}

/* May it be thrown by several threads, one after the other? What Python raises may not. */
bool is_shareable(const std::exception_ptr &error)
{
    try {
        std::rethrow_exception(error);
    } catch (const Failure &) {
        return true;
    } catch (const c10::Error &) {
        return true;
    } catch (...) {
        return false;
    }
}

} // namespace

void throw_in_host(const std::exception_ptr &error)
{
    try {
        std::rethrow_exception(error);
    } catch (const Failure &failure) {
        throw_error(failure.code(), failure.what());
    }
}

GroupWork::GroupWork(const WorkInfo &info, const std::vector<at::Tensor> &inputs, Outputs outputs)
    : Work(info.rank, info.type, info.title, inputs), title_(info.title), sequence_(info.sequence),
      outputs_(std::move(outputs))
{
}

bool GroupWork::isCompleted()
{
    return is_published();
}

bool GroupWork::isSuccess() const
{
    return !exception();
}

std::exception_ptr GroupWork::exception() const
{
    const std::lock_guard lock(state_);
    return error_;
}

std::vector<at::Tensor> GroupWork::result()
{
    if (!isCompleted())
        throw_error(EINVAL,
                    "Work needs to be completed before calling result(): call wait() first");
    if (outputs_.size() > 1)
        throw_error(EINVAL, "result() has no list of lists of tensors: use get_future().value()");
    return outputs_.empty() ? std::vector<at::Tensor>() : outputs_.front();
}

void GroupWork::synchronize()
{
}

std::uint64_t GroupWork::getSequencenumber() const
{
    return sequence_;
}

c10::intrusive_ptr<Future> GroupWork::getFuture()
{
    c10::intrusive_ptr<Future> future;
    {
        const std::lock_guard lock(state_);
        if (future_)
            return future_;
        future = future_ = c10::make_intrusive<Future>(future_type(outputs_));
        if (!is_published())
            return future;
    }
    complete(*future);
    return future;
}

void GroupWork::complete(Future &future)
{
    if (const std::exception_ptr error = exception())
        future.setErrorIfNeeded(error);
    else
        future.markCompleted(future_value(outputs_));
}

bool GroupWork::has_future() const
{
    const std::lock_guard lock(state_);
    return future_.defined();
}

void GroupWork::settle(std::exception_ptr error)
{
    const std::lock_guard lock(state_);
    error_ = std::move(error);
}

void GroupWork::publish()
{
    if (recordFunctionEndCallback_)
        std::exchange(recordFunctionEndCallback_, nullptr)();
    std::unique_lock lock(state_);
    if (future_) {
        const c10::intrusive_ptr<Future> future = future_;
        lock.unlock();
        complete(*future);
        lock.lock();
    }
    published_.store(true, std::memory_order_release);
}

/* The first to ask gets the exception itself, of a Ctrl-C for example; the others that it was. */
void GroupWork::rethrow()
{
    std::exception_ptr error;
    {
        const std::lock_guard lock(state_);
        if (!error_)
            return;
        error = error_;
        if (!is_shareable(error))
            error_ = std::make_exception_ptr(
                Failure(ECANCELED, std::string(title_) + " was ended by an exception, which was "
                                                         "raised where it was first waited for"));
    }
    throw_in_host(error);
}

QueuedWork::QueuedWork(std::shared_ptr<WorkQueue> queue, const WorkInfo &info,
                       const std::vector<at::Tensor> &inputs, Outputs outputs,
                       std::function<void()> run)
    : GroupWork(info, inputs, std::move(outputs)), queue_(std::move(queue)), run_(std::move(run))
{
}

bool QueuedWork::wait(std::chrono::milliseconds timeout)
{
    if (!queue_->wait(*this, timeout))
        throw_error(ETIMEDOUT, std::string(title()) + ": Timed out waiting " +
                                   std::to_string(timeout.count()) +
                                   "ms, as given to wait(); the operation goes on");
    rethrow();
    return true;
}

/* Errors become Failures, which any thread may look at and raise again as its host's. */
void QueuedWork::execute()
{
    const Background failures;
    std::exception_ptr error;
    try {
        run_();
    } catch (...) {
        error = std::current_exception();
    }
    run_ = nullptr;
    settle(std::move(error));
}

void QueuedWork::cancel(const std::exception_ptr &reason)
{
    run_ = nullptr;
    settle(reason);
    publish();
}

} // namespace shmrt
