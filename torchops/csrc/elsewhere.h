// SPDX-License-Identifier: Apache-2.0
/* elsewhere.h - all ranks of a group over another engine: what shared memory does not do. */
#pragma once

#include "engine.h"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

namespace shmrt
{

/** How a group gets to its other engine. */
struct ElsewhereParams {
    EngineFactory make; /* may be empty: then every call is ENOTSUP */
    c10::intrusive_ptr<c10d::Store> store;
    int rank = 0;
    int size = 0;
    std::string name;      /* of the group, for errors */
    double connect_s = 60; /* how long connecting may take */
    double timeout_s = 1800;
};

/**
 * Elsewhere - another engine over a whole group, made by the first call that needs it
 *
 * One thread at a time is in a collective; abort() may come from any. A collective that fails in
 * the middle closes this rank's connections for good, so that it fails on all ranks.
 */
class Elsewhere
{
  public:
    void set_params(ElsewhereParams params);

    bool is_made() const
    {
        return in_use_ != nullptr;
    }

    void allreduce(void *data, std::size_t count, shmrt_dtype dtype, shmrt_op op);
    void barrier();
    /** Any collective of the engine, with its own errors: see Engine::call(). */
    void call(const char *what, std::chrono::milliseconds timeout, Engine::Start start);
    /** The engine itself, for messages, of which many are under way at once. */
    c10::intrusive_ptr<c10d::Backend> backend(const char *what);

    void set_timeout(double timeout_s);
    /** End the call that another thread is in, and all later ones. */
    void abort(const std::string &reason);
    /** Close the connections; nobody may be in a call. */
    void drop();

  private:
    Engine &engine();
    template <class Work> void guarded(Work work);
    void check_alive();
    void end(int code, const std::string &text);

    ElsewhereParams params_;
    std::mutex make_; /* held while it connects */
    std::unique_ptr<Engine> engine_;
    std::atomic<Engine *> in_use_{nullptr}; /* engine_, once it is made, for an abort */
    std::mutex dead_lock_;
    std::optional<std::pair<int, std::string>> dead_; /* what ended it */
};

} // namespace shmrt
