// SPDX-License-Identifier: Apache-2.0
/* messages.cpp - send and receive of the c10d backend; PointToPoint does the work. */
#include "process_group.h"

#include <utility>

namespace shmrt
{

using c10d::OpType;

/* Checks what send, recv and recvAnysource have in common. */
const at::Tensor &ProcessGroupShmrt::message_tensor(const Call &call, const Tensors &tensors,
                                                    int tag) const
{
    if (tensors.size() != 1)
        refuse(call, "takes a single tensor, got " + std::to_string(tensors.size()));
    if (tag < 0)
        refuse(call, "Tag must be nonnegative, got " + std::to_string(tag));
    check_dense(call, tensors);
    return tensors.front();
}

void ProcessGroupShmrt::check_peer(const Call &call, int peer) const
{
    if (peer < 0 || peer >= size_)
        refuse(call,
               "rank " + std::to_string(peer) + " is not from 0 to " + std::to_string(size_ - 1));
    if (peer == rank_)
        refuse(call, "rank " + std::to_string(peer) + " is this very rank");
}

c10::intrusive_ptr<MessageWork>
ProcessGroupShmrt::message(const Call &call, const at::Tensor &tensor, int peer, int tag)
{
    check_process();
    counts_->native[static_cast<std::size_t>(call.type) % ProcessGroupCounts::TYPES]++;
    const WorkInfo info{rank_, call.type, call.title, sequence_};
    return c10::make_intrusive<MessageWork>(p2p_, info, tensor, peer, tag, timeout_of(call));
}

ProcessGroupShmrt::WorkPtr ProcessGroupShmrt::send(Tensors &tensors, int peer, int tag)
{
    const Call call{"send", "shmrt:send", OpType::SEND, c10d::kUnsetTimeout, true};
    const at::Tensor &tensor = message_tensor(call, tensors, tag);
    check_peer(call, peer);
    if (!p2p_) {
        count_fallback(call, elsewhere_);
        return engine_for(call)->send(tensors, peer, tag);
    }
    const auto work = message(call, tensor, peer, tag);
    p2p_->send(work);
    return work;
}

ProcessGroupShmrt::WorkPtr ProcessGroupShmrt::recv(Tensors &tensors, int peer, int tag)
{
    const Call call{"recv", "shmrt:recv", OpType::RECV, c10d::kUnsetTimeout, true};
    const at::Tensor &tensor = message_tensor(call, tensors, tag);
    check_peer(call, peer);
    if (!p2p_) {
        count_fallback(call, elsewhere_);
        return engine_for(call)->recv(tensors, peer, tag);
    }
    const auto work = message(call, tensor, peer, tag);
    p2p_->receive(work);
    return work;
}

ProcessGroupShmrt::WorkPtr ProcessGroupShmrt::recvAnysource(Tensors &tensors, int tag)
{
    const Call call{"recvAnysource", "shmrt:recvAnySource", OpType::RECVANYSOURCE,
                    c10d::kUnsetTimeout, true};
    const at::Tensor &tensor = message_tensor(call, tensors, tag);
    if (!p2p_) {
        count_fallback(call, elsewhere_);
        return engine_for(call)->recvAnysource(tensors, tag);
    }
    const auto work = message(call, tensor, -1, tag);
    p2p_->receive(work);
    return work;
}

} // namespace shmrt
