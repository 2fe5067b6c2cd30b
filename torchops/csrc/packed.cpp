// SPDX-License-Identifier: Apache-2.0
/*
 * packed.cpp - copies between tensors and buffers, on any thread.
 *
 * A work may run on the thread that waits for it, in the middle of somebody's tracing or dispatch
 * mode. What PyTorch is asked to do here must not be seen by these, nor by autograd.
 */
#include "packed.h"

#include <ATen/ATen.h>

#include <cstdint>
#include <cstring>
#include <utility>

namespace shmrt
{

namespace
{

/* Copies of fewer bytes are not worth a call of an operator. */
constexpr std::size_t OPERATOR_BYTES = 32 * 1024;

/* @tensors lie in one storage, each where the one before it ends; empty ones lie anywhere. */
bool lie_in_a_row(const std::vector<at::Tensor> &tensors)
{
    const char *end = nullptr;
    const c10::StorageImpl *storage = nullptr;
    for (const at::Tensor &tensor : tensors) {
        if (tensor.numel() == 0)
            continue;
        if (!is_plain(tensor))
            return false;
        const auto *start = static_cast<const char *>(tensor.const_data_ptr());
        const c10::StorageImpl *its = tensor.storage().unsafeGetStorageImpl();
        if (storage && (its != storage || start != end))
            return false;
        storage = its;
        end = start + tensor.nbytes();
    }
    return true;
}

/* @memory in the shape of @tensor. */
at::Tensor view_like(void *memory, const at::Tensor &tensor)
{
    return at::from_blob(memory, tensor.sizes(), at::dtype(tensor.scalar_type()));
}

} // namespace

PlainDispatch::PlainDispatch()
    : guard_(c10::DispatchKeySet(c10::DispatchKey::BackendSelect),
             c10::default_excluded_set | c10::autograd_dispatch_keyset_with_ADInplaceOrView)
{
}

bool is_plain(const at::Tensor &tensor)
{
    return tensor.is_contiguous() && !tensor.is_conj() && !tensor.is_neg();
}

void copy_values(const at::Tensor &from, const at::Tensor &to)
{
    if (from.numel() == 0)
        return;
    if (from.nbytes() < OPERATOR_BYTES && is_plain(from) && is_plain(to) &&
        from.scalar_type() == to.scalar_type()) {
        std::memmove(to.mutable_data_ptr(), from.const_data_ptr(), from.nbytes());
        return;
    }
    const PlainDispatch plain;
    to.copy_(from);
}

Packed::Packed(std::vector<at::Tensor> tensors)
    : tensors_(std::move(tensors)), is_direct_(lie_in_a_row(tensors_))
{
    for (const at::Tensor &tensor : tensors_) {
        bytes_ += static_cast<std::size_t>(tensor.numel()) * tensor.element_size();
        if (is_direct_ && !memory_ && tensor.numel() > 0)
            memory_ = tensor.mutable_data_ptr();
    }
}

bool Packed::overlaps(const Packed &other) const
{
    const auto begin = reinterpret_cast<std::uintptr_t>(memory_);
    const auto others = reinterpret_cast<std::uintptr_t>(other.memory_);
    return memory_ && other.memory_ && begin < others + other.bytes_ && others < begin + bytes_;
}

void Packed::keep_apart(Packed &a, Packed &b)
{
    if (!a.is_direct_ || !b.is_direct_ || !a.overlaps(b))
        return;
    Packed &smaller = a.bytes_ < b.bytes_ ? a : b;
    smaller.is_direct_ = false;
    smaller.memory_ = nullptr;
}

void *Packed::data()
{
    if (!is_direct_ && !memory_) {
        const PlainDispatch plain;
        buffer_ = at::empty({static_cast<int64_t>(bytes_)}, at::dtype(at::kByte));
        memory_ = buffer_.mutable_data_ptr();
    }
    return memory_;
}

void *Packed::load()
{
    auto *next = static_cast<char *>(data());
    if (!is_direct_) {
        const PlainDispatch plain;
        for (const at::Tensor &tensor : tensors_) {
            copy_values(tensor, view_like(next, tensor));
            next += static_cast<std::size_t>(tensor.numel()) * tensor.element_size();
        }
    }
    return memory_;
}

void Packed::store()
{
    if (is_direct_)
        return;
    const PlainDispatch plain;
    auto *next = static_cast<char *>(data());
    for (const at::Tensor &tensor : tensors_) {
        copy_values(view_like(next, tensor), tensor);
        next += static_cast<std::size_t>(tensor.numel()) * tensor.element_size();
    }
}

} // namespace shmrt
