// SPDX-License-Identifier: Apache-2.0
/* process_group.h - the c10d backend "shmrt": the collectives of torch.distributed on libshmrt. */
#pragma once

#include "comm.h"
#include "group.h"
#include "host.h"
#include "p2p.h"
#include "packed.h"
#include "queue.h"

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace shmrt
{

/** How libshmrt reduces a tensor: complex numbers are two floats each. */
struct Reduction {
    shmrt_dtype dtype;
    shmrt_op op;

    /** Nothing, and @why_not says why, where it can't. */
    static std::optional<Reduction> of(const c10d::ReduceOp &op, const at::Tensor &tensor,
                                       const char **why_not);
    std::size_t count(const Packed &packed) const
    {
        return packed.bytes() / shmrt_dtype_bytes(dtype);
    }
};

/** How many operations a group has done: on libshmrt, and by another engine, by reason. */
struct ProcessGroupCounts {
    static constexpr std::size_t TYPES = 32;
    std::array<std::atomic<std::uint64_t>, TYPES> native{}; /* by c10d::OpType */
    std::mutex lock;
    std::map<std::string, std::uint64_t> fallbacks;
};

/** What a group is made from. */
struct ProcessGroupParams {
    c10::intrusive_ptr<c10d::Store> store;
    int rank = 0;
    int size = 0;
    std::chrono::milliseconds timeout = kBackendDefaultTimeout;
    std::string name;
    std::vector<std::uint64_t> global_ranks;
    EngineFactory engine;
};

/**
 * ProcessGroupShmrt - a group of ranks
 *
 * Collectives run one after the other in the order of their calls (see WorkQueue). What libshmrt
 * does not reduce goes to an inner group of another engine, made by the first such call, and is
 * counted by reason. Where the ranks are on several machines, all goes there but all-reduces, which
 * Group does. Nothing here may be called with the GIL held, but to make and to free it.
 */
class ProcessGroupShmrt final : public c10d::Backend
{
  public:
    using WorkPtr = c10::intrusive_ptr<c10d::Work>;
    using Tensors = std::vector<at::Tensor>;
    using TensorLists = std::vector<std::vector<at::Tensor>>;

    struct Options : c10d::Backend::Options {
        explicit Options(std::chrono::milliseconds limit) : c10d::Backend::Options("shmrt", limit)
        {
        }
    };

    explicit ProcessGroupShmrt(ProcessGroupParams params);
    ~ProcessGroupShmrt() override;

    const std::string getBackendName() const override
    {
        return "shmrt";
    }
    c10::intrusive_ptr<c10d::Backend::Options> getBackendOptions() override;
    void setTimeout(std::chrono::milliseconds timeout) override;
    bool supportsSplitting() const override
    {
        return true;
    }
    c10::intrusive_ptr<c10d::Backend>
    split(const c10::intrusive_ptr<c10d::Store> &store, const std::vector<int> &ranks,
          const c10::intrusive_ptr<c10d::Backend::Options> &options) override;
    void setSequenceNumberForGroup() override
    {
    }
    std::uint64_t getSequenceNumberForGroup() override;
    c10d::ErrorType getError() override;

    /** End every operation, here and on the other ranks, with an error. */
    void abort() override;
    /** Run what was started, then leave. */
    void shutdown() override;
    /** Leave at once: what was started and has not run is dropped. */
    void leave(const std::string &reason);

    WorkPtr broadcast(Tensors &tensors, const c10d::BroadcastOptions &options) override;
    WorkPtr allreduce(Tensors &tensors, const c10d::AllreduceOptions &options) override;
    WorkPtr allreduce_sparse(Tensors &tensors, const c10d::AllreduceOptions &options) override;
    WorkPtr allreduce_coalesced(Tensors &tensors,
                                const c10d::AllreduceCoalescedOptions &options) override;
    WorkPtr reduce(Tensors &tensors, const c10d::ReduceOptions &options) override;
    WorkPtr allgather(TensorLists &outputs, Tensors &inputs,
                      const c10d::AllgatherOptions &options) override;
    WorkPtr _allgather_base(at::Tensor &output, at::Tensor &input,
                            const c10d::AllgatherOptions &options) override;
    WorkPtr allgather_coalesced(TensorLists &outputs, Tensors &inputs,
                                const c10d::AllgatherOptions &options) override;
    WorkPtr allgather_into_tensor_coalesced(Tensors &outputs, Tensors &inputs,
                                            const c10d::AllgatherOptions &options) override;
    WorkPtr gather(TensorLists &outputs, Tensors &inputs,
                   const c10d::GatherOptions &options) override;
    WorkPtr scatter(Tensors &outputs, TensorLists &inputs,
                    const c10d::ScatterOptions &options) override;
    WorkPtr reduce_scatter(Tensors &outputs, TensorLists &inputs,
                           const c10d::ReduceScatterOptions &options) override;
    WorkPtr _reduce_scatter_base(at::Tensor &output, at::Tensor &input,
                                 const c10d::ReduceScatterOptions &options) override;
    WorkPtr reduce_scatter_tensor_coalesced(Tensors &outputs, Tensors &inputs,
                                            const c10d::ReduceScatterOptions &options) override;
    WorkPtr alltoall_base(at::Tensor &output, at::Tensor &input,
                          std::vector<std::int64_t> &output_splits,
                          std::vector<std::int64_t> &input_splits,
                          const c10d::AllToAllOptions &options) override;
    WorkPtr alltoall(Tensors &outputs, Tensors &inputs,
                     const c10d::AllToAllOptions &options) override;
    WorkPtr barrier(const c10d::BarrierOptions &options) override;
    WorkPtr send(Tensors &tensors, int peer, int tag) override;
    WorkPtr recv(Tensors &tensors, int peer, int tag) override;
    WorkPtr recvAnysource(Tensors &tensors, int tag) override;
    void monitoredBarrier(const c10d::BarrierOptions &options, bool wait_all_ranks) override;

    const std::shared_ptr<ProcessGroupCounts> &counts() const
    {
        return counts_;
    }

  private:
    /* A call of torch.distributed's: what it is called, and how it is to be run. */
    struct Call {
        const char *name;  /* of the method, for errors: "allreduce" */
        const char *title; /* for profiles: "shmrt:all_reduce" */
        c10d::OpType type;
        std::chrono::milliseconds timeout;
        bool is_async;
    };

    template <class O>
    static Call call_of(const char *name, const char *title, c10d::OpType type, const O &options)
    {
        return {name, title, type, options.timeout, options.asyncOp};
    }

    /* Throws EINVAL with the method's name in front. */
    [[noreturn]] void refuse(const Call &call, const std::string &text) const;
    auto refusal(const Call &call) const
    {
        return [this, call](const std::string &text) { refuse(call, text); };
    }
    void check_dense(const Call &call, const Tensors &tensors) const;
    void check_splits(const Call &call, const at::Tensor &tensor,
                      const std::vector<std::int64_t> &splits) const;
    void check_parts(const Call &call, const at::Tensor &whole, const at::Tensor &part,
                     const char *whole_name, const char *part_name) const;

    /* Queue @run; for a synchronous call, return when it has run. */
    WorkPtr submit(const Call &call, const Tensors &inputs, Outputs outputs,
                   std::function<void()> run);
    /* fn(struct shmrt_comm *), from a work, with the timeout of @call. */
    template <class F> void native(const Call &call, F fn)
    {
        guarded(call, [&] { comm_->call(call.name, fn); });
    }
    /* Run @work, which is native, and put into its errors what torch.distributed's users expect. */
    template <class F> void guarded(const Call &call, F work)
    {
        prepare(call);
        try {
            work();
        } catch (const Failure &failure) {
            fail(call, failure);
        }
    }
    void prepare(const Call &call);
    [[noreturn]] void fail(const Call &call, const Failure &failure);
    void allreduce_native(const Call &call, Packed packed, const Reduction &how);
    void allgather_native(const Call &call, Packed &output, Packed &input);
    void alltoall_native(const Call &call, Packed &output,
                         const std::vector<std::size_t> &out_bytes, Packed &input,
                         const std::vector<std::size_t> &in_bytes);
    void reduce_scatter_native(const Call &call, Packed &output, Packed &input,
                               const Reduction &how, const std::vector<std::size_t> &counts = {});
    std::chrono::milliseconds timeout_of(const Call &call) const;

    /* Queue @call of the other engine: run(engine) returns a work. */
    template <class F>
    WorkPtr fall_back(const Call &call, const std::string &reason, const Tensors &inputs,
                      Outputs outputs, F run)
    {
        engine_for(call);
        count_fallback(call, reason);
        return submit(call, inputs, std::move(outputs), [this, run, call]() mutable {
            group_->elsewhere(call.name, timeout_of(call), run);
        });
    }
    c10::intrusive_ptr<c10d::Backend> engine_for(const Call &call);
    void count_fallback(const Call &call, const std::string &reason);

    const at::Tensor &message_tensor(const Call &call, const Tensors &tensors, int tag) const;
    void check_peer(const Call &call, int peer) const;
    c10::intrusive_ptr<MessageWork> message(const Call &call, const at::Tensor &tensor, int peer,
                                            int tag);

    void meet();
    void put_operators_in_turn();
    std::string common_key();
    void check_process() const;

    const ProcessGroupParams params_;
    const unsigned forks_;
    c10::intrusive_ptr<Options> options_;
    c10::intrusive_ptr<c10d::Store> store_; /* for this very group: no key of it was used before */
    std::shared_ptr<Group> group_;
    std::shared_ptr<Comm> comm_; /* of the whole group; null where that is not on one machine */
    std::string elsewhere_;      /* why it is null */
    std::shared_ptr<WorkQueue> queue_;
    std::shared_ptr<PointToPoint> p2p_; /* as comm_ */
    const std::shared_ptr<ProcessGroupCounts> counts_ = std::make_shared<ProcessGroupCounts>();
    std::atomic<std::uint64_t> sequence_{0};
    std::atomic<c10d::ErrorType> error_{c10d::ErrorType::SUCCESS};
    std::atomic<bool> is_closed_{false};
};

} // namespace shmrt
