// SPDX-License-Identifier: Apache-2.0
/*
 * movements.cpp - the collectives of the c10d backend that only move: bytes, of whatever type.
 */
#include "process_group.h"

#include <torch/csrc/distributed/c10d/Utils.hpp>

#include <numeric>
#include <utility>

namespace shmrt
{

namespace
{

using c10d::OpType;

std::string shape(const at::Tensor &tensor)
{
    return c10d::toString(tensor.sizes());
}

} // namespace

void ProcessGroupShmrt::check_dense(const Call &call, const Tensors &tensors) const
{
    for (const at::Tensor &tensor : tensors) {
        if (tensor.layout() != at::kStrided)
            refuse(call, "only supports dense tensors: invalid tensor layout, unsupported layout " +
                             c10d::toString(tensor.layout()));
        if (tensor.device().type() != at::kCPU)
            refuse(call, "only supports CPU tensors, got one on " + tensor.device().str());
    }
}

/* @whole has room for the @part of each rank, whatever their shapes are. */
void ProcessGroupShmrt::check_parts(const Call &call, const at::Tensor &whole,
                                    const at::Tensor &part, const char *whole_name,
                                    const char *part_name) const
{
    check_dense(call, {whole, part});
    if (whole.scalar_type() != part.scalar_type())
        refuse(call, std::string(whole_name) + " tensor must have the same type as the " +
                         part_name + " tensor, got " + c10::str(whole.scalar_type()) + " and " +
                         c10::str(part.scalar_type()));
    if (whole.numel() != part.numel() * size_)
        refuse(call, std::string(whole_name) + " tensor size must be equal to world_size (" +
                         std::to_string(size_) + ") times " + part_name + " tensor size, got " +
                         shape(whole) + " and " + shape(part));
}

ProcessGroupShmrt::WorkPtr ProcessGroupShmrt::broadcast(Tensors &tensors,
                                                        const c10d::BroadcastOptions &options)
{
    const Call call = call_of("broadcast", "shmrt:broadcast", OpType::BROADCAST, options);
    c10d::assertRootRank(refusal(call), options.rootRank, size_);
    c10d::assertRootTensor(refusal(call), options.rootTensor, tensors.size());
    check_dense(call, tensors);
    c10d::assertTypeAndSizesMatch(refusal(call), tensors);
    const int root = static_cast<int>(options.rootRank);
    const at::Tensor mine = tensors.at(rank_ == root ? options.rootTensor : 0);
    if (!comm_)
        return fall_back(call, elsewhere_, tensors, {tensors}, [=](c10d::Backend &engine) mutable {
            return engine.broadcast(tensors, options);
        });
    return submit(call, tensors, {tensors}, [=, this] {
        Packed packed(mine);
        void *data = rank_ == root ? packed.load() : packed.data();
        native(call, [&](shmrt_comm *comm) {
            return shmrt_broadcast(comm, data, packed.bytes(), SHMRT_UINT8, root);
        });
        if (rank_ != root)
            packed.store();
        for (const at::Tensor &tensor : tensors)
            if (!tensor.is_same(mine))
                copy_values(mine, tensor);
    });
}

void ProcessGroupShmrt::allgather_native(const Call &call, Packed &output, Packed &input)
{
    Packed::keep_apart(output, input);
    const void *in = input.load();
    void *out = output.data();
    native(call, [&](shmrt_comm *comm) {
        return shmrt_allgather(comm, in, out, input.bytes(), SHMRT_UINT8);
    });
    output.store();
}

ProcessGroupShmrt::WorkPtr ProcessGroupShmrt::allgather(TensorLists &outputs, Tensors &inputs,
                                                        const c10d::AllgatherOptions &options)
{
    const Call call = call_of("allgather", "shmrt:all_gather", OpType::ALLGATHER, options);
    c10d::assertNonEmptyInputTensorList(refusal(call), inputs.size());
    c10d::assertInputOutputTensorListsSameSize(refusal(call), inputs.size(), outputs.size());
    const std::size_t expected = inputs.size() * size_;
    for (std::size_t i = 0; i < outputs.size(); i++)
        if (outputs[i].size() != expected)
            refuse(call, "invalid output tensor list at index " + std::to_string(i) +
                             " (expected length " + std::to_string(expected) + ", got " +
                             std::to_string(outputs[i].size()) + ")");
    check_dense(call, inputs);
    c10d::assertTypeAndSizesMatch(refusal(call), inputs);
    for (const Tensors &list : outputs) {
        check_dense(call, list);
        c10d::assertTypeAndSizesMatch(refusal(call), list, inputs.front().options(),
                                      inputs.front().sizes());
    }
    if (!comm_)
        return fall_back(call, elsewhere_, inputs, outputs, [=](c10d::Backend &engine) mutable {
            return engine.allgather(outputs, inputs, options);
        });
    return submit(call, inputs, outputs, [=, this] {
        Packed input(inputs);
        Packed output(outputs.front());
        allgather_native(call, output, input);
        for (std::size_t i = 1; i < outputs.size(); i++)
            for (std::size_t j = 0; j < outputs[i].size(); j++)
                copy_values(outputs[0][j], outputs[i][j]);
    });
}

ProcessGroupShmrt::WorkPtr ProcessGroupShmrt::_allgather_base(at::Tensor &output, at::Tensor &input,
                                                              const c10d::AllgatherOptions &options)
{
    const Call call =
        call_of("_allgather_base", "shmrt:all_gather", OpType::_ALLGATHER_BASE, options);
    check_parts(call, output, input, "output", "input");
    if (!comm_)
        return fall_back(call, elsewhere_, {input}, {{output}}, [=](c10d::Backend &engine) mutable {
            return engine._allgather_base(output, input, options);
        });
    return submit(call, {input}, {{output}}, [=, this] {
        Packed from(input);
        Packed to(output);
        allgather_native(call, to, from);
    });
}

ProcessGroupShmrt::WorkPtr
ProcessGroupShmrt::allgather_coalesced(TensorLists &outputs, Tensors &inputs,
                                       const c10d::AllgatherOptions &options)
{
    const Call call =
        call_of("allgather_coalesced", "shmrt:all_gather", OpType::ALLGATHER_COALESCED, options);
    c10d::assertNonEmptyInputTensorList(refusal(call), inputs.size());
    c10d::assertAllgatherCoalescedOutputTensorLists(refusal(call), outputs, inputs.size(), size_);
    check_dense(call, inputs);
    for (const Tensors &list : outputs)
        for (std::size_t i = 0; i < list.size(); i++) {
            check_dense(call, {list[i]});
            if (list[i].sizes() != inputs[i].sizes())
                refuse(call, "invalid size of output tensor at index " + std::to_string(i) +
                                 " (expected " + shape(inputs[i]) + ", got " + shape(list[i]) +
                                 ")");
            c10d::assertTypeMatch(refusal(call), inputs[i].options(), list, i);
        }
    if (!comm_)
        return fall_back(call, elsewhere_, inputs, outputs, [=](c10d::Backend &engine) mutable {
            return engine.allgather_coalesced(outputs, inputs, options);
        });
    return submit(call, inputs, outputs, [=, this] {
        for (std::size_t i = 0; i < inputs.size(); i++) {
            Tensors to;
            for (const Tensors &list : outputs)
                to.push_back(list[i]);
            Packed output(std::move(to));
            Packed input(inputs[i]);
            allgather_native(call, output, input);
        }
    });
}

ProcessGroupShmrt::WorkPtr
ProcessGroupShmrt::allgather_into_tensor_coalesced(Tensors &outputs, Tensors &inputs,
                                                   const c10d::AllgatherOptions &options)
{
    const Call call = call_of("allgather_into_tensor_coalesced", "shmrt:all_gather",
                              OpType::ALLGATHER_COALESCED, options);
    c10d::assertInputOutputTensorListsSameSize(refusal(call), outputs.size(), inputs.size());
    for (std::size_t i = 0; i < inputs.size(); i++)
        check_parts(call, outputs[i], inputs[i], "output", "input");
    if (!comm_)
        return fall_back(call, elsewhere_, inputs, {outputs}, [=](c10d::Backend &engine) mutable {
            return engine.allgather_into_tensor_coalesced(outputs, inputs, options);
        });
    return submit(call, inputs, {outputs}, [=, this] {
        for (std::size_t i = 0; i < inputs.size(); i++) {
            Packed to(outputs[i]);
            Packed from(inputs[i]);
            allgather_native(call, to, from);
        }
    });
}

ProcessGroupShmrt::WorkPtr ProcessGroupShmrt::gather(TensorLists &outputs, Tensors &inputs,
                                                     const c10d::GatherOptions &options)
{
    const Call call = call_of("gather", "shmrt:gather", OpType::GATHER, options);
    c10d::assertRootRank(refusal(call), options.rootRank, size_);
    c10d::assertSingleElementInput(refusal(call), inputs);
    check_dense(call, inputs);
    const int root = static_cast<int>(options.rootRank);
    if (rank_ == root) {
        c10d::assertGatherOutputTensorList(refusal(call), outputs, size_);
        check_dense(call, outputs.front());
        c10d::assertTypeAndSizesMatch(refusal(call), outputs.front(), inputs.front().options(),
                                      inputs.front().sizes());
    } else {
        c10d::assertEmptyOutputTensorList(refusal(call), outputs);
    }
    if (!comm_)
        return fall_back(call, elsewhere_, inputs, outputs, [=](c10d::Backend &engine) mutable {
            return engine.gather(outputs, inputs, options);
        });
    return submit(call, inputs, outputs, [=, this] {
        Packed from(inputs.front());
        Packed to(rank_ == root ? outputs.front() : Tensors());
        Packed::keep_apart(from, to);
        const void *in = from.load();
        void *out = rank_ == root ? to.data() : nullptr;
        native(call, [&](shmrt_comm *comm) {
            return shmrt_gather(comm, in, out, from.bytes(), SHMRT_UINT8, root);
        });
        to.store();
    });
}

ProcessGroupShmrt::WorkPtr ProcessGroupShmrt::scatter(Tensors &outputs, TensorLists &inputs,
                                                      const c10d::ScatterOptions &options)
{
    const Call call = call_of("scatter", "shmrt:scatter", OpType::SCATTER, options);
    c10d::assertRootRank(refusal(call), options.rootRank, size_);
    c10d::assertSingleElementOutput(refusal(call), outputs);
    check_dense(call, outputs);
    const int root = static_cast<int>(options.rootRank);
    if (rank_ == root) {
        c10d::assertScatterInputTensorList(refusal(call), inputs, size_);
        check_dense(call, inputs.front());
        c10d::assertTypeAndSizesMatch(refusal(call), inputs.front(), outputs.front().options(),
                                      outputs.front().sizes());
    } else {
        c10d::assertEmptyInputTensorList(refusal(call), inputs);
    }
    if (!comm_)
        return fall_back(call, elsewhere_, rank_ == root ? inputs.front() : Tensors(), {outputs},
                         [=](c10d::Backend &engine) mutable {
                             return engine.scatter(outputs, inputs, options);
                         });
    return submit(call, rank_ == root ? inputs.front() : Tensors(), {outputs}, [=, this] {
        Packed from(rank_ == root ? inputs.front() : Tensors());
        Packed to(outputs.front());
        Packed::keep_apart(from, to);
        const void *in = rank_ == root ? from.load() : nullptr;
        void *out = to.data();
        native(call, [&](shmrt_comm *comm) {
            return shmrt_scatter(comm, in, out, to.bytes(), SHMRT_UINT8, root);
        });
        to.store();
    });
}

namespace
{

/* Bytes of each rank's part of @tensor, which is split along its first dimension. */
std::vector<std::size_t> part_bytes(const at::Tensor &tensor,
                                    const std::vector<std::int64_t> &splits, int size)
{
    const std::size_t rows = static_cast<std::size_t>(tensor.size(0));
    const std::size_t row = rows ? tensor.nbytes() / rows : 0;
    std::vector<std::size_t> bytes(static_cast<std::size_t>(size), row * (rows / size));
    for (std::size_t rank = 0; rank < splits.size(); rank++)
        bytes[rank] = row * static_cast<std::size_t>(splits[rank]);
    return bytes;
}

std::vector<std::size_t> tensor_bytes(const std::vector<at::Tensor> &tensors)
{
    std::vector<std::size_t> bytes;
    for (const at::Tensor &tensor : tensors)
        bytes.push_back(static_cast<std::size_t>(tensor.numel()) * tensor.element_size());
    return bytes;
}

} // namespace

/* Whether parts are even is a rank's own business, so all go the way for uneven ones. */
void ProcessGroupShmrt::alltoall_native(const Call &call, Packed &output,
                                        const std::vector<std::size_t> &out_bytes, Packed &input,
                                        const std::vector<std::size_t> &in_bytes)
{
    Packed::keep_apart(output, input);
    const void *in = input.load();
    void *out = output.data();
    native(call, [&](shmrt_comm *comm) {
        return shmrt_alltoallv(comm, in, in_bytes.data(), out, out_bytes.data(), SHMRT_UINT8);
    });
    output.store();
}

void ProcessGroupShmrt::check_splits(const Call &call, const at::Tensor &tensor,
                                     const std::vector<std::int64_t> &splits) const
{
    if (tensor.dim() == 0)
        refuse(call, "a tensor without dimensions can't be split");
    if (splits.empty()) {
        if (tensor.size(0) % size_)
            refuse(call, "Tensor's dim 0 does not divide equally across group size: " +
                             shape(tensor) + " across " + std::to_string(size_));
        return;
    }
    if (splits.size() != static_cast<std::size_t>(size_))
        refuse(call, "Number of tensor splits not equal to group size: " +
                         std::to_string(splits.size()) + " and " + std::to_string(size_));
    for (const std::int64_t split : splits)
        if (split < 0)
            refuse(call, "Split sizes must not be negative, got " + std::to_string(split));
    if (std::accumulate(splits.begin(), splits.end(), std::int64_t{0}) != tensor.size(0))
        refuse(call, "Split sizes doesn't match total dim 0 size: " + c10::str(splits) + " and " +
                         shape(tensor));
}

ProcessGroupShmrt::WorkPtr ProcessGroupShmrt::alltoall_base(
    at::Tensor &output, at::Tensor &input, std::vector<std::int64_t> &output_splits,
    std::vector<std::int64_t> &input_splits, const c10d::AllToAllOptions &options)
{
    const Call call = call_of("alltoall_base", "shmrt:all_to_all", OpType::ALLTOALL_BASE, options);
    check_dense(call, {output, input});
    if (output.scalar_type() != input.scalar_type())
        refuse(call, "output tensor and input tensor must have the same type, got " +
                         c10::str(output.scalar_type()) + " and " + c10::str(input.scalar_type()));
    check_splits(call, output, output_splits);
    check_splits(call, input, input_splits);
    if (!comm_)
        return fall_back(call, elsewhere_, {input}, {{output}}, [=](c10d::Backend &engine) mutable {
            return engine.alltoall_base(output, input, output_splits, input_splits, options);
        });
    return submit(call, {input}, {{output}},
                  [=, this, out_bytes = part_bytes(output, output_splits, size_),
                   in_bytes = part_bytes(input, input_splits, size_)] {
                      Packed to(output);
                      Packed from(input);
                      alltoall_native(call, to, out_bytes, from, in_bytes);
                  });
}

ProcessGroupShmrt::WorkPtr ProcessGroupShmrt::alltoall(Tensors &outputs, Tensors &inputs,
                                                       const c10d::AllToAllOptions &options)
{
    const Call call = call_of("alltoall", "shmrt:all_to_all", OpType::ALLTOALL, options);
    c10d::assertAllToAllTensorListSizes(refusal(call), outputs.size(), inputs.size(), size_);
    check_dense(call, outputs);
    check_dense(call, inputs);
    if (!comm_)
        return fall_back(call, elsewhere_, inputs, {outputs}, [=](c10d::Backend &engine) mutable {
            return engine.alltoall(outputs, inputs, options);
        });
    return submit(call, inputs, {outputs}, [=, this] {
        Packed to(outputs);
        Packed from(inputs);
        alltoall_native(call, to, tensor_bytes(outputs), from, tensor_bytes(inputs));
    });
}

} // namespace shmrt
