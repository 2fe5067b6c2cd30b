// SPDX-License-Identifier: Apache-2.0
/* elsewhere.cpp - the engine of a whole group, and how its end reaches all ranks. */
#include "elsewhere.h"

#include "errors.h"
#include "host.h"

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>

#include <cerrno>
#include <numeric>
#include <utility>
#include <vector>

namespace shmrt
{

void Elsewhere::set_params(ElsewhereParams params)
{
    params_ = std::move(params);
}

Engine &Elsewhere::engine()
{
    const std::lock_guard lock(make_);
    if (engine_)
        return *engine_;
    check_alive();
    if (!params_.make)
        throw_error(ENOTSUP, "group \"" + params_.name +
                                 "\" was made without an engine for calls that do without shared "
                                 "memory: call torch.distributed.all_reduce() instead");
    c10::intrusive_ptr<c10d::Store> store;
    if (params_.store)
        store = c10::make_intrusive<c10d::PrefixStore>("flat", params_.store);
    std::vector<int> ranks(static_cast<std::size_t>(params_.size));
    std::iota(ranks.begin(), ranks.end(), 0);
    engine_ = std::make_unique<Engine>(
        params_.make(store, {ranks}, params_.rank, params_.connect_s), params_.timeout_s,
        "all " + std::to_string(params_.size) + " ranks");
    in_use_ = engine_.get();
    return *engine_;
}

void Elsewhere::check_alive()
{
    const std::lock_guard lock(dead_lock_);
    if (dead_)
        throw_error(dead_->first, dead_->second);
}

/* Who waits for this rank sees its connections close, and closes its own: all ranks fail. */
void Elsewhere::end(int code, const std::string &text)
{
    {
        const std::lock_guard lock(dead_lock_);
        if (!dead_)
            dead_ = {code, text};
    }
    drop();
}

template <class Work> void Elsewhere::guarded(Work work)
{
    Engine &with = engine();
    check_alive();
    std::pair<int, std::string> failed;
    try {
        const Background as_failure;
        work(with);
        return;
    } catch (const Failure &failure) {
        failed = {failure.code(), failure.what()};
    } catch (const std::exception &error) {
        if (with.is_broken())
            end(ECANCELED, "rank " + std::to_string(params_.rank) +
                               " has given up a collective: " + error.what());
        throw;
    }
    if (with.is_broken())
        end(failed.first, failed.second);
    check_alive();
    throw_error(failed.first, failed.second);
}

void Elsewhere::allreduce(void *data, std::size_t count, shmrt_dtype dtype, shmrt_op op)
{
    guarded([&](Engine &engine) { engine.allreduce(data, count, dtype, op); });
}

void Elsewhere::barrier()
{
    guarded([](Engine &engine) { engine.barrier(); });
}

void Elsewhere::call(const char *what, std::chrono::milliseconds timeout, Engine::Start start)
{
    guarded([&](Engine &engine) { engine.call(what, timeout, start); });
}

c10::intrusive_ptr<c10d::Backend> Elsewhere::backend(const char *what)
{
    Engine &with = engine();
    check_alive();
    return with.backend(what);
}

void Elsewhere::set_timeout(double timeout_s)
{
    const std::lock_guard lock(make_);
    params_.timeout_s = timeout_s;
    if (engine_)
        engine_->set_timeout(timeout_s);
}

void Elsewhere::abort(const std::string &reason)
{
    {
        const std::lock_guard lock(dead_lock_);
        if (!dead_)
            dead_ = {ECONNABORTED, reason};
    }
    if (Engine *engine = in_use_)
        engine->abort();
}

void Elsewhere::drop()
{
    if (Engine *engine = in_use_)
        engine->drop();
}

} // namespace shmrt
