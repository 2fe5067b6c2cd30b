// SPDX-License-Identifier: Apache-2.0
/*
 * reductions.cpp - the collectives of the c10d backend that compute: all-reduce, reduce and
 * reduce-scatter. Which of them libshmrt does, Reduction::of() says; the others fall back.
 */
#include "dtypes.h"
#include "process_group.h"

#include <torch/csrc/distributed/c10d/Utils.hpp>

#include <utility>

namespace shmrt
{

namespace
{

using c10d::OpType;
using c10d::ReduceOp;

std::optional<shmrt_op> operation(const ReduceOp &op)
{
    switch (op) {
    case ReduceOp::SUM:
        return SHMRT_SUM;
    case ReduceOp::AVG:
        return SHMRT_AVG;
    case ReduceOp::PRODUCT:
        return SHMRT_PROD;
    case ReduceOp::MIN:
        return SHMRT_MIN;
    case ReduceOp::MAX:
        return SHMRT_MAX;
    default:
        return std::nullopt;
    }
}

/* Elements of each of @tensors; nothing where all have as many. */
std::vector<std::size_t> uneven_counts(const std::vector<at::Tensor> &tensors, const Reduction &how)
{
    std::vector<std::size_t> counts;
    bool is_uneven = false;
    for (const at::Tensor &tensor : tensors) {
        counts.push_back(how.count(Packed(tensor)));
        is_uneven = is_uneven || counts.back() != counts.front();
    }
    return is_uneven ? counts : std::vector<std::size_t>();
}

constexpr const char *SEVERAL = "c10d: several tensors of one rank reduced into one";
constexpr const char *SPARSE = "c10d: sparse tensors";

} // namespace

std::optional<Reduction> Reduction::of(const ReduceOp &op, const at::Tensor &tensor,
                                       const char **why_not)
{
    const auto dtype = dtype_of(c10::toRealValueType(tensor.scalar_type()));
    const auto how = operation(op);
    if (!how)
        *why_not = "c10d: a reduction other than sum, avg, product, min and max";
    else if (!dtype)
        *why_not = "c10d: a dtype that is not reduced in shared memory";
    else if (tensor.is_complex() && *how != SHMRT_SUM && *how != SHMRT_AVG)
        *why_not = "c10d: complex numbers, other than their sum or average";
    else
        return Reduction{*dtype, *how};
    return std::nullopt;
}

void ProcessGroupShmrt::allreduce_native(const Call &call, Packed packed, const Reduction &how)
{
    void *data = packed.load();
    guarded(call, [&] {
        group_->allreduce(data, data, how.count(packed), how.dtype, how.op, call.name);
    });
    packed.store();
}

ProcessGroupShmrt::WorkPtr ProcessGroupShmrt::allreduce(Tensors &tensors,
                                                        const c10d::AllreduceOptions &options)
{
    const Call call = call_of("allreduce", "shmrt:all_reduce", OpType::ALLREDUCE, options);
    c10d::assertNonEmpty(refusal(call), tensors);
    c10d::assertLayoutMatch(refusal(call), tensors);
    c10d::assertTypeAndSizesMatch(refusal(call), tensors);
    const bool is_sparse = tensors.front().layout() != at::kStrided;
    const char *reason = is_sparse ? SPARSE : SEVERAL;
    if (is_sparse && static_cast<ReduceOp::RedOpType>(options.reduceOp) != ReduceOp::SUM)
        refuse(call, "unsupported reduction operation for sparse tensors: they are only summed");
    if (!is_sparse)
        check_dense(call, tensors);
    const auto how = is_sparse || tensors.size() > 1
                         ? std::nullopt
                         : Reduction::of(options.reduceOp, tensors.front(), &reason);
    if (how)
        return submit(call, tensors, {tensors}, [this, call, tensor = tensors.front(), how = *how] {
            allreduce_native(call, Packed(tensor), how);
        });
    return fall_back(call, reason, tensors, {tensors},
                     [tensors, options](c10d::Backend &engine) mutable {
                         return engine.allreduce(tensors, options);
                     });
}

ProcessGroupShmrt::WorkPtr
ProcessGroupShmrt::allreduce_sparse(Tensors &tensors, const c10d::AllreduceOptions &options)
{
    return allreduce(tensors, options);
}

ProcessGroupShmrt::WorkPtr
ProcessGroupShmrt::allreduce_coalesced(Tensors &tensors,
                                       const c10d::AllreduceCoalescedOptions &options)
{
    const Call call =
        call_of("allreduce_coalesced", "shmrt:all_reduce", OpType::ALLREDUCE_COALESCED, options);
    c10d::assertNonEmpty(refusal(call), tensors);
    c10d::assertLayoutMatch(refusal(call), tensors);
    for (const at::Tensor &tensor : tensors)
        if (!tensor.options().type_equal(tensors.front().options()))
            refuse(call, "tensors must all have the same type");
    check_dense(call, tensors);
    const char *reason = nullptr;
    const auto how = Reduction::of(options.reduceOp, tensors.front(), &reason);
    if (how)
        /* In one go: a tensor may be in the list twice, and is then to be reduced once. */
        return submit(call, tensors, {tensors}, [this, call, tensors, how = *how] {
            allreduce_native(call, Packed(tensors), how);
        });
    return fall_back(call, reason, tensors, {tensors},
                     [tensors, options](c10d::Backend &engine) mutable {
                         return engine.allreduce_coalesced(tensors, options);
                     });
}

ProcessGroupShmrt::WorkPtr ProcessGroupShmrt::reduce(Tensors &tensors,
                                                     const c10d::ReduceOptions &options)
{
    const Call call = call_of("reduce", "shmrt:reduce", OpType::REDUCE, options);
    c10d::assertRootRank(refusal(call), options.rootRank, size_);
    c10d::assertRootTensor(refusal(call), options.rootTensor, tensors.size());
    c10d::assertSingleElement(refusal(call), tensors);
    check_dense(call, tensors);
    const char *reason = nullptr;
    const auto how = Reduction::of(options.reduceOp, tensors.front(), &reason);
    if (!how || !comm_)
        return fall_back(call, how ? elsewhere_ : reason, tensors, {tensors},
                         [tensors, options](c10d::Backend &engine) mutable {
                             return engine.reduce(tensors, options);
                         });
    const int root = static_cast<int>(options.rootRank);
    return submit(call, tensors, {tensors}, [=, this, tensor = tensors.front(), how = *how] {
        Packed packed(tensor);
        void *data = packed.load();
        native(call, [&](shmrt_comm *comm) {
            return shmrt_reduce(comm, data, rank_ == root ? data : nullptr, how.count(packed),
                                how.dtype, how.op, root);
        });
        if (rank_ == root)
            packed.store();
    });
}

void ProcessGroupShmrt::reduce_scatter_native(const Call &call, Packed &output, Packed &input,
                                              const Reduction &how,
                                              const std::vector<std::size_t> &counts)
{
    Packed::keep_apart(output, input);
    const void *in = input.load();
    void *out = output.data();
    native(call, [&](shmrt_comm *comm) {
        if (!counts.empty())
            return shmrt_reduce_scatterv(comm, in, out, counts.data(), how.dtype, how.op);
        return shmrt_reduce_scatter(comm, in, out, how.count(output), how.dtype, how.op);
    });
    output.store();
}

ProcessGroupShmrt::WorkPtr
ProcessGroupShmrt::reduce_scatter(Tensors &outputs, TensorLists &inputs,
                                  const c10d::ReduceScatterOptions &options)
{
    const Call call =
        call_of("reduce_scatter", "shmrt:reduce_scatter", OpType::REDUCE_SCATTER, options);
    c10d::assertSingleElementOutput(refusal(call), outputs);
    c10d::assertScatterInputTensorList(refusal(call), inputs, size_);
    check_dense(call, outputs);
    const Tensors &list = inputs.front();
    check_dense(call, list);
    for (std::size_t i = 0; i < list.size(); i++)
        c10d::assertTypeMatch(refusal(call), outputs.front().options(), list, i);
    c10d::assertSizesMatch(refusal(call), outputs.front().sizes(), list, rank_);
    const char *reason = nullptr;
    const auto how = Reduction::of(options.reduceOp, outputs.front(), &reason);
    if (!how || !comm_)
        return fall_back(call, how ? elsewhere_ : reason, inputs.front(), {outputs},
                         [outputs, inputs, options](c10d::Backend &engine) mutable {
                             return engine.reduce_scatter(outputs, inputs, options);
                         });
    return submit(call, inputs.front(), {outputs}, [=, this, how = *how] {
        Packed output(outputs.front());
        Packed input(inputs.front());
        reduce_scatter_native(call, output, input, how, uneven_counts(inputs.front(), how));
    });
}

ProcessGroupShmrt::WorkPtr
ProcessGroupShmrt::_reduce_scatter_base(at::Tensor &output, at::Tensor &input,
                                        const c10d::ReduceScatterOptions &options)
{
    const Call call = call_of("_reduce_scatter_base", "shmrt:reduce_scatter",
                              OpType::_REDUCE_SCATTER_BASE, options);
    check_parts(call, input, output, "input", "output");
    const char *reason = nullptr;
    const auto how = Reduction::of(options.reduceOp, output, &reason);
    if (!how || !comm_)
        return fall_back(call, how ? elsewhere_ : reason, {input}, {{output}},
                         [output, input, options](c10d::Backend &engine) mutable {
                             return engine._reduce_scatter_base(output, input, options);
                         });
    return submit(call, {input}, {{output}}, [=, this, how = *how] {
        Packed to(output);
        Packed from(input);
        reduce_scatter_native(call, to, from, how);
    });
}

ProcessGroupShmrt::WorkPtr
ProcessGroupShmrt::reduce_scatter_tensor_coalesced(Tensors &outputs, Tensors &inputs,
                                                   const c10d::ReduceScatterOptions &options)
{
    const Call call = call_of("reduce_scatter_tensor_coalesced", "shmrt:reduce_scatter",
                              OpType::REDUCE_SCATTER_TENSOR_COALESCED, options);
    c10d::assertNonEmpty(refusal(call), outputs);
    c10d::assertInputOutputTensorListsSameSize(refusal(call), outputs.size(), inputs.size());
    const char *reason = nullptr;
    std::vector<Reduction> how;
    for (std::size_t i = 0; i < outputs.size(); i++) {
        check_parts(call, inputs[i], outputs[i], "input", "output");
        if (const auto one = Reduction::of(options.reduceOp, outputs[i], &reason))
            how.push_back(*one);
    }
    if (how.size() < outputs.size() || !comm_)
        return fall_back(call, reason ? reason : elsewhere_, inputs, {outputs},
                         [outputs, inputs, options](c10d::Backend &engine) mutable {
                             return engine.reduce_scatter_tensor_coalesced(outputs, inputs,
                                                                           options);
                         });
    return submit(call, inputs, {outputs}, [=, this] {
        for (std::size_t i = 0; i < outputs.size(); i++) {
            Packed to(outputs[i]);
            Packed from(inputs[i]);
            reduce_scatter_native(call, to, from, how[i]);
        }
    });
}

} // namespace shmrt
